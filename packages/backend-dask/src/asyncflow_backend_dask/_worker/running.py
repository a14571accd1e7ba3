"""The calls on one worker: which run, which may be taken back, which were cancelled."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakKeyDictionary

from distributed.comm import get_address_host
from distributed.core import Status
from radical.asyncflow.worker import Execution, RankGroups, guard

from .._messages.begins import CallTakenBackError, WorkerIsGoneError
from .._messages.events import GIVEN_BACK, RUNNING
from .._messages.orders import PackedCall, RankOrder, WorkOrder
from .call_file import CallFile
from .gpus import LOCAL_CLUSTER_VARIABLE, WorkerGpus
from .imports import reload
from .log_filter import hide_broken_connections
from .outbox import EventOutbox
from .stuck import leave_if_replaced, replace
from .traces import Traces

__all__ = ["CallQueue", "RunningCall", "WorkerCalls", "calls_on"]

_STUCK_S = 0.5  # that a cancelled function may run on, until another thread takes its place
_LONG_CALL_S = 0.025  # after which a call is reported as running, and may be found too long
_MAX_FUNCTIONS = 256  # that a worker remembers
_IDLE_RANKS_S = 60.0  # until ranks end that no call uses
_MAX_CANCELLED = 10_000  # cancelled calls that it remembers

_ENDED_STATES = frozenset({Status.closing, Status.closed, Status.failed})

_log = logging.getLogger("radical.asyncflow.dask")

_CallId = tuple[str, int, int]
"""Topic, task id and attempt."""


class CallQueue:
    """The calls of one Dask task; those that have not begun may be taken back."""

    def __init__(self, calls: Iterable[PackedCall] = ()) -> None:
        self._waiting = deque(calls)
        self._lock = threading.Lock()

    def take(self) -> PackedCall | None:
        """Take the next call; None if there is none."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def __len__(self) -> int:
        return len(self._waiting)

    def take_rest(self) -> list[PackedCall]:
        """Take all calls that have not begun."""
        with self._lock:
            rest = list(self._waiting)
            self._waiting.clear()
            return rest


class RunningCall:
    """One call that runs.

    Attributes:
        begun: when it began, in seconds of `time.monotonic`.
        expected: how long such a call takes, in seconds.
        key: the key of its Dask task.
        queue: the calls that wait behind it.
        is_reported: whether the program was told that it runs.
        thread: the one that runs it, if nothing but the function's own return can free that.
    """

    __slots__ = ("begun", "cancel", "expected", "is_reported", "key", "queue", "thread")

    def __init__(
        self,
        key: str,
        cancel: Callable[[], object],
        queue: CallQueue,
        is_reported: bool,
        expected: float,
        thread: threading.Thread | None = None,
    ) -> None:
        self.begun = time.monotonic()
        self.expected = expected
        self.key = key
        self.cancel = cancel
        self.queue = queue
        self.is_reported = is_reported
        self.thread = thread

    def is_too_long(self, now: float) -> bool:
        """Return whether what waits behind the call should run elsewhere.

        It should when the call has run for as long as all that waits behind it takes.
        """
        return now - self.begun >= max(_LONG_CALL_S, self.expected * (len(self.queue) + 1))


