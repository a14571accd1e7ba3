"""The code around a task, where it runs; it imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_headers: ContextVar[Mapping[str, Any] | None] = ContextVar("headers", default=None)


@contextmanager
def enter(headers: Mapping[str, Any]) -> Iterator[None]:
    """Let the task see what was sent along with it."""
    token = _headers.set(headers)
    try:
        yield
    finally:
        _headers.reset(token)


def label() -> str | None:
    """Return the label of the task whose code calls this; None outside of a task."""
    headers = _headers.get()
    return None if headers is None else str(headers["label"])
