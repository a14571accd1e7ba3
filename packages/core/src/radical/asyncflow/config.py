"""A backend's settings, checked as a whole: every problem in one message."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ._public import public
from ._reference import load_reference
from ._text import close_matches, closest, truncate
from .errors import ConfigurationError

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

    Model = TypeVar("Model", bound=BaseModel)

__all__ = ["check_model", "close_matches", "closest", "merge", "schema", "validate"]

public("radical.asyncflow.config")(close_matches)
public("radical.asyncflow.config")(closest)

_SECRET = re.compile(
    # The tokens of a language model are counted, and no secret.
    r"pass|(?<!max_)token(?!s_per)|secret|security|credential|api_?key|private|auth",
    re.IGNORECASE,
)
_IN_URL = re.compile(r"://[^/\s]*@")
_HIDDEN = "***"


def merge(
    config: Mapping[str, Any] | BaseModel | None, more: Mapping[str, Any], *, backend: str
) -> dict[str, Any]:
    """Return *config* and the keywords *more* as one mapping.

    ``{...}``, which examples write where the reader's own settings go, sets nothing.

    Raises:
        ConfigurationError: *config* is no mapping, or both hold the same key.
    """
    if isinstance(config, set) and config == {...}:
        config = None
    if config is None:
        return dict(more)
    if not isinstance(config, Mapping):
        raise ConfigurationError(
            f"config of backend {backend!r} must be a mapping such as {{'max_workers': 4}}, "
            f"not {type(config).__name__}"
        )
    twice = [key for key in more if key in config]
    if twice:
        keys = ", ".join(map(repr, twice))
        raise ConfigurationError(
            f"config of backend {backend!r}: {keys} given twice, in config= and as a keyword"
        )
    return {**config, **more}


@overload
def validate(
    model: type[Model],
    config: Mapping[str, Any] | BaseModel | None,
    more: Mapping[str, Any] = ...,
    *,
    backend: str,
) -> Model: ...
@overload
def validate(
    model: str | type | None,
    config: Mapping[str, Any] | BaseModel | None,
    more: Mapping[str, Any] = ...,
    *,
    backend: str,
) -> Any: ...
def validate(
    model: str | type | None,
    config: Mapping[str, Any] | BaseModel | None,
    more: Mapping[str, Any] = {},
    *,
    backend: str,
) -> Any:
    """Return *config* and the keywords *more* as an instance of *model*; None without a model.

    An instance of *model* was validated before: it is returned as it is.

    Args:
        model: a pydantic model, or ``"module:Class"`` for one; None allows no key.
        backend: whose settings they are, for the message.

    Raises:
        ConfigurationError: names every unknown key with the closest known one, every
            value of a wrong type, every missing key and every combination that the
            model's validators refuse.  Values that look secret are never shown.
    """
    if model is None:
        values = merge(config, more, backend=backend)
        _refuse([f"unknown key {key!r}: it takes no settings" for key in values], values, backend)
        return None
    cls = check_model(model)
    if isinstance(config, cls):
        keys = ", ".join(map(repr, more))
        _refuse([f"{keys} given beside settings that are complete"] if more else [], more, backend)
        return config
    values = given = merge(config, more, backend=backend)
    problems: list[str] = []
    if cls.model_config.get("extra") != "allow":
        known = _keys(cls)
        unknown = [key for key in given if key not in known]
        problems += [f"unknown key {key!r}{closest(str(key), known)}" for key in unknown]
        if problems:
            problems[-1] += f" (known: {', '.join(known)})"
            values = {key: value for key, value in given.items() if key not in unknown}
    settings = _check(cls, values, problems)
    _refuse(problems, given, backend)
    return settings


def check_model(model: str | type) -> type[BaseModel]:
    """Return *model*, imported if it is ``"module:Class"``.

    Raises:
        TypeError: it is not a pydantic model.
        ImportError, AttributeError: as the import itself raises them.
    """
    from pydantic import BaseModel

    cls = load_reference(model) if isinstance(model, str) else model
    if not (isinstance(cls, type) and issubclass(cls, BaseModel)):
        raise TypeError(f"the config_model {model!r} is not a pydantic model")
    return cls


def schema(cls: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of *cls*; a field that only Python can fill is described as such."""
    from pydantic.json_schema import GenerateJsonSchema

    class Schema(GenerateJsonSchema):
        def handle_invalid_for_json_schema(
            self,
            schema: Any,  # noqa: ARG002 - pydantic passes it by keyword
            error_info: str,
        ) -> dict[str, Any]:
            return {"description": f"a Python object ({error_info})"}

        def default_schema(self, schema: Any) -> dict[str, Any]:
            # Of factories pydantic shows nothing, because they are code; these are safe to call.
            factory = schema.get("default_factory")
            if factory in (dict, list, set, tuple, frozenset):
                schema = {**schema, "default": factory()}
            return super().default_schema(schema)

    return cls.model_json_schema(schema_generator=Schema)


