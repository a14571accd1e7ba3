"""``flow.as_completed`` for a thread: the futures of tasks, each when its task has ended."""

from __future__ import annotations

import concurrent.futures
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from threading import Condition
from time import monotonic
from typing import Any, TypeVar

from .._public import public
from .._task.completed import NO_KEY, Unread, check_timeout, late, refuse_single
from .._text import safe_repr
from .._threads.calls import Calls
from .._threads.futures import HandOn, TaskFuture
from ._tasks import TaskFunction

__all__ = ["AsCompleted"]

Item_co = TypeVar("Item_co", covariant=True)


@public("radical.asyncflow.sync")
class AsCompleted(Iterator[Item_co]):
    """The futures of tasks in the order in which the tasks end: what `as_completed` returns.

    Iterate over it with ``for``, and give it more futures meanwhile, from any thread.  ``len()``
    of it is the number of futures that have not come yet.
    """

    def __init__(
        self, calls: Calls, futures: Iterable[Any] | Mapping[Any, Any], timeout: float | None
    ) -> None:
        refuse_single(futures, concurrent.futures.Future)
        check_timeout(timeout)
        self._calls = calls
        self._timeout = timeout
        self._deadline = None if timeout is None else monotonic() + timeout
        self._unread: Unread = Unread(has_keys=isinstance(futures, Mapping))
        self._ended: deque[TaskFuture[Any]] = deque()
        self._change = Condition()  # guards the two before it
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
            TypeError: *future* is no task of this flow, or *key* is missing or too much.
            ConfigurationError: it was given with a key before, and has not come yet.
        """
        if not isinstance(future, TaskFuture) or future._calls is not self._calls:
            raise _misfit(future)
        with self._change:
            is_new = self._unread.add(future, key)
        if is_new:
            # Past the method of the future, for which a callback looks at the result.
            concurrent.futures.Future.add_done_callback(future, HandOn(self._arrived))

    def _arrived(self, future: TaskFuture[Any]) -> None:
        with self._change:
            self._ended.append(future)
            self._change.notify_all()

    def __len__(self) -> int:
        return len(self._unread.keys)

    def __iter__(self) -> AsCompleted[Item_co]:
        return self

    def __next__(self) -> Item_co:
        """Return the next future whose task has ended, or with a dict that and its key.

        Raises:
            StopIteration: all futures have come; more may be added.
            TimeoutError: the next one has not ended within the timeout.
            RuntimeError: it would wait in the loop of the engine, as in a block.
        """
        with self._change:
            while not self._ended:
                if not self._unread.keys:
                    raise StopIteration
                self._wait()
            item: Item_co = self._unread.take(self._ended.popleft())
        return item

    def _wait(self) -> None:
        """Wait for the end of one more task."""
        if self._calls.is_own_thread():
            raise RuntimeError(
                "no task has ended, and to wait for one would stop the loop that runs them: in a "
                "block or a callback, use flow.engine.as_completed with 'async for'"
            )
        if self._deadline is None:
            self._change.wait()
            return
        left = self._deadline - monotonic()
        if (left <= 0 or not self._change.wait(left)) and not self._ended and self._unread.keys:
            raise late(self._unread.keys, self._timeout)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)} to come>"


def _misfit(thing: object) -> TypeError:
    """Return the error that *thing* is no future of a task of this flow."""
    if isinstance(thing, TaskFunction):
        return TypeError(f"{thing!r} is a task that was not called: give the future of a call")
    if isinstance(thing, TaskFuture):
        return TypeError(
            f"{thing!r} is of another flow; concurrent.futures.as_completed takes those of several"
        )
    return TypeError(
        f"as_completed takes futures of tasks of this flow, not {safe_repr(thing)}; in a block, "
        "use flow.engine.as_completed"
    )
