"""Names: those of objects to load, as in entry points, and those that code looks up."""

from __future__ import annotations

import importlib
import re
import sys
import types
from collections.abc import Iterator
from typing import Any

__all__ = ["import_path", "is_reference", "load_reference", "looked_up_names"]

_REFERENCE = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*)(?::([^\W\d]\w*(?:\.[^\W\d]\w*)*))?")
_EXTRAS = re.compile(r"\s*\[[^\]]*\]$")


def is_reference(text: str) -> bool:
    """Tell whether *text* has the form of a reference."""
    return _match(text) is not None


def _match(text: str) -> re.Match[str] | None:
    return _REFERENCE.fullmatch(_EXTRAS.sub("", text.strip()))


def load_reference(reference: str) -> Any:
    """Import and return what *reference*, a module or ``"module:attribute"``, names.

    Raises:
        ValueError: *reference* has neither form.
        ImportError, AttributeError: as the import itself raises them.
    """
    match = _match(reference)
    if match is None:
        raise ValueError(f"{reference!r} is not of the form 'module:Class'")
    value: Any = _import(match[1])
    for attribute in (match[2] or "").split("."):
        value = getattr(value, attribute) if attribute else value
    return value


def import_path() -> list[str]:
    """Return the entries of ``sys.path`` that are text: Python passes over all others."""
    return [entry for entry in sys.path if isinstance(entry, str)]


def _import(name: str) -> types.ModuleType:
    """Import a module with the entries of ``sys.path`` that are text.

    `importlib.metadata`, which many packages call while they are imported, stops at others.
    """
    others = [entry for entry in sys.path if not isinstance(entry, str)]
    if not others:
        return importlib.import_module(name)
    sys.path[:] = import_path()
    try:
        return importlib.import_module(name)
    finally:
        sys.path += others


def looked_up_names(code: types.CodeType) -> Iterator[str]:
    """Yield the names that *code*, or code inside it, looks up as globals or attributes."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from looked_up_names(constant)
