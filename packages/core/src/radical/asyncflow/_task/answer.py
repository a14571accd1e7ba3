"""Find the pydantic model that the answer to a prompt task has to be an instance of."""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, TypeGuard

from ..errors import ConfigurationError
from ..model import Prompt

__all__ = ["answer_model"]

_TEXT = ("str", "Prompt", "Answer")
"""Ends of annotations that need not be looked up, because the result is text."""


def answer_model(function: Callable[..., Any], name: str) -> type | None:
    """Return the model that the return annotation of *function* names; None if it names none.

    The annotation is the model itself, or ``Prompt[Model]``.  Names that are written as text are
    looked up where *function* was defined and, for a local class, where the task is made.

    Raises:
        ConfigurationError: the annotation of the task *name* cannot be looked up, or ``Prompt[]``
            has something else than a model.
    """
    annotation: Any = getattr(function, "__annotations__", {}).get("return")
    if isinstance(annotation, str):
        if annotation.split(".")[-1] in _TEXT:
            return None
        annotation = _looked_up(function, annotation, name)
    inner: Any = annotation
    if typing.get_origin(annotation) is not Prompt:
        return inner if _is_model(inner) else None
    (inner,) = typing.get_args(annotation)
    if isinstance(inner, typing.ForwardRef):
        inner = _looked_up(function, inner.__forward_arg__, name)
    if _is_model(inner):
        return inner
    if isinstance(inner, type) and issubclass(inner, str):
        return None
    raise ConfigurationError(
        f"task {name!r}: the answer to a prompt is text or a pydantic model, and the return "
        f"annotation asks for {inner!r}; make it a field of a model"
    )


def _is_model(thing: Any) -> TypeGuard[type]:
    # Whoever has a model has imported pydantic.
    pydantic = sys.modules.get("pydantic")
    return (
        pydantic is not None
        and isinstance(thing, type)
        and not isinstance(thing, types.GenericAlias)
        and bool(pydantic.BaseModel in thing.__mro__)
    )


def _looked_up(function: Callable[..., Any], annotation: str, name: str) -> Any:
    for names in _namespaces(function):
        try:
            return eval(annotation, dict(names))
        except NameError:
            continue
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            break
    else:
        reason = "a name in it is not defined where the task is made"
    raise ConfigurationError(
        f"task {name!r}: its return annotation {annotation!r}, which says whether the answer is "
        f"text or a pydantic model, cannot be read ({reason}); define or import the model at the "
        "top of the module"
    )


def _namespaces(function: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    inner = inspect.unwrap(function)
    known = dict(getattr(inner, "__globals__", {}))
    for variable, cell in zip(
        getattr(getattr(inner, "__code__", None), "co_freevars", ()),
        getattr(inner, "__closure__", None) or (),
        strict=False,
    ):
        try:
            known[variable] = cell.cell_contents
        except ValueError:
            continue  # it has no value yet
    yield known
    frame: types.FrameType | None = sys._getframe()
    while frame is not None:
        if not frame.f_globals.get("__name__", "").startswith("radical.asyncflow."):
            yield known | frame.f_locals
            return
        frame = frame.f_back
