"""``flow.as_completed``: the futures of tasks, each when its task has ended."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, TypeVar

from .._public import public
from .._text import safe_repr
from ..errors import ConfigurationError
from .function import TaskFunction
from .future import TaskFuture
from .owner import Owner

__all__ = ["NO_KEY", "AsCompleted", "Unread", "check_timeout", "late", "refuse_single"]

Item_co = TypeVar("Item_co", covariant=True)

NO_KEY: Any = object()
"""The value for "no key was given"."""

_SHOWN = 3  # unfinished tasks that an error names


@public("radical.asyncflow")
class AsCompleted(AsyncIterator[Item_co]):
    """The futures of tasks in the order in which the tasks end: what `as_completed` returns.

    Iterate over it with ``async for``, and give it more futures meanwhile.  ``len()`` of it is
    the number of futures that have not come yet.
    """

    def __init__(
        self, owner: Owner, futures: Iterable[Any] | Mapping[Any, Any], timeout: float | None
    ) -> None:
        refuse_single(futures, asyncio.Future)
        check_timeout(timeout)
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._deadline = None if timeout is None else self._loop.time() + timeout
        self._unread: Unread = Unread(has_keys=isinstance(futures, Mapping))
        self._ended: deque[TaskFuture[Any]] = deque()
        self._waiters: set[asyncio.Future[None]] = set()
        if isinstance(futures, Mapping):
            for future, key in futures.items():
                self.add(future, key)
        else:
            for future in futures:
                self.add(future)

    def add(self, future: TaskFuture[Any], key: Any = NO_KEY) -> None:
        """Let *future* come, too, when its task has ended.

        One without a key that was given before, and has not come yet, comes once.

        Args:
            key: what comes with it, if the iterator was made from a dict; only then.

        Raises:
            TypeError: *future* is no task of this engine, or *key* is missing or too much.
            ConfigurationError: it was given with a key before, and has not come yet.
        """
        if not isinstance(future, TaskFuture) or future._call.owner is not self._owner:
            raise _misfit(future)
        if self._unread.add(future, key):
            if future.done():
                self._arrived(future)
            else:
                future.add_done_callback(self._arrived)

    def _arrived(self, future: TaskFuture[Any]) -> None:
        self._ended.append(future)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def __len__(self) -> int:
        return len(self._unread.keys)

    def __aiter__(self) -> AsCompleted[Item_co]:
        return self

    async def __anext__(self) -> Item_co:
        """Return the next future whose task has ended, or with a dict that and its key.

        Raises:
            StopAsyncIteration: all futures have come; more may be added.
            TimeoutError: the next one has not ended within the timeout.
        """
        while not self._ended:
            if not self._unread.keys:
                raise StopAsyncIteration
            self._owner.request_pump()
            await self._wait()
        item: Item_co = self._unread.take(self._ended.popleft())
        return item

    async def _wait(self) -> None:
        """Wait for the end of one more task."""
        waiter = self._loop.create_future()
        self._waiters.add(waiter)
        try:
            if self._deadline is None:
                await waiter
                return
            async with asyncio.timeout_at(self._deadline):
                await waiter
        except TimeoutError:
            if not self._ended and self._unread.keys:
                raise late(self._unread.keys, self._timeout) from None
        finally:
            self._waiters.discard(waiter)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)} to come>"


class Unread:
    """The futures that have not come yet, each with its key.

    Attributes:
        keys: the key of each, by the future.
        has_keys: True if each has one, and comes with it.
    """

    __slots__ = ("has_keys", "keys")

    def __init__(self, *, has_keys: bool) -> None:
        self.has_keys = has_keys
        self.keys: dict[Any, Any] = {}

    def add(self, future: Any, key: Any) -> bool:
        """Take *future* in; return False if it is there already.

        Raises:
            TypeError: *key* is missing, or too much.
            ConfigurationError: it is there, with a key.
        """
        if (key is not NO_KEY) is not self.has_keys:
            raise TypeError(
                f"a key is missing: this as_completed was made from a dict, so add {future!r} "
                "with .add(future, key)"
                if self.has_keys
                else f"this as_completed was made without keys, so it cannot take {safe_repr(key)} "
                f"with {future!r}; make it from a dict, such as as_completed({{}})"
            )
        if future in self.keys:
            if self.has_keys:
                raise ConfigurationError(
                    f"{future!r} waits already, with the key {safe_repr(self.keys[future])}"
                )
            return False
        self.keys[future] = key
        return True

    def take(self, future: Any) -> Any:
        """Remove *future*, and return what comes: it, or it and its key."""
        key = self.keys.pop(future)
        return (future, key) if self.has_keys else future


def check_timeout(timeout: object) -> None:
    """Raise ConfigurationError unless *timeout* is a number of seconds, or None."""
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if timeout is not None and not (number and timeout >= 0):  # type: ignore[operator]
        raise ConfigurationError(
            f"timeout must be seconds, from 0, or None, not {safe_repr(timeout)}"
        )


def refuse_single(futures: object, kind: type) -> None:
    """Raise TypeError if *futures* is one future, of this *kind*, or cannot hold any."""
    if isinstance(futures, kind):
        raise TypeError(
            f"as_completed takes several futures; for a single one write as_completed([future]), "
            f"not {futures!r}"
        )
    if not isinstance(futures, Iterable) or isinstance(futures, str | bytes):
        raise TypeError(
            "as_completed takes a list of futures or a dict {future: key}, not "
            f"{safe_repr(futures)}"
        )


def late(futures: Iterable[Any], timeout: float | None) -> TimeoutError:
    """Return the error that *futures* have not ended within *timeout* seconds."""
    unfinished = list(futures)
    named = ", ".join(map(repr, unfinished[:_SHOWN]))
    more = f" and {len(unfinished) - _SHOWN} more" if len(unfinished) > _SHOWN else ""
    return TimeoutError(
        f"as_completed: {len(unfinished)} unfinished after {timeout:g} s: {named}{more}; they go "
        "on, and flow.why() says what they wait for"
    )


def _misfit(thing: object) -> TypeError:
    """Return the error that *thing* is no future of a task of this engine."""
    if isinstance(thing, TaskFunction):
        return TypeError(f"{thing!r} is a task that was not called: give the future of a call")
    if isinstance(thing, TaskFuture):
        return TypeError(
            f"{thing!r} is of another engine; asyncio.as_completed takes those of several"
        )
    return TypeError(
        f"as_completed takes futures of tasks of this engine, not {safe_repr(thing)}; "
        "asyncio.as_completed takes any awaitables"
    )