def _check(
    cls: type[BaseModel], values: Mapping[str, Any], problems: list[str]
) -> BaseModel | None:
    """Return the model's instance; or None, and add what is wrong to *problems*.

    Pydantic runs a model's own validators only when every field is right.  To name
    impossible combinations in the same message, the rest is checked once more
    without the wrong fields; what is then said about those is left out.
    """
    from pydantic import ValidationError

    try:
        return cls.model_validate(dict(values))
    except ValidationError as error:
        # Never chained to ours: its own text shows every value, secret ones too.
        details = error.errors(include_url=False)
    problems += (_describe(detail) for detail in details)
    wrong = {str(detail["loc"][0]) for detail in details if detail["loc"]}
    if wrong:
        try:
            cls.model_validate({key: value for key, value in values.items() if key not in wrong})
        except ValidationError as error:
            problems += (
                _describe(detail)
                for detail in error.errors(include_url=False)
                if not detail["loc"] and not any(key in detail["msg"] for key in wrong)
            )
    return None


def _keys(cls: type[BaseModel]) -> list[str]:
    """Return the keys that *cls* reads, in the order of its fields."""
    keys: list[str] = []
    by_name = cls.model_config.get("populate_by_name") or cls.model_config.get("validate_by_name")
    for name, field in cls.model_fields.items():
        alias = field.validation_alias
        if alias is None or by_name:
            keys.append(name)
        choices = getattr(alias, "choices", [alias])
        keys += (choice for choice in choices if isinstance(choice, str))
    return keys


def _describe(detail: ErrorDetails) -> str:
    where = ".".join(map(str, detail["loc"]))
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if not where:
        return message
    if detail["type"] == "missing":
        return f"missing key {where!r}"
    if detail["type"] == "extra_forbidden":
        return f"unknown key {where!r}"
    message = message.replace("Input should be", "must be", 1)
    given = _HIDDEN if _SECRET.search(where) else _show(detail["input"])
    return f"{where!r}: {message}, not {given}"


def _show(value: Any) -> str:
    if isinstance(value, (str, int, float, bool)) or value is None:
        text = repr(value)
        if _IN_URL.search(text):
            return _HIDDEN
        return truncate(text, 80)
    return f"a {type(value).__name__}"


def _refuse(problems: list[str], config: Mapping[str, Any], backend: str) -> None:
    if not problems:
        return
    head = f"config of backend {backend!r}:"
    lines = [head + " " + problems[0]] if len(problems) == 1 else [head, *problems]
    text = "\n  ".join(lines)
    # A validator of the backend's own may have put a value into its message.
    for secret in _secrets(config):
        text = text.replace(secret, _HIDDEN)
    raise ConfigurationError(text)


def _secrets(value: Any, hidden: bool = False) -> Iterator[str]:
    """Yield the strings, of four characters or more, below keys that suggest a secret."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _secrets(item, hidden or bool(_SECRET.search(str(key))))
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            yield from _secrets(item, hidden)
    elif hidden and isinstance(value, (str, bytes)) and len(value) > 3:
        yield value if isinstance(value, str) else repr(value)[2:-1]


def shown(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return the settings as text, ``{"section.key": value}``, with what may be secret hidden."""
    found: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= shown(value, f"{prefix}{key}.")
        else:
            is_secret = _SECRET.search(f"{prefix}{key}") or _IN_URL.search(str(value))
            found[f"{prefix}{key}"] = _HIDDEN if is_secret else truncate(str(value), 200)
    return found
