"""The settings of a backend as rows of a table, read from the JSON schema of their model.

The schema may stand in a file that anybody wrote: what is not as it should be is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from .._text import safe_repr, shorten

__all__ = ["REQUIRED", "Setting", "settings_of"]

REQUIRED = "(required)"
"""The text in the place of the default of a setting that must be given."""

MOST_SETTINGS = 500
"""The most rows; a schema can describe more of them than there is memory."""

DEEPEST = 6
"""How deep sections and types may be nested."""

LONGEST = 200
"""The most characters of a type or a default."""

_NAMES = {
    "integer": "int",
    "number": "float",
    "string": "str",
    "boolean": "bool",
    "null": "None",
    "object": "dict",
    "array": "list",
}
_FORMATS = {
    "path": "path",
    "file-path": "path of a file",
    "directory-path": "path of a folder",
    "date-time": "datetime",
    "date": "date",
    "duration": "timedelta",
    "uri": "URL",
    "binary": "bytes",
    "password": "secret str",
}
_LOWER = (("minimum", "<=", ">="), ("exclusiveMinimum", "<", ">"))
_UPPER = (("maximum", "<="), ("exclusiveMaximum", "<"))
_LENGTHS = (("minLength", "maxLength", "characters"), ("minItems", "maxItems", "items"))

Schema = Mapping[str, Any]


class Setting(NamedTuple):
    """One setting, in words.

    Attributes:
        key: its name; ``a.b`` in a section, ``a[].b`` in a list of them, ``a.*.b`` in a mapping.
        type: as Python writes it, with its bounds: ``int >= 1 | None``.
        default: as Python writes it, or `REQUIRED`; "" if the schema has none.
        unit: what a number counts, such as seconds; "" if it has none.
        description: the sentences of the model; "" if it has none.
        is_section: True if it is a model of its own, whose settings follow.
    """

    key: str
    type: str
    default: str
    unit: str
    description: str
    is_section: bool


def settings_of(schema: object) -> list[Setting]:
    """Return the settings that a JSON schema describes, those of a section behind it."""
    top = _mapping(schema)
    definitions = _mapping(top.get("$defs"))
    target = _target(top)
    if target in definitions and "properties" not in top:
        top = _mapping(definitions[target])
    return list(islice(_fields(top, definitions, "", (target,)), MOST_SETTINGS))


def _mapping(value: object) -> Schema:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _target(field: Schema) -> str:
    """Return the name of the definition that *field* refers to; "" if it refers to none."""
    alone = _list(field.get("allOf"))  # how older releases of pydantic write a reference
    if len(alone) == 1:
        field = _mapping(alone[0])
    return _text(field.get("$ref")).rpartition("/")[2]


def _fields(
    schema: Schema, definitions: Schema, prefix: str, above: tuple[str, ...]
) -> Iterator[Setting]:
    """Yield the settings of *schema*, and behind each section those of the section."""
    required = _list(schema.get("required"))
    for key, value in _mapping(schema.get("properties")).items():
        field = _mapping(value)
        inner = [
            (target, suffix)
            for target, suffix in _sections(field, definitions)
            if target not in above and len(above) < DEEPEST
        ]
        yield Setting(
            f"{prefix}{key}",
            shorten(_type(field, definitions), LONGEST),
            REQUIRED if key in required else _default(field),
            _text(field.get("unit")),
            _description(field, definitions),
            bool(inner),
        )
        for target, suffix in inner:
            section = _mapping(definitions[target])
            yield from _fields(section, definitions, f"{prefix}{key}{suffix}.", (*above, target))


def _sections(field: Schema, definitions: Schema) -> Iterator[tuple[str, str]]:
    """Yield the models that a value of *field* may have, and what stands behind its key then."""
    for choice in (field, *map(_mapping, _choices(field))):
        several = ("items", "[]"), ("additionalProperties", ".*")
        places = ((_mapping(choice.get(key)), suffix) for key, suffix in several)
        for place, suffix in ((choice, ""), *places):
            target = _target(place)
            if "properties" in _mapping(definitions.get(target)):
                yield target, suffix


def _choices(field: Schema) -> list[Any]:
    return _list(field.get("anyOf")) or _list(field.get("oneOf"))


def _type(value: object, definitions: Schema, depth: int = 0) -> str:
    """Return a type as Python writes it, with its bounds: ``int >= 1 | None``."""
    field = _mapping(value)
    if depth > DEEPEST:
        return "..."
    if choices := _choices(field):
        words = (_type(choice, definitions, depth + 1) for choice in islice(choices, 20))
        return " | ".join(dict.fromkeys(words))
    if target := _target(field):
        return _type(definitions.get(target), definitions, depth + 1)
    if "const" in field:
        return _literal(field["const"])
    if chosen := _list(field.get("enum")):
        return " | ".join(map(_literal, islice(chosen, 50)))
    return _bounded(_plain_type(field, definitions, depth), field) + _limits(field)


def _plain_type(field: Schema, definitions: Schema, depth: int) -> str:
    kind = _text(field.get("type")) or "object"
    if kind == "string":
        return _FORMATS.get(_text(field.get("format")), "str")
    if kind == "array":
        name = "set" if field.get("uniqueItems") is True else "list"
        if parts := _list(field.get("prefixItems")):
            inner = (_type(part, definitions, depth + 1) for part in islice(parts, 20))
            return f"tuple[{', '.join(inner)}]"
        items = _mapping(field.get("items"))
        return f"{name}[{_type(items, definitions, depth + 1)}]" if items else name
    if kind == "object" and "type" not in field:
        return "object"
    if kind == "object" and (values := _mapping(field.get("additionalProperties"))):
        return f"dict[str, {_type(values, definitions, depth + 1)}]"
    return _NAMES.get(kind, kind)


def _bounded(name: str, field: Schema) -> str:
    """Return the type *name* with the bounds of a number: ``int >= 1`` or ``1 <= int <= 9``."""
    upper = "".join(f" {sign} {_literal(field[key])}" for key, sign in _UPPER if key in field)
    for key, before, after in _LOWER:
        if key in field:
            bound = _literal(field[key])
            return f"{bound} {before} {name}{upper}" if upper else f"{name} {after} {bound}"
    return name + upper


def _limits(field: Schema) -> str:
    """Return what else bounds a value, each behind a comma."""
    text = ""
    if "multipleOf" in field:
        text += f", a multiple of {_literal(field['multipleOf'])}"
    for low, high, what in _LENGTHS:
        least, most = field.get(low), field.get(high)
        if least == 1 and most is None:
            text += ", not empty"
        elif isinstance(least, int) and isinstance(most, int):
            text += f", {least} to {most} {what}"
        elif isinstance(least, int):
            text += f", {least} or more {what}"
        elif isinstance(most, int):
            text += f", {most} {what} at the most"
    if pattern := _text(field.get("pattern")):
        text += f", like {pattern}"
    return text


def _description(field: Schema, definitions: Schema) -> str:
    # Pydantic leaves out that of a section if it is that of the section's model.
    section = _mapping(definitions.get(_target(field)))
    return _text(field.get("description")) or _text(section.get("description"))


def _default(field: Schema) -> str:
    return _literal(field["default"]) if "default" in field else ""


def _literal(value: object) -> str:
    return shorten(safe_repr(value), LONGEST)
