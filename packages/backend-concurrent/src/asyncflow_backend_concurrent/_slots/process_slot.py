"""A slot whose functions run in a worker process of its own.

Short tasks travel several at a time, as a chunk, and the next chunk is sent while the
worker still has one, so that it need not wait.  The backlog and the time that earlier runs
of the function took decide how many, so that a chunk is some milliseconds of work.  A long
task travels alone.  If one takes longer than it should, or another slot has nothing to do, what
has not begun is taken back: see `ahead`.

A task that came behind the one it waits for travels right behind it, too: it is *chained*
to it, and the worker hands the value on.  If it is taken back, it goes where it came from.
"""

from __future__ import annotations

import contextlib
import errno
import pickle
import threading
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from time import monotonic
from typing import Any

from radical.asyncflow.backend import (
    AnyReport,
    TaskId,
    TaskKind,
    TaskRequest,
    TaskState,
    TaskTrace,
)
from radical.asyncflow.errors import SerializationError, WorkerLostError
from radical.asyncflow.model import DEFAULT_RESOURCES
from radical.asyncflow.worker import (
    Code,
    Codes,
    Gpu,
    GpuShares,
    Raised,
    TaskContext,
    log_setup,
    open_answer,
    reloads,
    safe_str,
    take_log,
)

from .._process.arguments import group_by_function
from .._process.child import LOG, TRACE
from .._process.parent import WorkerGoneError, WorkerProcess
from .._process.traces import Keeps, usage_behind
from .._process.wire import Message, Part
from .chunk import ChunkPicker
from .flight import InFlight, report
from .places import CorePlaces, settle
from .ranks import Ranks
from .seats import NO_GPUS, Admission, Seats
from .slot import Slot
from .warm import WarmWorkers

__all__ = ["ProcessSlot"]

_MAX_CHUNKS = 2  # that a worker may have at once
_SLOW = 3  # times what a chunk may take; then it takes too long
_LONG_S = 0.001  # a task that takes longer is worth a wake-up of its own
_WORTH_SHARING_S = 0.0005
_LARGE_BYTES = 256 * 1024
_MAX_UNUSED_FUNCTIONS = 64  # that a worker keeps
_MAX_STARTS = 3  # of a worker, before a task is charged with the failure
_NO_ROOM = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
_FUNCTION = TaskKind.FUNCTION
_NO_TRACE = TaskTrace()[:-1]
_new = tuple.__new__  # a named tuple's own constructor costs three times as much
_RUNNING, _DONE, _CANCELLED = TaskState.RUNNING, TaskState.DONE, TaskState.CANCELLED


