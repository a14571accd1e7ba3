"""The connection to a scheduler, without a future of Dask's for each task.

`distributed.Client` keeps a future, a state and a reference count for each key and
sends a message for each release.  The backend has its own books, so this client hands
what the scheduler says straight to a listener and speaks in batches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from math import ceil
from typing import Any, Protocol

from dask._expr import LLGExpr
from dask._task_spec import GraphNode
from distributed import Client
from distributed.client import ClosedClientError
from distributed.core import clean_exception
from distributed.protocol import serialize, to_serialize
from distributed.protocol.serialize import Serialized, ToPickle
from distributed.utils_comm import gather_from_workers

__all__ = ["GraphClient", "Listener"]

_INTERVAL = 0.002  # seconds between two messages to the scheduler, at the least
_BEAT = 2.0  # seconds between an answer of the scheduler and the next question
_CLOSING = 3.0  # seconds that the end of a connection may take


class Listener(Protocol):
    """What hears the scheduler; every method is called in the loop."""

    def on_memory(self, key: str) -> None:
        """A worker holds the result."""

    def on_error(self, key: str, error: BaseException) -> None:
        """Dask gave the task up."""

    def on_dropped(self, keys: Collection[str], reason: str) -> None:
        """The scheduler knows these keys no longer."""

    def on_event(self, topic: str, message: Any) -> None:
        """An event on a topic that was subscribed to."""

    def on_gone(self, reason: str) -> None:
        """The scheduler is gone; nothing else comes."""


class GraphClient(Client):  # type: ignore[misc]
    """An asynchronous client that reports to *listener*."""

    def __init__(self, listener: Listener, address: str, **options: Any) -> None:
        self._listener = listener
        self._topics: tuple[str, ...] = ()
        self._listening: asyncio.Task[None] | None = None
        super().__init__(address, asynchronous=True, set_as_default=False, **options)

    async def connect(self, timeout: float) -> None:
        """Connect within *timeout* seconds.

        Raises:
            OSError: there is no scheduler, or it does not speak with us.
        """
        async with asyncio.timeout(timeout):
            await self
        self.scheduler_comm.interval = _INTERVAL

    def subscribe(self, *topics: str) -> None:
        self._topics = topics
        for topic in topics:
            self._send_to_scheduler({"op": "subscribe-topic", "topic": topic, "client": self.id})

    def send_graph(
        self, graph: Mapping[str, GraphNode], annotations: Mapping[str, Any], stimulus: str
    ) -> None:
        """Have all of *graph* computed and kept; earlier entries have priority.

        When the scheduler has taken it in, it says so by an event on the topic of this
        client's id, with *stimulus* in it.
        """
        keys = list(graph)
        self._send_to_scheduler(
            {
                "op": "update-graph",
                "expr_ser": Serialized(*serialize(to_serialize(LLGExpr(dict(graph))))),
                "keys": set(keys),
                # Given, so that the scheduler does not compute an order by itself.
                "internal_priority": {key: place for place, key in enumerate(keys)},
                "submitting_task": None,
                "fifo_timeout": 0,
                "actors": None,
                "code": ToPickle(()),
                "annotations": ToPickle(dict(annotations)),
                "span_metadata": ToPickle({"collections": []}),
                "stimulus_id": stimulus,
            }
        )

    def release_keys(self, keys: Collection[str]) -> None:
        """Nobody here needs them any more; what has not begun is withdrawn."""
        self._send_to_scheduler(
            {"op": "client-releases-keys", "keys": list(keys), "client": self.id}
        )

    async def fetch(self, keys: Collection[str], *, direct: bool) -> dict[str, Any]:
        """The results of *keys*, as far as they can be had.

        With *direct* they come from the workers, otherwise by way of the scheduler.
        """
        if direct:
            who_has = await self.scheduler.who_has(keys=list(keys))
            data, *_ = await gather_from_workers(
                {key: who_has[key] for key in keys if who_has.get(key)}, rpc=self.rpc
            )
            keys = [key for key in keys if key not in data]
            if not keys:
                return dict(data)
        else:
            data = {}
        answer = await self.scheduler.gather(keys=list(keys))
        if answer["status"] == "OK":
            return {**data, **answer["data"]}
        if len(keys) > 1:  # one that is lost must not cost the others
            for key in keys:
                data.update(await self.fetch([key], direct=False))
        return dict(data)

    def listen(self, silence: float) -> None:
        """From now on a scheduler that does not answer for *silence* seconds is gone.

        A connection that falls silent is broken for TCP after half a minute only.
        """
        self._listening = asyncio.create_task(self._listen(silence))

    async def _listen(self, silence: float) -> None:
        while self.status == "running":
            await asyncio.sleep(_BEAT)
            answer = asyncio.ensure_future(self.scheduler.echo(data=0))
            try:
                # In steps: if this loop was held up, the answer may be there already.
                steps = max(1, ceil(silence))
                for _ in range(steps):
                    if (await asyncio.wait([answer], timeout=silence / steps))[0]:
                        break
                else:
                    self._listener.on_gone(f"the scheduler has not answered for {silence:g} s")
                    return
            finally:
                answer.cancel()
                # If the connection broke, that is told where it is read.
                with suppress(OSError, asyncio.CancelledError):
                    await answer

    async def end(self) -> None:
        """Close the connection, whether or not anybody is at the other end."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
        topics, self._topics = self._topics, ()
        for topic in topics:
            # Or the scheduler would complain that it cannot tell us of our own end.
            with suppress(OSError, ClosedClientError):
                self._send_to_scheduler(
                    {"op": "unsubscribe-topic", "topic": topic, "client": self.id}
                )
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSING):
                await self._close()
        self.status = "closed"

    # What the scheduler says.

    def _handle_key_in_memory(
        self,
        key: Any = None,
        type: Any = None,  # noqa: A002, ARG002 - Dask's name for it
        workers: Any = None,  # noqa: ARG002
    ) -> None:
        self._listener.on_memory(key)

    def _handle_task_erred(
        self, key: Any = None, exception: Any = None, traceback: Any = None
    ) -> None:
        _, error, _ = clean_exception(exception, traceback)
        self._listener.on_error(key, error or RuntimeError("Dask gave no reason"))

    def _handle_cancelled_keys(self, keys: Any, reason: Any = None, msg: Any = None) -> None:
        self._listener.on_dropped(keys, str(msg or reason or "it was cancelled on the scheduler"))

    def _handle_lost_data(self, key: Any = None) -> None:
        self._listener.on_dropped([key], "its data was lost with a worker")

    def _handle_retried_key(self, key: Any = None) -> None:
        """Dask runs it once more: its events will tell."""

    def _handle_restart(self) -> None:
        self._listener.on_gone("the cluster was restarted, which forgets all tasks")

    def _handle_event(self, topic: Any, event: Any) -> None:
        self._listener.on_event(topic, event[1])

    async def _reconnect(self) -> None:
        # A scheduler forgets the tasks of a client that it lost, so there is nothing to
        # come back for.
        self.status = "closing"
        self._listener.on_gone("the connection to the scheduler broke")
