"""Decide on the scheduler, when a worker dies, which calls are charged and which run again.

Dask runs every task of a dead worker once more, at once: also those that had ended, if it
has not heard of that or their values are lost.  A client hears of the death too late to
object, so this plugin decides in the moment of the death, before Dask sends an order to another
worker.  A call that began there and may not begin again is struck out of the order; of a call
that has ended, the order has the value.
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
from radical.asyncflow.worker import Death, explain_death, read_clock

from .._messages.events import (
    DONE_INLINE,
    DONE_REMOTE,
    FINAL_KINDS,
    GIVE_BACK,
    GIVEN_BACK,
    KILL,
    RUNNING,
    WORKER_DIED,
)
from .._messages.orders import PackedCall, WorkOrder
from .._messages.worker_ends import WORKER_ENDS
from .._worker.call_file import BegunCalls, close_call_file, remove_call_file, take_back
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

_Charge = tuple[int, int, int, bool]
"""Task id, attempt, the number of deaths, and whether they are too many."""

_End = tuple[int, int, bytes | None]
"""Task id and attempt of a call that has ended, and its pickled value, or None if it has none."""


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
        self._ends: dict[str, list[_End]] = {}  # by the keys of Dask tasks
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
            expected = msg["expected"] or msg["worker"] in self._restarting
            moved = self._take_back(msg["worker"], msg["lost-computed-tasks"])
            self._decide(msg["worker"], msg["processing-tasks"], expected, moved)

    def transition(self, key: Any, start: str, finish: str, *_: Any, **__: Any) -> None:
        if finish == "forgotten":
            self._ends.pop(key, None)
            self._run_again.discard(key)
        elif start == "memory" and finish == "released":
            self._prepare_recomputation(key)

    def _note_events(self, worker: str, events: Mapping[str, Iterable[Any]]) -> None:
        running = self._running.setdefault(worker, set())
        for key, of_key in events.items():
            given_back = []
            for kind, task_id, attempt, _, data, *_ in of_key:
                if kind == RUNNING:
                    running.add((task_id, attempt))
                elif kind == GIVEN_BACK:
                    given_back.append((task_id, attempt))
                elif kind in FINAL_KINDS:
                    running.discard((task_id, attempt))
                    # What stays on its worker is lost with it, and then has to be computed again.
                    if kind != DONE_REMOTE and key in self._scheduler.tasks:
                        value = data if kind == DONE_INLINE else None
                        self._ends.setdefault(key, []).append((task_id, attempt, value))
            if given_back:
                self._leave_out(key, given_back)

    def _leave_out(self, key: str, attempts: Iterable[_Attempt]) -> None:
        """Note in the order of a Dask task that these calls run in others."""
        state = self._scheduler.tasks.get(key)
        if (order := self._order_of(state)) is not None:
            asked = set(attempts)
            places = [at for at, call in enumerate(order.calls) if _attempt_of(call) in asked]
            given_back = tuple(sorted({*order.given_back, *places}))
            _replace_order(state, order._replace(given_back=given_back))

    def _give_back(self, wanted: Mapping[str, Iterable[_Attempt]]) -> None:
        """Give back these calls, by key, of Dask tasks that still wait for a dependency."""
        events: dict[str, list[Any]] = {}
        for key, attempts in wanted.items():
            state = self._scheduler.tasks.get(key)
            order = self._order_of(state)
            if order is None or state.state != "waiting" or key in self._run_again:
                continue
            asked = {tuple(one) for one in attempts}
            if there := [one for call in order.calls if (one := _attempt_of(call)) in asked]:
                events[key] = [(GIVEN_BACK, *one, 0.0, None) for one in there]
        if events:
            self._publish("", events)

    def _publish(self, worker: str, events: Mapping[str, Iterable[Any]]) -> None:
        """Tell the program, and this plugin, of events as if *worker* told of them."""
        message = {"worker": worker, "events": events, "clock": read_clock()}
        self._scheduler.log_event(self._topic, message)

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

    def _decide(
        self, worker: str, keys: Iterable[str], expected: bool, moved: dict[str, list[_Charge]]
    ) -> None:
        """Decide for each Dask task of a worker that is gone which of its calls run again.

        *moved* are the keys of others that run again, and the calls that are charged with that.
        """
        written = None
        name = nanny = memory = ""
        death, code = Death(DeathReason.UNKNOWN), None
        if (state := self._workers.pop(worker, None)) is not None:
            name, nanny = str(state.name), state.nanny or ""
            memory = _memory_in_words(state, self._memory.pop(worker, None))
            if not expected:
                death, code = self._explain(state)
            if memory:
                death = Death(DeathReason.MEMORY, memory)
            folder = state.local_directory
            written = close_call_file(folder, self._topic)
            loop = asyncio.get_running_loop()
            loop.call_later(_CALL_FILE_KEPT_S, remove_call_file, folder)
        self._restarting.discard(worker)
        orders = {
            key: order
            for key in keys
            if (order := self._order_of(self._scheduler.tasks.get(key))) is not None
        }
        if written is not None:
            self._tell_ends(worker, orders.values(), written)
        begun = _all_begun(self._running.pop(worker, set()), written)
        charged = [one for of_this in moved.values() for one in of_this]
        for key, order in orders.items():
            state = self._scheduler.tasks[key]
            state.suspicious = 0  # Dask also counts the tasks that only waited there
            self._run_again.add(key)
            changed, of_this = self._judge(state, order, begun, expected)
            charged += of_this
            if written is None and not expected:
                # Nobody knows which calls ran, so each is confirmed before it begins again.
                changed = changed._replace(confirm_begin=True)
            if changed != order:
                _replace_order(state, changed)
        evidence = death.evidence or ("" if code is None else f"exit code {code}")
        if expected and not evidence:
            evidence = "the cluster ended it, or a cancelled task did"
        self._scheduler.log_event(
            self._topic,
            {
                WORKER_DIED: worker,
                "name": name,
                "nanny": nanny,
                # Whether all calls that began there are known.
                "is_exact": written is not None and written.is_complete,
                "expected": expected,
                "charged": charged,
                "keys": [*orders, *moved],
                "reason": str(death.reason),
                "signal": -code if code is not None and code < 0 else None,
                "evidence": evidence,
            },
        )

    def _tell_ends(self, worker: str, orders: Iterable[WorkOrder], written: BegunCalls) -> None:
        """Tell of the ends of calls of which a dead worker could not tell any more."""
        events: dict[str, list[Any]] = {}
        for order in orders:
            told = {(task_id, attempt) for task_id, attempt, _ in self._ends.get(order.key, ())}
            for call in order.calls:
                one = _attempt_of(call)
                if one in written.ended and one not in told:
                    kind, *rest = written.ended[one]
                    events.setdefault(order.key, []).append((kind, *one, *rest))
        if events:
            self._publish(worker, events)

    def _take_back(self, worker: str, lost: Iterable[str]) -> dict[str, list[_Charge]]:
        """Take Dask tasks back from workers that live, because a dead one had their inputs.

        Dask sends them again when it has computed these once more, even if one has begun,
        which it may not have heard.

        Returns:
            Their keys, and which of their calls are charged, because they have begun.
        """
        orders: dict[Any, dict[str, WorkOrder]] = {}
        for key in lost:
            for state in self._scheduler.tasks[key].waiters or ():
                where = state.processing_on
                if where is None or where.address == worker:
                    continue
                if (order := self._order_of(state)) is not None:
                    orders.setdefault(where, {})[state.key] = order
        moved: dict[str, list[_Charge]] = {}
        for where, of_this in orders.items():
            calls = [
                (*_attempt_of(call), order.resends)
                for order in of_this.values()
                for call in order.calls
            ]
            written = take_back(where.local_directory, self._topic, calls)
            if written is not None:
                self._tell_ends(where.address, of_this.values(), written)
            begun = _all_begun(self._running.get(where.address, set()), written)
            for key, order in of_this.items():
                state = self._scheduler.tasks[key]
                self._run_again.add(key)
                again, moved[key] = self._judge(state, order, begun, expected=True)
                _replace_order(state, again._replace(resends=order.resends + 1))
        return moved

    def _explain(self, state: Any) -> tuple[Death, int | None]:
        """Say why a worker died, and with which exit code if an own cluster's nanny knows it."""
        find_exit_code = self._scheduler.extensions.get(WORKER_ENDS)
        code = None if find_exit_code is None else find_exit_code(state.nanny)
        return explain_death(state.pid, code), code

    def _judge(
        self, state: Any, order: WorkOrder, begun: set[_Attempt], expected: bool
    ) -> tuple[WorkOrder, list[_Charge]]:
        """Return the order that runs again, and its calls that are charged with the death.

        *begun* are the calls that began on the worker.  A charge has the number of deaths so
        far, and whether they are too many.  An end that was *expected* is the fault of no call,
        but a call that may not begin again cannot survive it either.
        """
        order = self._with_ends(order)
        charged: list[_Charge] = []
        struck_out = set(order.struck_out)
        done = {*order.given_back, *(place for place, _ in order.ended)}
        for place, call in enumerate(order.calls):
            one = _attempt_of(call)
            if place in done or place in struck_out:
                continue
            if one in self._killed:
                struck_out.add(place)
            elif one in begun:
                allowed = call.allowed_deaths
                if state.nbytes >= 0:  # its value was there
                    allowed = max(allowed, _DEATHS_IN_RECOMPUTATION)
                if expected and allowed:
                    continue
                deaths = self._deaths[one] = self._deaths.get(one, 0) + 1
                charged.append((*one, deaths, deaths > allowed))
                if deaths > allowed:
                    struck_out.add(place)
        return order._replace(struck_out=tuple(sorted(struck_out))), charged

    def _with_ends(self, order: WorkOrder) -> WorkOrder:
        """Return *order* with the values of those of its calls that are known to have ended."""
        ends = {(task, attempt): value for task, attempt, value in self._ends.get(order.key, ())}
        if not ends:
            return order
        ended = dict(order.ended)
        for place, call in enumerate(order.calls):
            if (one := _attempt_of(call)) in ends:
                ended[place] = ends[one]
        return order._replace(ended=tuple(sorted(ended.items())))

    def _prepare_recomputation(self, key: str) -> None:
        """See to it that no more is computed again than what was lost of a Dask task."""
        state = self._scheduler.tasks[key]
        if not (state.who_wants or state.waiters):
            return
        order = self._order_of(state)
        if order is None:
            return
        self._run_again.add(key)
        again = self._with_ends(order)
        if order.command_options is not None and not again.ended:
            # The program is told that the output is lost, which is the end of a command.
            again = again._replace(struck_out=(0,))
        if again != order:
            _replace_order(state, again)

    def _order_of(self, state: Any) -> WorkOrder | None:
        """Return the order of a Dask task, as the scheduler has it; None if it is not ours."""
        spec = state.run_spec if state is not None else None
        if not isinstance(spec, Task) or spec.func is not run:
            return None
        order: WorkOrder = pickle.loads(spec.args[0])
        return order if order.topic == self._topic else None


def _all_begun(told: set[_Attempt], written: BegunCalls | None) -> set[_Attempt]:
    """Return the calls that began on a worker, by what it has told and by its call file."""
    if written is None:
        return told
    return written.all if written.is_complete else told | written.all


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


def _attempt_of(call: PackedCall) -> _Attempt:
    return call.task_id, call.attempt


def _replace_order(state: Any, order: WorkOrder) -> None:
    """Give a Dask task, as the scheduler has it, another order."""
    state.run_spec = Task(state.key, run, pickle.dumps(order, 5), *state.run_spec.args[1:])
