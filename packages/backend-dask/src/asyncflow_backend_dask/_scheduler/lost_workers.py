"""What happens on the scheduler when a worker dies: who is charged, and who runs again.

Dask runs every task of a dead worker once more, at once, and a client that hears of
the death comes too late to object.  So this plugin decides in the moment of the death:
a call that ran there and has no life left is struck out of its order before Dask sends
that order to another worker.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import Iterable, Mapping
from typing import Any

from dask._task_spec import Task
from distributed import SchedulerPlugin

from .._wire import CONDEMNED, DIED, ENDINGS, LOOSENED, RETURNED, RUNNING, Order
from .._worker.book import forget_book, read_book
from .._worker.run import run

__all__ = ["Deaths"]

_RECOMPUTED = 3  # deaths that a call survives whose value was there, and was lost
_GRACE = 0.5  # seconds for a worker whose function is to be ended, and what else it runs
_LATER = 1.0  # seconds until all others who use the cluster have read the book, too

_log = logging.getLogger("radical.asyncflow.dask")

_Id = tuple[int, int]
"""Task and attempt."""


class Deaths(SchedulerPlugin):  # type: ignore[misc]
    """Reports on *topic* of each worker that is removed, and for whom Dask must not run again.

    It also gives back, on request, calls that wait for the dependencies of others, as it
    alone can tell whether they have begun.  It ends with its client.
    """

    def __init__(self, topic: str, client: str) -> None:
        self.name = topic
        self._topic = topic
        self._client = client
        self._folders: dict[str, str] = {}
        self._running: dict[str, set[_Id]] = {}
        self._returned: dict[_Id, set[str]] = {}
        self._run_again: set[str] = set()
        self._condemned: set[_Id] = set()
        self._leaving: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._deaths: dict[_Id, int] = {}

    async def start(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        for address in scheduler.workers:
            self.add_worker(scheduler, address)

    def add_worker(self, scheduler: Any, worker: str) -> None:
        self._folders[worker] = scheduler.workers[worker].local_directory

    def remove_client(self, scheduler: Any, client: str) -> None:
        if client == self._client:
            scheduler.plugins.pop(self.name, None)

    def log_event(self, topic: str, msg: Any) -> None:
        if topic == self._topic:
            if (events := msg.get("events")) is not None:
                self._on_calls(msg["worker"], events)
            elif CONDEMNED in msg:
                self._condemned.update(map(tuple, msg[CONDEMNED]))
                self._restart(msg["worker"])
            elif LOOSENED in msg:
                self._loosen(msg[LOOSENED])
        elif topic == "all" and msg.get("action") == "remove-worker":
            # Said while its tasks are still where they were.
            self._on_death(msg["worker"], msg["processing-tasks"], msg["expected"])

    def _on_calls(self, worker: str, events: Iterable[Any]) -> None:
        for kind, task_id, attempt, _, data in events:
            one = task_id, attempt
            if kind == RUNNING:
                self._running.setdefault(worker, set()).add(one)
            elif kind == RETURNED:
                self._returned.setdefault(one, set()).add(data)
            elif kind in ENDINGS:
                self._returned.pop(one, None)
                if worker in self._running:
                    self._running[worker].discard(one)

    def _loosen(self, wanted: Mapping[str, Iterable[_Id]]) -> None:
        """Give back these calls of Dask tasks that still wait for some dependency."""
        events = []
        for key, attempts in wanted.items():
            ts = self._scheduler.tasks.get(key)
            order = self._order_of(ts)
            if order is None or ts.state != "waiting" or key in self._run_again:
                continue
            asked = {tuple(one) for one in attempts}
            back = set(order.returned)
            for place, one in enumerate(order.calls):
                if (one.task_id, one.attempt) in asked:
                    back.add(place)
                    events.append((RETURNED, one.task_id, one.attempt, 0.0, key))
            self._change(ts, order._replace(returned=tuple(sorted(back))))
        if events:
            self._scheduler.log_event(self._topic, {"worker": "", "events": events})

    def _restart(self, worker: str) -> None:
        """Have its nanny end *worker*, and start another in its place."""
        state = self._scheduler.workers.get(worker)
        if state is not None and worker not in self._leaving:
            self._leaving.add(worker)
            task = asyncio.ensure_future(self._end(worker, state.nanny))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _end(self, worker: str, nanny: str) -> None:
        reason = f"{self.name}-cancel"
        try:
            await self._scheduler.rpc(nanny).kill(reason=reason, timeout=_GRACE)
        except (OSError, TimeoutError) as exc:
            _log.error("worker %s could not be restarted, and is given up: %s", worker, exc)
            await self._scheduler.remove_worker(worker, stimulus_id=reason)

    def _on_death(self, worker: str, keys: Iterable[str], expected: bool) -> None:
        known = self._running.pop(worker, set())
        read = None
        if (folder := self._folders.pop(worker, None)) is not None:
            read = read_book(folder, self._topic)
            asyncio.get_running_loop().call_later(_LATER, forget_book, folder)
        ran = known if read is None else read
        expected = expected or worker in self._leaving
        self._leaving.discard(worker)
        charged: list[tuple[int, int, int, bool]] = []
        ours: list[str] = []
        for key in keys:
            ts = self._scheduler.tasks.get(key)
            order = self._order_of(ts)
            if order is None:
                continue
            ours.append(key)
            ts.suspicious = 0  # Dask counts whoever waited there, too
            self._run_again.add(key)
            struck, returned = set(order.struck), set(order.returned)
            for place, one in enumerate(order.calls):
                who = one.task_id, one.attempt
                if key in self._returned.get(who, ()):
                    returned.add(place)
                elif who in self._condemned:
                    struck.add(place)
                elif not expected and who in ran:
                    deaths = self._deaths[who] = self._deaths.get(who, 0) + 1
                    lives = max(one.lives, _RECOMPUTED) if ts.nbytes >= 0 else one.lives
                    charged.append((*who, deaths, deaths > lives))
                    if deaths > lives:
                        struck.add(place)
            # If nobody knows which of them ran, each is told of before it begins again.
            careful = order.careful or (read is None and not expected)
            changed = order._replace(
                careful=careful, struck=tuple(sorted(struck)), returned=tuple(sorted(returned))
            )
            if changed != order:
                self._change(ts, changed)
        self._scheduler.log_event(
            self._topic,
            {DIED: worker, "expected": expected, "charged": charged, "keys": ours},
        )

    def _change(self, ts: Any, order: Order) -> None:
        ts.run_spec = Task(ts.key, run, pickle.dumps(order, 5), *ts.run_spec.args[1:])

    def _order_of(self, ts: Any) -> Order | None:
        spec = ts.run_spec if ts is not None else None
        if not isinstance(spec, Task) or spec.func is not run:
            return None
        order: Order = pickle.loads(spec.args[0])
        return order if order.topic == self._topic else None