class WorkerCalls:
    """All calls on one worker.

    Attributes:
        worker: the worker, as Dask has it.
        gpus: its GPUs.
        outbox: where events go.
        traces: what calls leave behind beside their results.
        proven: functions, as (topic, code), of which a call has returned here.
        cancelled: calls that were cancelled, also some that have not arrived.
        commands: the commands that run.
    """

    def __init__(self, worker: Any) -> None:
        self.worker = worker
        # A worker in a thread of the program cannot die alone.
        self._can_die = not worker.address.startswith("inproc://")
        self.gpus = WorkerGpus(worker)
        self.outbox = EventOutbox(worker)
        self.traces = Traces(
            self.outbox, is_own=self._can_die, alone=self._can_die and worker.state.nthreads == 1
        )
        self.proven: set[tuple[str, int]] = set()
        self.cancelled: OrderedDict[_CallId, None] = OrderedDict()
        self.commands: dict[_CallId, Execution] = {}
        here = get_address_host(worker.address) == get_address_host(worker.scheduler.address)
        self._file = self._new_file() if self._can_die and here else None
        self._functions: OrderedDict[tuple[str, int], Any] = OrderedDict()
        self._running: dict[_CallId, RunningCall] = {}
        self._rank_groups: dict[tuple[str | None, float], RankGroups] = {}
        self._is_watching = False
        self._is_guarded = False
        if worker.nanny is not None and LOCAL_CLUSTER_VARIABLE in os.environ:
            hide_broken_connections()
            # Dask spawned this process, which is no reason for tasks to spawn theirs.
            multiprocessing.set_start_method(None, force=True)

    def _new_file(self) -> CallFile | None:
        try:
            return CallFile(self.worker.local_directory)
        except OSError as exc:
            _log.warning("worker %s cannot note which tasks begin: %s", self.worker.address, exc)
            return None

    def load_function(self, topic: str, code: int, pickled: bytes) -> Any:
        """Return the function that the program calls *code*, unpickled once.

        Raises:
            BaseException: whatever unpickling it raises.
        """
        key = topic, code
        try:
            function = self._functions[key]
        except KeyError:
            function = pickle.loads(pickled)
            self._functions[key] = function
            if len(self._functions) > _MAX_FUNCTIONS:
                self._functions.popitem(last=False)
        return function

    def reload(self, program: str, names: tuple[str, ...]) -> None:
        """Load modules anew, as *program* has done, unless this process is the program.

        Raises:
            BaseException: whatever a module raises.
        """
        if self._can_die:
            reload(program, names, self._functions.clear)

    def rank_groups(self, order: RankOrder) -> RankGroups:
        """Return the groups of ranks for tasks with the settings of *order*."""
        with _creating:
            key = order.launcher, order.grace
            groups = self._rank_groups.get(key)
            if groups is None:
                cores = self.worker.state.total_resources.get("CPU", self.worker.state.nthreads)
                groups = self._rank_groups[key] = RankGroups(
                    order.launcher,
                    room=int(cores),
                    grace=order.grace,
                    idle_timeout=_IDLE_RANKS_S,
                )
            return groups

    def end_ranks(self) -> None:
        """End the ranks that wait for a call; this blocks for up to some seconds."""
        with _creating:
            groups, self._rank_groups = self._rank_groups, {}
        for each in groups.values():
            each.close()

    def begin(
        self,
        order: WorkOrder,
        call: PackedCall,
        cancel: Callable[[], object],
        queue: CallQueue,
        *,
        confirm: bool,
    ) -> _CallId:
        """Note that *call* begins; *cancel* ends it, and *queue* waits behind it.

        When this returns, the call is in the call file or the scheduler knows of it.  Only
        where there is no call file and the function has returned here before, the call is
        reported a little later.

        Raises:
            WorkerIsGoneError, CallTakenBackError: the call may not begin here.
        """
        topic = order.topic
        key = topic, call.task_id, call.attempt
        can_stick = order.command_options is None and order.ranks is None
        thread = threading.current_thread() if can_stick else None
        running = RunningCall(order.key, cancel, queue, confirm, order.seconds, thread)
        self._running[key] = running
        if not self._is_watching and (not confirm or len(queue)):
            self._is_watching = True
            self.worker.loop.add_callback(self._watch_later)
        if confirm:
            self.outbox.confirm_running(topic, order.key, *key[1:])
        # The last of all: what is in the file has begun.
        is_written = self._file is not None and self._file.begin(*key)
        is_known = is_written or confirm or (topic, order.code) in self.proven
        if self._can_die and not is_known:
            running.is_reported = True
            self.outbox.confirm_running(topic, order.key, *key[1:])
        if self._can_die:
            try:
                self._check_may_begin(key, order.resends)
            except BaseException:
                del self._running[key]
                raise
        return key

    def _check_may_begin(self, key: _CallId, resends: int) -> None:
        """Make sure that the scheduler does not give the call to another worker, or soon will.

        Raises:
            WorkerIsGoneError, CallTakenBackError: it does.
        """
        file = self._file
        is_gone = self.worker.status in _ENDED_STATES if file is None else file.is_closed
        if is_gone:
            raise WorkerIsGoneError(f"the scheduler counts {self.worker.address} as dead")
        if file is not None and file.is_taken_back(*key, resends):
            raise CallTakenBackError(f"task {key[1]} begins elsewhere")

    def end(self, key: _CallId) -> None:
        """Note that a call no longer runs."""
        if self._running.pop(key, None) is None:  # `_relieve` was before
            leave_if_replaced()

    def tell(
        self, work: WorkOrder, one: PackedCall, kind: int, seconds: float = 0.0, data: Any = None
    ) -> None:
        """Tell the program of *one*, which has not begun, or is not over."""
        self.outbox.put(work.topic, work.key, kind, one.task_id, one.attempt, seconds, data)

    def tell_end(
        self,
        work: WorkOrder,
        one: PackedCall,
        kind: int,
        seconds: float,
        data: Any,
        moment: float,
    ) -> None:
        """Tell the program how *one* ended at *moment*, which this thread began last."""
        if self._file is not None:
            self._file.end(kind, seconds, data, moment)
        self.outbox.put(work.topic, work.key, kind, *_attempt_of(one), seconds, data, moment)

    def cancel(self, topic: str, attempts: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        """Cancel these calls, also those that have not arrived yet; return those that run."""
        running = []
        for task_id, attempt in attempts:
            key = topic, task_id, attempt
            self.cancelled[key] = None
            if (call := self._running.get(key)) is not None:
                call.cancel()
                running.append((task_id, attempt))
                if call.thread is not None:
                    self.worker.loop.call_later(_STUCK_S, self._relieve, key, call)
        while len(self.cancelled) > _MAX_CANCELLED:
            self.cancelled.popitem(last=False)
        return running

    def _relieve(self, key: _CallId, call: RunningCall) -> None:
        """Have another thread take the place of one whose function runs on though cancelled."""

        def take() -> bool:
            return self._running.get(key) is call and self._running.pop(key, None) is call

        if not replace(self.worker, call.thread, call.key, take):
            return
        self.traces.share()
        for waiting in call.queue.take_rest():
            self.outbox.put(key[0], call.key, GIVEN_BACK, waiting.task_id, waiting.attempt)
        self.outbox.send()
        _log.warning(
            "task #%d runs on though it was cancelled, because a thread cannot be stopped; "
            "another thread takes its place",
            key[1],
        )

    def keep_guard(self) -> None:
        """Keep the guard process from the first command on, because a start costs 30 ms."""
        if not self._is_guarded:
            self._is_guarded = True
            if self.worker.nanny is not None:
                guard().acquire()

    def _watch_later(self) -> None:
        self.worker.loop.call_later(_LONG_CALL_S, self._watch)

    def _watch(self) -> None:
        """Report the calls that have run for a while, and give back what waits behind them."""
        now = time.monotonic()
        watches = False
        for (topic, task_id, attempt), running in list(self._running.items()):
            if now - running.begun < _LONG_CALL_S:
                watches = True
                continue
            if not running.is_reported:
                running.is_reported = True
                key = running.key
                self.outbox.put(topic, key, RUNNING, task_id, attempt, moment=running.begun)
            if not running.is_too_long(now):
                watches = watches or len(running.queue) > 0
                continue
            for call in running.queue.take_rest():
                self.outbox.put(topic, running.key, GIVEN_BACK, call.task_id, call.attempt)
        self.outbox.send()
        # In this order: a call that begins just now is seen here, or it starts the next watch.
        self._is_watching = False
        if watches or any(not item.is_reported for item in list(self._running.values())):
            self._is_watching = True
            self._watch_later()


def _attempt_of(call: PackedCall) -> tuple[int, int]:
    return call.task_id, call.attempt


_by_worker: WeakKeyDictionary[Any, WorkerCalls] = WeakKeyDictionary()
_creating = threading.Lock()


def calls_on(worker: Any) -> WorkerCalls:
    """Return the calls on *worker*, as Dask has it; callable in any thread."""
    calls = _by_worker.get(worker)
    if calls is None:
        with _creating:
            calls = _by_worker.get(worker)
            if calls is None:
                calls = _by_worker[worker] = WorkerCalls(worker)
    return calls
