"""Decide on the scheduler, when a worker dies, which calls are charged and which run again.

Dask runs every task of a dead worker once more, at once.  A client hears of the death too
late to object, so this plugin decides in the moment of the death: a call that ran there and
may not die again is struck out of its order before Dask sends the order to another worker.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import Iterable, Mapping
from typing import Any

from dask._task_spec import Task
from dask.utils import format_bytes
from distributed import SchedulerPlugin
from radical.asyncflow.errors import DeathReason
from radical.asyncflow.worker import Death, explain_death

from .._messages.events import (
    FINAL_KINDS,
    GIVE_BACK,
    GIVEN_BACK,
    KILL,
    RUNNING,
    WORKER_DIED,
)
from .._messages.orders import WorkOrder
from .._messages.worker_ends import WORKER_ENDS
from .._worker.call_file import read_call_file, remove_call_file
from .._worker.run import run

__all__ = ["LostWorkers"]

_DEATHS_IN_RECOMPUTATION = 3  # that a call survives whose value was there and was lost
_KILL_GRACE_S = 0.5  # for a worker that is to be restarted, and for what else it runs
_NANNY_ENDS_FOR_MEMORY = "worker-restart-memory"  # the topic of its event
_MUCH_MEMORY = 0.8  # of the limit; from there on Dask's worker pauses
_CALL_FILE_KEPT_S = 10.0  # so that all who use the cluster have read it, or learnt of the death

_log = logging.getLogger("radical.asyncflow.dask")

_Attempt = tuple[int, int]
"""Task id and attempt."""


class LostWorkers(SchedulerPlugin):  # type: ignore[misc]
    """The scheduler's plugin that decides what runs again when a worker is removed.

    It reports each removal on *topic*.  On request it also gives back calls that wait for
    the dependencies of others, because the scheduler alone knows whether they have begun.
    It is removed together with *client*.
    """

    def __init__(self, topic: str, client: str) -> None:
        self.name = topic
        self._topic = topic
        self._client = client
        self._workers: dict[str, Any] = {}
        self._memory: dict[str, int] = {}
        self._running: dict[str, set[_Attempt]] = {}
        self._given_back: dict[_Attempt, set[str]] = {}
        self._run_again: set[str] = set()
        self._killed: set[_Attempt] = set()
        self._restarting: set[str] = set()
        self._restarts: set[asyncio.Task[None]] = set()
        self._deaths: dict[_Attempt, int] = {}

    async def start(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        for address in scheduler.workers:
            self.add_worker(scheduler, address)

    def add_worker(self, scheduler: Any, worker: str) -> None:
        self._workers[worker] = scheduler.workers[worker]

    def remove_client(self, scheduler: Any, client: str) -> None:
        if client == self._client:
            scheduler.plugins.pop(self.name, None)

    def log_event(self, topic: str, msg: Any) -> None:
        if topic == self._topic:
            if (events := msg.get("events")) is not None:
                self._note_events(msg["worker"], events)
            elif KILL in msg:
                self._killed.update(map(tuple, msg[KILL]))
                self._restart(msg["worker"])
            elif GIVE_BACK in msg:
                self._give_back(msg[GIVE_BACK])
        elif topic == _NANNY_ENDS_FOR_MEMORY:
            if (address := msg.get("worker")) in self._workers:
                self._memory[address] = msg["rss"]
        elif topic == "all" and msg.get("action") == "remove-worker":
            # At this moment the scheduler has not moved the worker's tasks yet.
            self._decide(msg["worker"], msg["processing-tasks"], msg["expected"])

    def _note_events(self, worker: str, events: Iterable[Any]) -> None:
        for kind, task_id, attempt, _, data, *_ in events:
            one = task_id, attempt
            if kind == RUNNING:
                self._running.setdefault(worker, set()).add(one)
            elif kind == GIVEN_BACK:
                self._given_back.setdefault(one, set()).add(data)
            elif kind in FINAL_KINDS:
                self._given_back.pop(one, None)
                if worker in self._running:
                    self._running[worker].discard(one)

    def _give_back(self, wanted: Mapping[str, Iterable[_Attempt]]) -> None:
        """Give back these calls, by key, of Dask tasks that still wait for a dependency."""
        events = []
        for key, attempts in wanted.items():
            state = self._scheduler.tasks.get(key)
            order = self._order_of(state)
            if order is None or state.state != "waiting" or key in self._run_again:
                continue
            asked = {tuple(one) for one in attempts}
            given_back = set(order.given_back)
            for place, call in enumerate(order.calls):
                if (call.task_id, call.attempt) in asked:
                    given_back.add(place)
                    events.append((GIVEN_BACK, call.task_id, call.attempt, 0.0, key))
            _replace_order(state, order._replace(given_back=tuple(sorted(given_back))))
        if events:
            self._scheduler.log_event(self._topic, {"worker": "", "events": events})

    def _restart(self, worker: str) -> None:
        """Have the nanny of *worker* end it and start another in its place."""
        state = self._scheduler.workers.get(worker)
        if state is not None and worker not in self._restarting:
            self._restarting.add(worker)
            task = asyncio.ensure_future(self._end_worker(worker, state.nanny))
            self._restarts.add(task)
            task.add_done_callback(self._restarts.discard)

    async def _end_worker(self, worker: str, nanny: str) -> None:
        reason = f"{self.name}-cancel"
        try:
            await self._scheduler.rpc(nanny).kill(reason=reason, timeout=_KILL_GRACE_S)
        except (OSError, TimeoutError) as exc:
            _log.error("worker %s could not be restarted, and is given up: %s", worker, exc)
            await self._scheduler.remove_worker(worker, stimulus_id=reason)

    def _decide(self, worker: str, keys: Iterable[str], expected: bool) -> None:
        """Decide for each Dask task of a worker that is gone which of its calls run again."""
        known = self._running.pop(worker, set())
        written = None
        memory = ""
        death, code = Death(DeathReason.UNKNOWN), None
        if (state := self._workers.pop(worker, None)) is not None:
            memory = _memory_in_words(state, self._memory.pop(worker, None))
            if not expected and worker not in self._restarting:
                death, code = self._explain(state)
            if memory:
                death = Death(DeathReason.MEMORY, memory)
            folder = state.local_directory
            written = read_call_file(folder, self._topic)
            loop = asyncio.get_running_loop()
            loop.call_later(_CALL_FILE_KEPT_S, remove_call_file, folder)
        expected = expected or worker in self._restarting
        self._restarting.discard(worker)
        # An expected end is the fault of no call.
        ran = set() if expected else known if written is None else written
        charged: list[tuple[int, int, int, bool]] = []
        ours: list[str] = []
        for key in keys:
            state = self._scheduler.tasks.get(key)
            order = self._order_of(state)
            if order is None:
                continue
            ours.append(key)
            state.suspicious = 0  # Dask also counts the tasks that only waited there
            self._run_again.add(key)
            changed, of_this = self._judge(state, order, ran)
            charged += of_this
            if written is None and not expected:
                # Nobody knows which calls ran, so each is confirmed before it begins again.
                changed = changed._replace(confirm_begin=True)
            if changed != order:
                _replace_order(state, changed)
        self._scheduler.log_event(
            self._topic,
            {
                WORKER_DIED: worker,
                "expected": expected,
                "charged": charged,
                "keys": ours,
                "reason": str(death.reason),
                "signal": -code if code is not None and code < 0 else None,
                "evidence": death.evidence or ("" if code is None else f"exit code {code}"),
            },
        )

    def _explain(self, state: Any) -> tuple[Death, int | None]:
        """Say why a worker died, and with which exit code if an own cluster's nanny knows it."""
        find_exit_code = self._scheduler.extensions.get(WORKER_ENDS)
        code = None if find_exit_code is None else find_exit_code(state.nanny)
        return explain_death(state.pid, code), code

    def _judge(
        self, state: Any, order: WorkOrder, ran: set[_Attempt]
    ) -> tuple[WorkOrder, list[tuple[int, int, int, bool]]]:
        """Return the order that runs again, and its calls that are charged with the death.

        *ran* are the calls that ran on the worker.  A charge has the number of deaths so
        far, and whether they are too many.
        """
        charged = []
        struck_out, given_back = set(order.struck_out), set(order.given_back)
        for place, call in enumerate(order.calls):
            one = call.task_id, call.attempt
            if order.key in self._given_back.get(one, ()):
                given_back.add(place)
            elif one in self._killed:
                struck_out.add(place)
            elif one in ran:
                deaths = self._deaths[one] = self._deaths.get(one, 0) + 1
                allowed = call.allowed_deaths
                if state.nbytes >= 0:  # its value was there
                    allowed = max(allowed, _DEATHS_IN_RECOMPUTATION)
                charged.append((*one, deaths, deaths > allowed))
                if deaths > allowed:
                    struck_out.add(place)
        again = order._replace(
            struck_out=tuple(sorted(struck_out)), given_back=tuple(sorted(given_back))
        )
        return again, charged

    def _order_of(self, state: Any) -> WorkOrder | None:
        """Return the order of a Dask task, as the scheduler has it; None if it is not ours."""
        spec = state.run_spec if state is not None else None
        if not isinstance(spec, Task) or spec.func is not run:
            return None
        order: WorkOrder = pickle.loads(spec.args[0])
        return order if order.topic == self._topic else None


def _memory_in_words(worker: Any, at_its_end: int | None) -> str:
    """Return what is known of the memory of a dead *worker*, if it may have died of that.

    *at_its_end* is what its nanny measured when it ended the worker, or None.
    """
    limit = worker.memory_limit
    if at_its_end is not None:
        used = format_bytes(at_its_end)
        of = f", and its limit is {format_bytes(limit)}" if limit else ""
        return f"its nanny ended it because it used {used} of memory{of}"
    used = (worker.metrics or {}).get("memory", 0)
    if limit and used >= _MUCH_MEMORY * limit:
        return (
            f"it used {format_bytes(used)} of memory shortly before, and its limit is "
            f"{format_bytes(limit)}"
        )
    return ""


def _replace_order(state: Any, order: WorkOrder) -> None:
    """Give a Dask task, as the scheduler has it, another order."""
    state.run_spec = Task(state.key, run, pickle.dumps(order, 5), *state.run_spec.args[1:])
