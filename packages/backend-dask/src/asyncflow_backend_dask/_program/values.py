"""Values that stay on their workers, and how they come here: many in one message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from radical.asyncflow.backend import RemoteValue, TaskId
from radical.asyncflow.errors import BackendLostError
from radical.asyncflow.worker import safe_str

from .._messages.pickles import load
from .._messages.results import CallResult
from .client import GraphClient

__all__ = ["DaskValue", "Fetcher"]


class Fetcher:
    """Fetches, with one request, all that was asked for in one turn of the loop."""

    def __init__(self, client: GraphClient, *, direct: bool) -> None:
        self._client = client
        self._direct = direct
        self._wanted: dict[str, asyncio.Future[Any]] = {}
        self._requests: set[asyncio.Task[None]] = set()
        self._closed_because: str | None = None

    async def fetch(self, key: str) -> Any:
        """Return what Dask holds under *key*: a `CallResult`, or a list of them.

        Raises:
            BackendLostError: it is lost.
        """
        if self._closed_because is not None:
            raise BackendLostError(self._closed_because)
        future = self._wanted.get(key)
        if future is None:
            loop = asyncio.get_running_loop()
            if not self._wanted:
                loop.call_soon(self._begin)
            future = self._wanted[key] = loop.create_future()
        return await asyncio.shield(future)

    async def close(self, reason: str) -> None:
        """Fail every request, also later ones, with *reason*."""
        self._closed_because = reason
        for request in self._requests:
            request.cancel()
        if self._requests:
            await asyncio.wait(self._requests)
        _fail(self._wanted, reason)

    def _begin(self) -> None:
        wanted, self._wanted = self._wanted, {}
        if wanted and self._closed_because is None:
            request = asyncio.get_running_loop().create_task(self._gather(wanted))
            self._requests.add(request)
            request.add_done_callback(self._requests.discard)
        else:
            _fail(wanted, self._closed_because or "")

    async def _gather(self, wanted: dict[str, asyncio.Future[Any]]) -> None:
        reason = "the value is lost: no worker has it, and it cannot be computed again"
        try:
            data = await self._client.fetch(wanted, direct=self._direct)
            for key, value in data.items():
                wanted[key].set_result(value)
        except asyncio.CancelledError:
            reason = self._closed_because or reason
            raise
        except Exception as exc:  # whatever a broken connection raises
            reason = f"the value could not be fetched: {safe_str(exc)}"
        finally:
            _fail(wanted, reason)


def _fail(wanted: dict[str, asyncio.Future[Any]], reason: str) -> None:
    for future in wanted.values():
        if not future.done():
            future.set_exception(BackendLostError(reason))
            future.exception()  # nobody may be waiting any longer


class DaskValue(RemoteValue):
    """The result of one task.

    Attributes:
        key: the Dask task that holds the value, unless *inline* does.
        index: the index of the call in that Dask task.
        inline: the pickled value if it is small; it came with the event.
    """

    __slots__ = ("_fetcher", "_on_release", "index", "inline", "key", "task_id")

    def __init__(
        self,
        task_id: TaskId,
        key: str,
        index: int,
        inline: bytes | None,
        fetcher: Fetcher,
        on_release: Callable[[DaskValue], None],
    ) -> None:
        self.task_id = task_id
        self.key = key
        self.index = index
        self.inline = inline
        self._fetcher = fetcher
        self._on_release: Callable[[DaskValue], None] | None = on_release

    async def fetch(self) -> Any:
        if self.inline is not None:
            return load(self.inline)
        if self._on_release is None:
            raise BackendLostError(f"the value of task {self.task_id} was released before")
        held = await self._fetcher.fetch(self.key)
        result: CallResult | None = held[self.index] if isinstance(held, list) else held
        if result is None or result.failed:
            raise BackendLostError(
                f"the value of task {self.task_id} was lost with its worker, and the task failed "
                "when it ran again"
            )
        return result.get()

    def release(self) -> None:
        on_release, self._on_release = self._on_release, None
        if on_release is not None:
            on_release(self)
