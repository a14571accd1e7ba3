"""A function with what plugins send along, which is entered around its body where it runs."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from .._public import public
from .._reference import load_reference
from ._call import is_async

__all__ = ["Carried", "PluginContexts", "carried"]

log = logging.getLogger("radical.asyncflow.worker")


@public("radical.asyncflow.worker")
class Carried:
    """A function that takes plugins' headers in front of its own arguments.

    Attributes:
        function: what the user wrote; name, module and signature are its own.
        enters: for each header the reference, ``"module:function"``, of what turns the
            header into a context manager; None if there is nothing to enter.
    """

    def __init__(self, function: Callable[..., Any], enters: Sequence[str | None]) -> None:
        functools.update_wrapper(self, function, updated=())
        self.function = function
        self.enters = enters

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.function, self.enters)

    def __call__(self, headers: Sequence[Any], /, *args: Any, **kwargs: Any) -> Any:
        with PluginContexts(self.enters, headers):
            result = self.function(*args, **kwargs)
        if hasattr(type(result), "__await__"):
            # Not known as a coroutine function: it runs only when this is awaited.
            return self._wait(headers, result)
        return result

    async def _wait(self, headers: Sequence[Any], result: Any) -> Any:
        with PluginContexts(self.enters, headers):
            return await result


class CarriedCoroutine(Carried):
    """A `Carried` that is a coroutine function."""

    async def __call__(self, headers: Sequence[Any], /, *args: Any, **kwargs: Any) -> Any:
        with PluginContexts(self.enters, headers):
            return await self.function(*args, **kwargs)


@public("radical.asyncflow.worker")
def carried(function: Callable[..., Any], enters: Sequence[str | None]) -> Carried:
    """Return *function* as one that takes headers; a coroutine function stays one."""
    if is_async(function):
        return CarriedCoroutine(function, enters)
    return Carried(function, enters)


@public("radical.asyncflow.worker")
class PluginContexts:
    """The context managers of plugins around one body; their errors harm no task.

    A reference that raised is not tried again in this process.
    """

    __slots__ = ("_enters", "_headers", "_open")

    def __init__(self, enters: Sequence[str | None], headers: Sequence[Any]) -> None:
        self._enters = enters
        self._headers = headers
        self._open: list[tuple[str, AbstractContextManager[Any]]] = []

    def __enter__(self) -> None:
        for reference, headers in zip(self._enters, self._headers, strict=True):
            if reference is None or headers is None or reference in _broken:
                continue
            try:
                manager: AbstractContextManager[Any] = load_reference(reference)(headers)
                manager.__enter__()
            except Exception as error:
                _report(reference, error)
            else:
                self._open.append((reference, manager))

    def __exit__(self, *exc_info: Any) -> None:
        for reference, manager in reversed(self._open):
            try:
                manager.__exit__(*exc_info)
            except Exception as error:
                _report(reference, error)


_broken: set[str] = set()
"""References that could not be loaded, or raised."""


def _report(reference: str, error: Exception) -> None:
    if reference not in _broken:
        _broken.add(reference)
        log.warning(
            "%s raised an error around a task and is left out from now on; the task goes on",
            reference,
            exc_info=error,
        )