class ProcessSlot(Slot):
    """Runs functions in a worker process, which it starts when it needs one."""

    def __init__(
        self,
        slots: Seats,
        number: int,
        *,
        name: str,
        grace: float,
        codes: Codes,
        warm: WarmWorkers,
        ranks: Ranks,
        places: CorePlaces | None = None,
        forwards_logs: bool = True,
    ) -> None:
        super().__init__(slots, number, name=name, grace=grace, ranks=ranks, places=places)
        self._codes = codes
        self._warm = warm
        self._keeps = Keeps(None, slots.sink.keeps_output, slots.sink.keeps_usage)
        self._forwards_logs = forwards_logs
        self._traces: dict[int, TaskTrace] = {}  # by place, until the result is here
        self._gpus: tuple[Gpu, ...] = ()  # those of the worker
        self._chunks: deque[list[Code]] = deque()  # the functions of each that the worker has
        self._announced = -1  # place of the last task that was reported RUNNING
        self._lock = threading.Lock()  # guards what follows
        self._worker: WorkerProcess | None = None
        self._flight = InFlight(slots)
        self._picker = ChunkPicker(slots, self._flight, codes, self._lock)
        self._next: TaskRequest | None = None  # to be run here at once
        self._cores: Sequence[int] = ()  # to which the worker is bound, if to any
        self._starting: TaskRequest | None = None  # waits for the worker to come up
        self._latest = 0  # place of the first task of the latest chunk
        self._sent = 0.0  # when that chunk was
        self._pace = 0.0  # seconds that each of its tasks is expected to take
        self._ended = 0.0  # when the last task ended whose result is here
        self._slow = -1  # place of a task that took longer than it should

    # ------------------------------------------------------- from any thread

    def cancel(self, task_ids: Collection[TaskId]) -> Iterable[AnyReport]:
        slots, flight = self.slots, self._flight
        with self._lock:
            reports = list(super().cancel(task_ids))
            for task_id in task_ids:
                # It may have been put back since `Slots.cancel` looked for it there.
                request = slots.waiting.pop(task_id, None)
                if request is not None:
                    if request.dependencies:
                        slots.behind.pop(request.dependencies[0], None)
                    reports += [report(request, _CANCELLED), *flight.abort(task_id)]
            chosen = {
                place for place, request in flight.requests.items() if request.task_id in task_ids
            }
            if chosen:
                reports += self._withdraw(chosen)
        return reports

    def _withdraw(self, chosen: set[int]) -> list[AnyReport]:
        """Give up those that have not begun, and return their reports.

        If one of the others runs, its worker is killed.
        """
        worker, flight = self._worker, self._flight
        wanted = set() if worker is None else {place for place in chosen if place < worker.offered}
        if worker is None or not wanted:
            return flight.withdraw(chosen)
        # What is chained to one of them must not stay there without it.
        chained = any(flight.requests[place].task_id in flight.chained for place in chosen)
        back = set(worker.take_back(None if chained else wanted))
        flight.stopped |= wanted - back
        begun = [place for place in flight.requests if place < worker.offered and place not in back]
        # They begin in order: the last that has begun runs, and the others are done.  So
        # no task that was not cancelled can begin any more and be hit by the signal.
        if begun and max(begun) in wanted:
            worker.kill()
        gone = [flight.leave(place) for place in sorted((chosen - wanted) | (back & wanted))]
        flight.put_back(back - wanted)
        reports: list[AnyReport] = [report(request, _CANCELLED) for request in gone]
        for request in gone:
            reports += flight.abort(request.task_id)
        return reports

    def holds(self) -> Iterable[TaskId]:
        with self._lock:
            return [
                *(request.task_id for request in self._flight.requests.values()),
                *super().holds(),
            ]

    def runs(self) -> Sequence[TaskId]:
        with self._lock:
            first = next(iter(self._flight.requests.values()), None)
        return (*super().runs(), *(() if first is None else (first.task_id,)))

    def abandon(self) -> list[TaskContext]:
        with self._lock:
            if self._worker is not None:
                self._worker.kill()
            held = [
                TaskContext(request.spec.name, request.task_id, request.attempt)
                for request in self._flight.requests.values()
            ]
            self._flight.clear()
            return [*held, *super().abandon()]

    def give_back(self) -> bool:
        with self._lock:
            request, self._starting = self._starting, None
            if request is not None:
                # It is still in `waiting`: whoever is ready first has it.
                self.slots.queue.put_back((request,))
                self.slots.wake(1)
                return True
            back = self._put_back(half=True)
        if back:
            self.slots.ahead.want(self)
        return back

    def nudge(self) -> None:
        worker = self._worker
        if worker is not None:
            worker.nudge()

    # ----------------------------------------------------- in the own thread

    def close(self) -> None:
        self._replace()
        super().close()

    def _settle(self, cores: Sequence[int]) -> None:
        """Let functions run on *cores* alone: those of the worker."""
        self._cores = cores
        if cores and self._worker is not None:
            settle(cores, self._worker.pid)

    @contextlib.contextmanager
    def _unbound(self) -> Iterator[None]:
        yield  # this thread is not bound

    def _take(self, request: TaskRequest, gpus: GpuShares = NO_GPUS) -> None:
        if gpus:
            self._take_with_gpus(request, gpus)
        elif request.spec.kind is not _FUNCTION:
            super()._take(request)
        else:
            self._take_function(request)

    def _take_ranks(self, admission: Admission) -> None:
        gpus = admission.gpus
        if gpus:
            self._warm.enter(gpus, wanted=False)
        try:
            super()._take_ranks(admission)
        finally:
            if gpus:
                self._warm.leave(gpus, None)

    def _take_with_gpus(self, request: TaskRequest, gpus: GpuShares) -> None:
        """Run *request* on a worker of these GPUs, which stands in for the slot's own."""
        is_function = request.spec.kind is _FUNCTION
        worker = self._warm.enter(gpus, wanted=is_function)
        if is_function:
            own = self._exchange(worker, tuple(gpus))
            try:
                self._take_function(request)
            finally:
                worker = self._exchange(own, ())
                self._warm.leave(gpus, worker)
        else:
            try:
                super()._take(request, gpus)
            finally:
                self._warm.leave(gpus, None)

    def _exchange(
        self, worker: WorkerProcess | None, gpus: tuple[Gpu, ...]
    ) -> WorkerProcess | None:
        """Let the slot have *worker*, of *gpus*; return the one that it had.

        Nothing may be in flight, because each worker counts the places of its tasks.
        """
        with self._lock:
            worker, self._worker = self._worker, worker
        self._gpus = gpus
        self._settle(self._cores)
        self._forget_places(0 if self._worker is None else self._worker.offered)
        return worker

    def _forget_places(self, first: int) -> None:
        """Begin with a worker whose next task has the place *first*."""
        self._chunks.clear()
        self._announced = first - 1
        self._latest = first
        self._slow = -1
        self._ended = 0.0

    def _take_function(self, request: TaskRequest) -> None:
        follower: TaskRequest | None = request
        while follower is not None:
            request, follower = follower, None
            try:
                alone = request.spec.resources != DEFAULT_RESOURCES or request.spec.service
                if self._worker is None and not alone and not request.dependencies:
                    self._starting = request
                    self._offer_ahead(soon=True)
                worker = self._ready()
                self._starting = None
                if isinstance(worker, WorkerGoneError):
                    if worker.no_room and self._leave_to_others(request):
                        return
                    if self._picker.gather(request, 1, 0):
                        self._lose([0], worker, "a worker process does not start: ")
                elif alone or not self._comes_later(request):
                    most = 1 if alone else 1 + self._picker.share(request)
                    if chunk := self._picker.gather(request, most, worker.offered):
                        self._hand_over(worker, chunk)
                        del chunk
                        self._run(worker, alone=alone)
            except BaseException as exc:  # an error of ours, or of something that was replaced
                self._fail_all(request, exc)
            follower, self._next = self._next, None
        self.slots.ahead.remove(self)

    def _comes_later(self, request: TaskRequest) -> bool:
        """Put *request* back if an earlier task waits at a worker, for this slot to take."""
        slots = self.slots
        if not slots.ahead or not slots.ahead.take_back_before(request):
            return False
        both = [request]
        with contextlib.suppress(IndexError):
            both.insert(0, slots.queue.take())
        slots.queue.put_back(both)
        return True

    def _leave_to_others(self, request: TaskRequest) -> bool:
        """Leave *request*, and all further work, to other slots; return False if there are none."""
        slots = self.slots
        if not slots.retire(self):
            return False
        self._abandoned = True
        claimed = slots.waiting.pop(request.task_id, None)
        if claimed is not None:
            slots.requeue((claimed,))
        return True

    def _fail_all(self, request: TaskRequest, error: BaseException) -> None:
        """Fail *request* and whatever the worker has, and give that worker up."""
        self._picker.gather(request, 1, -1)
        with self._lock:
            places = list(self._flight.requests)
            worker = self._worker
        if worker is not None:
            worker.kill()
        for place in places:
            self._finish(place, error)
        with contextlib.suppress(Exception):
            self._replace()

    def _ready(self) -> WorkerProcess | WorkerGoneError:
        """Return the worker, started if there is none; or why it does not start."""
        worker = self._worker
        if worker is not None and (worker.condemned or worker.reloads != reloads()):
            self._replace()
        for _ in range(_MAX_STARTS):
            if self._worker is not None:
                break
            gone: WorkerGoneError
            try:
                keeps = self._keeps
                if self._forwards_logs:
                    keeps = keeps._replace(logs=log_setup())
                self._worker = WorkerProcess(self.name, self.grace, self._gpus, keeps)
                self._settle(self._cores)
                self._worker.wait_ready()
            except WorkerGoneError as exc:
                gone = exc
                self._replace()
            except BaseException as exc:  # no memory, process or descriptor left, or anything else
                gone = WorkerGoneError(0, f"{type(exc).__name__}: {safe_str(exc)}")
                gone.no_room = getattr(exc, "errno", None) in _NO_ROOM
                gone.__cause__ = exc
        return gone if self._worker is None else self._worker

    def _replace(self) -> None:
        """End the worker, if there is one; the next function gets another."""
        with self._lock:
            worker, self._worker = self._worker, None
        self._forget_places(0)
        if worker is not None:
            worker.close()
        self._traces.clear()

    # -- a chunk: there and back

    def _run(self, worker: WorkerProcess, *, alone: bool) -> None:
        """Go on until all that the worker has has an outcome or was put back.

        With *alone* it gets nothing more, because what it runs has more than a core.
        """
        ahead = self.slots.ahead
        while self._flight.requests:
            self._announce()
            hurried = False if alone else self._fill(worker)
            try:
                messages = worker.collect(_SLOW * self._picker.work if hurried else None)
            except WorkerGoneError as gone:
                self._bury(gone)
                return
            finally:
                ahead.want_no_more(self)
            if messages is None:
                with self._lock:
                    self._slow = next(iter(self._flight.requests), -1)
                    self._put_back()
                continue
            self._learn(worker)
            if not messages:
                continue
            if any(len(message.body) > _LARGE_BYTES for message in messages):
                # Nothing waits until they are unpickled.
                self._announce(messages)
                if not alone:
                    self._fill(worker)
            self._deliver(messages)

    def _fill(self, worker: WorkerProcess) -> bool:
        """Send the worker its next tasks, unless it has some that it has not begun.

        Returns:
            Whether it is to be expected that all that it has is done soon.
        """
        slots = self.slots
        with self._lock:
            requests = self._flight.requests
            if not requests:
                return False
            head, last, count = next(iter(requests)), next(reversed(requests)), len(requests)
            chained = len(self._flight.chained)
        ahead = head < self._latest <= last
        # The bell at the end of a chunk may be here, and its results not.
        if not ahead or len(self._chunks) < _MAX_CHUNKS:
            slots.ahead.remove(self)
            if more := self._gather_ahead(worker, head, count):
                self._hand_over(worker, more)
                count += len(more)
                ahead = True
                del more
        soon: bool = count > 1 + ahead and head != self._slow
        unbegun = count - 1 - chained
        if unbegun > 0 and (not soon or self._pace * unbegun > _WORTH_SHARING_S):
            self._offer_ahead(soon=soon)
        return soon

    def _gather_ahead(self, worker: WorkerProcess, head: int, count: int) -> list[TaskRequest]:
        if worker.unsent or worker.reloads != reloads():
            return []
        slots, gather = self.slots, self._picker.gather_ahead
        single = head == self._slow
        more = gather(worker.offered, single)
        if not more and self._pace * count > _LONG_S:
            # As in `Slots.park`: who adds a task looks there afterwards.
            slots.ahead.want(self)
            if slots.queue:
                more = gather(worker.offered, single)
        return more

    def _offer_ahead(self, *, soon: bool) -> None:
        """Let other slots take what the worker has not begun."""
        first = None if soon else next(reversed(self._flight.requests.values()), None)
        self.slots.ahead.add(self, first, self._pace)
        if self.slots.idle:
            # A slot that stands still looks there before.  So either it sees this one
            # there, or this one sees it here.
            self.give_back()

    def _hand_over(self, worker: WorkerProcess, chunk: list[TaskRequest]) -> None:
        """Send *chunk* to the worker, with the places that come next."""
        place = worker.offered
        body, parts = self._pack(worker, chunk)
        places = range(place, place + len(chunk))
        with self._lock:
            if worker.condemned:
                # A task that it was still running was cancelled.
                self._flight.put_back(places)
                return
            # A task that was cancelled or has failed by now keeps its place.
            worker.offer([place in self._flight.requests for place in places])
            self._latest = place
            self._sent = monotonic()
            self._pace = self._picker.pace(chunk[0])
        worker.send(body, parts)

    def _pack(self, worker: WorkerProcess, chunk: list[TaskRequest]) -> tuple[bytes, list[Part]]:
        """Pickle what the worker needs to run *chunk*."""
        first = worker.offered
        used: dict[int, Code] = {}

        def code_of(request: TaskRequest) -> Code | None:
            try:
                code = self._codes.code_of(request.spec.function)
            except SerializationError as exc:
                for at, other in enumerate(chunk):
                    if other.spec is request.spec:
                        self._finish(first + at, exc)
                return None
            used[code.number] = code
            return code

        def fail(at: int, error: BaseException) -> None:
            self._finish(first + at, error)

        parts: list[Part] = []
        groups = group_by_function(chunk, parts, code_of, fail)
        self._chunks.append(list(used.values()))
        codes = {
            number: code.pickled for number, code in used.items() if number not in worker.known
        }
        worker.known |= codes.keys()
        forgotten: set[int] = set()
        if len(worker.known) > 2 * len(self._codes.alive) + _MAX_UNUSED_FUNCTIONS:
            forgotten = worker.known - self._codes.alive - used.keys()
            worker.known -= forgotten
        chained = {first + at for at, request in enumerate(chunk) if request.dependencies}
        if chunk[-1].task_id in self.slots.behind:
            chained.add(first + len(chunk))  # it may follow while the worker has this chunk
        return pickle.dumps((codes, forgotten, worker.changed_path(), groups, chained), 5), parts

    def _announce(self, done: Sequence[Message] = ()) -> None:
        """Report the first task that is not *done* as RUNNING, unless that was done before."""
        ended = self._ended
        last = -1
        for message in done:
            if message.place < TRACE:
                last, ended = message.place, message.ended
        with self._lock:
            place = next((place for place in self._flight.requests if place > last), -1)
            if place <= self._announced:
                return
            self._announced = place
            request = self._flight.requests[place]
        sink = self.slots.sink
        if not sink.watched:
            sink.running(request.task_id, request.attempt, self.name)
            return
        # It was at the worker, and so it began when the one before ended.
        began = max(ended, self._sent) if place >= self._latest else ended
        sink.report([report(request, _RUNNING, self.name, began or None)])

    def _learn(self, worker: WorkerProcess) -> None:
        """Note how long the tasks took of the chunks that are done."""
        clock, worker.clock = worker.clock, []
        for seconds, ran in clock:
            if ran >= 0:
                for code in self._chunks.popleft():
                    if ran:
                        code.learn(seconds / ran)

    def _deliver(self, messages: Sequence[Message]) -> None:
        """Report the results in *messages*, and let the tasks behind them go on."""
        reports: list[AnyReport] = []
        values = [open_answer(code, body, parts) for _, code, body, parts, _, _ in messages]
        followers: list[tuple[TaskRequest, Any]] = []
        records: list[dict[str, Any]] = []
        slots, flight = self.slots, self._flight
        watched = slots.sink.watched
        tells = self._keeps.output or self._keeps.usage
        with self._lock:
            # Mostly no other task depends on them.
            plain = not (watched or tells or flight.stopped or flight.chained or slots.behind)
            for message, value in zip(messages, values, strict=True):
                place, _, _, _, began, ended = message
                request = flight.requests.get(place)
                if request is None:
                    if place == LOG and type(value) is dict:
                        records.append(value)
                    elif place == TRACE and type(value) is not Raised:
                        self._traces[value[0]] = value[1]
                    continue
                if tells:
                    self._tell(request, place, message.body)
                self._ended = ended
                if plain and type(value) is not Raised and not request.dependencies:
                    del flight.requests[place]
                    reports.append((request.task_id, request.attempt, _DONE, value, None))
                    continue
                settled = flight.settle(place, value)
                done = settled[-1][2] is _DONE
                if watched:
                    if place != self._announced:
                        reports.append(report(request, _RUNNING, self.name, began))
                    settled[0] = (*settled[0][:4], ended)
                reports += settled
                if slots.behind and done:
                    follower = slots.behind.pop(request.task_id, None)
                    if follower is not None:
                        followers.append((follower, value))
        for record in records:
            take_log(record)
        for follower, value in followers:
            if self._next is None and not flight.requests:
                self._next = slots.follow(follower, value)
            else:
                slots.values[follower.task_id] = value
                slots.queue.put(follower)
                slots.wake(1)
        if not flight.requests and self._next is None:
            self.will_look()
        slots.sink.report(reports)

    def _tell(self, request: TaskRequest, place: int, body: bytearray) -> None:
        """Tell what the task of *request* left behind, before the report of its result."""
        trace = self._traces.pop(place, None)
        if trace is None:
            if not self._keeps.usage:
                return
            trace = _new(TaskTrace, (*_NO_TRACE, usage_behind(body)))
        self.slots.sink.traced(request.task_id, request.attempt, trace)

    def _put_back(self, *, half: bool = False) -> bool:
        """Put back what the worker has not begun, or half of it; called with the lock held.

        It keeps the first task without an outcome, which was reported RUNNING, and what is
        chained to that.

        Returns:
            Whether there was something.
        """
        worker, flight = self._worker, self._flight
        if worker is None or len(flight.requests) < 2:
            return False
        first = worker.offered - worker.unbegun()
        places = [place for place in flight.requests if first <= place < worker.offered]
        if places and places[0] == next(iter(flight.requests)):
            del places[0]
        start = len(places) // 2 if half else 0
        while start < len(places) and flight.requests[places[start]].dependencies:
            start += 1
        if start == len(places):
            return False
        back = worker.take_back(places[start:], strict=False)
        flight.put_back(back)
        return bool(back)

    def _bury(self, gone: WorkerGoneError) -> None:
        """Charge the death of the worker to what had begun, and put back the rest."""
        with self._lock:
            if self._worker is not None:
                self._flight.put_back(self._worker.take_back())
            begun = list(self._flight.requests)
        self._replace()
        self._lose(begun, gone)

    def _lose(self, places: Iterable[int], gone: WorkerGoneError, detail: str = "") -> None:
        """Fail the tasks of *places*, because their worker is gone."""
        detail += gone.detail
        for place in places:
            request = self._flight.requests.get(place)
            if request is not None:
                name = request.spec.name
                error = WorkerLostError(
                    name, self.name, gone.signal, request.attempt, detail, gone.reason
                )
                self._finish(place, error)

    def _finish(self, place: int, error: BaseException) -> None:
        """Report a task that failed on this side, not in the worker."""
        with self._lock:
            reports = self._flight.fail(place, error)
        if reports:
            self.slots.sink.report(reports)
