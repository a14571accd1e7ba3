"""Values that stay on their workers, and how they come here: many in one message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from radical.asyncflow.backend import RemoteValue, TaskId
from radical.asyncflow.errors import BackendLostError

from .._wire import Kept, load
from .client import GraphClient

__all__ = ["DaskValue", "Fetcher"]


class Fetcher:
    """Gathers what is asked for in one turn of the loop with one request."""

    def __init__(self, client: GraphClient, *, direct: bool) -> None:
        self._client = client
        self._direct = direct
        self._wanted: dict[str, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed: str | None = None

    async def fetch(self, key: str) -> Any:
        """What Dask holds under *key*: a `Kept`, or a list of them.

        Raises:
            BackendLostError: it is gone.
        """
        if self._closed is not None:
            raise BackendLostError(self._closed)
        future = self._wanted.get(key)
        if future is None:
            loop = asyncio.get_running_loop()
            if not self._wanted:
                loop.call_soon(self._begin)
            future = self._wanted[key] = loop.create_future()
        return await asyncio.shield(future)

    async def close(self, reason: str) -> None:
        """Whoever waits, or asks later, is told *reason*."""
        self._closed = reason
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._fail(self._wanted, reason)

    def _begin(self) -> None:
        wanted, self._wanted = self._wanted, {}
        if wanted and self._closed is None:
            task = asyncio.get_running_loop().create_task(self._gather(wanted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._fail(wanted, self._closed or "")

    async def _gather(self, wanted: dict[str, asyncio.Future[Any]]) -> None:
        reason = "the value is lost: no worker has it, and it cannot be computed again"
        try:
            data = await self._client.fetch(wanted, direct=self._direct)
            for key, value in data.items():
                wanted[key].set_result(value)
        except asyncio.CancelledError:
            reason = self._closed or reason
            raise
        except Exception as exc:  # whatever a broken connection raises
            reason = f"the value could not be fetched: {type(exc).__name__}: {exc}"
        finally:
            self._fail(wanted, reason)

    def _fail(self, wanted: dict[str, asyncio.Future[Any]], reason: str) -> None:
        for future in wanted.values():
            if not future.done():
                future.set_exception(BackendLostError(reason))
                future.exception()  # whoever waited may be gone


class DaskValue(RemoteValue):
    """The result of one task.

    Attributes:
        key, index: where Dask has it; no key if *inline* is all there is.
        inline: the pickled value, if it is small: it came with the news.
    """

    __slots__ = ("_fetcher", "_release", "index", "inline", "key", "task_id")

    def __init__(
        self,
        task_id: TaskId,
        key: str,
        index: int,
        inline: bytes | None,
        fetcher: Fetcher,
        release: Callable[[DaskValue], None],
    ) -> None:
        self.task_id = task_id
        self.key = key
        self.index = index
        self.inline = inline
        self._fetcher = fetcher
        self._release: Callable[[DaskValue], None] | None = release

    async def fetch(self) -> Any:
        if self.inline is not None:
            return load(self.inline)
        if self._release is None:
            raise BackendLostError(f"the value of task {self.task_id} was released before")
        held = await self._fetcher.fetch(self.key)
        kept: Kept | None = held[self.index] if isinstance(held, list) else held
        if kept is None or kept.failed:
            raise BackendLostError(
                f"the value of task {self.task_id} was lost with its worker, and the task failed "
                "when it was run again"
            )
        return kept.get()

    def release(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release(self)
