"""The connection to a scheduler, without a future of Dask's for each task.

`distributed.Client` keeps a future, a state and a reference count for each key, and sends
a message for each release.  The backend has tables of its own, so this client hands what
the scheduler says to a listener and sends many things in one message.
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

__all__ = ["ECHO_INTERVAL_S", "GraphClient", "SchedulerListener"]

_SEND_INTERVAL_S = 0.002  # at least, between two messages to the scheduler
ECHO_INTERVAL_S = 2.0
"""From an answer of the scheduler to the next question whether it is there, in seconds."""
_CLOSE_TIMEOUT_S = 3.0  # for the end of a connection


class SchedulerListener(Protocol):
    """A listener to the scheduler; every method is called in the loop."""

    def on_memory(self, key: str) -> None:
        """Hear that a worker holds the result of *key*."""

    def on_error(self, key: str, error: BaseException) -> None:
        """Hear that Dask has given up the Dask task *key*."""

    def on_dropped(self, keys: Collection[str], reason: str) -> None:
        """Hear that the scheduler has forgotten these keys."""

    def on_event(self, topic: str, message: Any) -> None:
        """Hear an event on a topic that the client is subscribed to."""

    def on_lost(self, reason: str) -> None:
        """Hear that the scheduler is lost; nothing else follows."""


class GraphClient(Client):  # type: ignore[misc]
    """An asynchronous client that sends graphs and tells a listener what comes back."""

    _listener: SchedulerListener

    def __init__(self, address: str, **options: Any) -> None:
        self._topics: tuple[str, ...] = ()
        self._echoing: asyncio.Task[None] | None = None
        super().__init__(address, asynchronous=True, set_as_default=False, **options)

    @property
    def is_running(self) -> bool:
        """True while the connection is open."""
        return bool(self.status == "running")

    async def connect(self, listener: SchedulerListener, timeout: float) -> None:
        """Connect within *timeout* seconds; from then on *listener* hears the scheduler.

        Raises:
            OSError: there is no scheduler, or it refuses the connection.
        """
        self._listener = listener
        async with asyncio.timeout(timeout):
            await self
        self.scheduler_comm.interval = _SEND_INTERVAL_S

    def subscribe(self, *topics: str) -> None:
        """Have the events on these topics sent to the listener."""
        self._topics = topics
        for topic in topics:
            self._send_to_scheduler({"op": "subscribe-topic", "topic": topic, "client": self.id})

    def send_graph(
        self,
        graph: Mapping[str, GraphNode],
        priorities: Mapping[str, float],
        annotations: Mapping[str, Any],
        stimulus: str,
    ) -> None:
        """Have all of *graph* computed and kept.

        What waits begins by its priority, the higher first, and else in the order of *graph*.
        That of a key which is not among *priorities* is 0.

        When the scheduler has taken the graph in, it sends an event with *stimulus* in it,
        on the topic that has this client's id as its name.
        """
        keys = list(graph)
        self._send_to_scheduler(
            {
                "op": "update-graph",
                "expr_ser": Serialized(*serialize(to_serialize(LLGExpr(dict(graph))))),
                "keys": set(keys),
                # Given, so that the scheduler does not compute an order by itself.
                "internal_priority": {key: place for place, key in enumerate(keys)},
                "user_priority": dict(priorities),
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
        """Tell the scheduler that nobody here needs *keys*; it withdraws what has not begun."""
        self._send_to_scheduler(
            {"op": "client-releases-keys", "keys": list(keys), "client": self.id}
        )

    async def fetch(self, keys: Collection[str], *, direct: bool) -> dict[str, Any]:
        """Return the results of those of *keys* that can be had.

        With *direct* they come from the workers, and otherwise through the scheduler.
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

    def watch_scheduler(self, silence: float) -> None:
        """Begin to count a scheduler as lost if it does not answer for *silence* seconds.

        TCP alone notices a silent connection only after half a minute.
        """
        self._echoing = asyncio.create_task(self._echo(silence))

    async def _echo(self, silence: float) -> None:
        while self.is_running:
            await asyncio.sleep(ECHO_INTERVAL_S)
            answer = asyncio.ensure_future(self.scheduler.echo(data=0))
            try:
                # In steps: if this loop was held up, the answer may be there already.
                steps = max(1, ceil(silence))
                for _ in range(steps):
                    if (await asyncio.wait([answer], timeout=silence / steps))[0]:
                        break
                else:
                    self._listener.on_lost(f"the scheduler has not answered for {silence:g} s")
                    return
            finally:
                answer.cancel()
                # A broken connection is noticed where it is read.
                with suppress(OSError, asyncio.CancelledError):
                    await answer

    async def end(self) -> None:
        """Close the connection, whether or not the scheduler still answers."""
        if self._echoing is not None:
            self._echoing.cancel()
            await asyncio.wait([self._echoing])
        topics, self._topics = self._topics, ()
        for topic in topics:
            # Otherwise the scheduler would log that it cannot tell us of our own end.
            with suppress(OSError, ClosedClientError):
                self._send_to_scheduler(
                    {"op": "unsubscribe-topic", "topic": topic, "client": self.id}
                )
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._close()
        self.status = "closed"

    # Overridden methods of `Client`, which it calls with what the scheduler says.

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
        """Do nothing: Dask runs it once more, and events tell of that."""

    def _handle_restart(self) -> None:
        self._listener.on_lost("the cluster was restarted, which forgets all tasks")

    def _handle_event(self, topic: Any, event: Any) -> None:
        self._listener.on_event(topic, event[1])

    async def _reconnect(self) -> None:
        # A scheduler forgets the tasks of a client that it lost, so a new connection would
        # find nothing.
        self.status = "closing"
        self._listener.on_lost("the connection to the scheduler broke")
