"""Give public names the module that users import them from, whatever file they are written in.

That module stands in tracebacks, in ``help()``, in pickles and in journals, and so may
not change when a file moves.  Imports nothing, because every program pays for it.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # not from typing, whose import takes longer than that of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

__all__ = ["WRITTEN_IN", "public"]

WRITTEN_IN: dict[str, str] = {}
"""The real module of each marked name, by the public one, for the documentation."""


def public(module: str) -> Callable[[T], T]:
    """Return a decorator that says that a class or a function is imported from *module*.

    Put it above every other decorator of a class: `dataclasses.dataclass` reads the
    annotations in the module where they are written.  `inspect.getsource` no longer
    finds a class that carries it; it does find the methods.
    """

    def mark(thing: Any) -> Any:
        if isinstance(thing, type):
            _evaluate_annotations(thing)
        WRITTEN_IN[f"{module}.{thing.__name__}"] = thing.__module__
        thing.__module__ = module
        return thing

    return mark


def _evaluate_annotations(cls: Any) -> None:
    """Replace the annotations of *cls* that are text by what they say.

    `typing.get_type_hints`, pydantic and the like look their names up in the module
    that the class names, where these are not.
    """
    names = vars(sys.modules[cls.__module__])
    annotations = cls.__annotations__
    for name, annotation in annotations.items():
        # A NamedTuple has its own kind of text.
        text = getattr(annotation, "__forward_arg__", annotation)
        if isinstance(text, str):
            try:
                annotations[name] = eval(text, names, {cls.__name__: cls})
            except NameError:
                continue  # imported for type checkers only
    for name, field in getattr(cls, "__dataclass_fields__", {}).items():
        if name in annotations:
            field.type = annotations[name]
