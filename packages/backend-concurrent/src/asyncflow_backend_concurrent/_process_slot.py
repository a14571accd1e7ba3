"""A slot whose functions run in a worker process of its own.

Short tasks travel several at a time, and the next chunk is sent while the worker still
has one, so that it need not wait.  How many follows from the backlog and from what a
run of the function took before, so that a chunk is worth some 2 ms of work; if one
takes longer than it should, whatever has not begun is taken back for other slots.

A task that came behind the one it waits for travels right behind it, too: a *link*.  The
worker hands the value on.  One that is taken back goes where it came from.
"""

from __future__ import annotations

import pickle
import threading
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from radical.asyncflow.backend import Report, TaskId, TaskKind, TaskRequest, TaskState
from radical.asyncflow.errors import SerializationError, WorkerLostError
from radical.asyncflow.worker import Code, Codes, TaskContext, unsendable

from ._arguments import batches
from ._process import WorkerGoneError, WorkerProcess
from ._references import refer
from ._slot import Slot
from ._slots import Slots
from ._wire import FAILURE, UNSENT, VALUE, Message, Part

__all__ = ["ProcessSlot"]

_CHUNK = 256  # the most tasks
_CHUNK_SECONDS = 0.002
_AHEAD = 2  # chunks that a worker may have
_PATIENCE = 0.010  # seconds after which a chunk is too slow
_FORGET = 64  # functions that a worker may know in vain
_STARTS = 3  # workers that may fail to start before a task is charged with it
_FUNCTION = TaskKind.FUNCTION
_DONE, _FAILED, _CANCELLED = TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED


class ProcessSlot(Slot):
    """Runs functions in a worker process, which it starts when it needs one."""

    def __init__(self, slots: Slots, number: int, *, name: str, grace: float, codes: Codes) -> None:
        super().__init__(slots, number, name=name, grace=grace)
        self._codes = codes
        self._chunks: deque[list[Code]] = deque()  # for each that the worker has: what it runs
        self._announced = -1  # place of the last task that was said to run
        self._lock = threading.Lock()  # guards what follows
        self._worker: WorkerProcess | None = None
        self._flight: dict[int, TaskRequest] = {}  # taken, and without an outcome, by place
        self._stopped: set[int] = set()  # of those, which were cancelled while they ran
        self._links: dict[TaskId, int] = {}  # places of links, by the task that each waits for
        self._values: dict[int, Any] = {}  # what that came to, by the place of the link
        self._next: TaskRequest | None = None  # to be run here at once

    # ------------------------------------------------------- from any thread

    def cancel(self, task_ids: Collection[TaskId]) -> Iterable[Report]:
        with self._lock:
            chosen = {
                place for place, request in self._flight.items() if request.task_id in task_ids
            }
            if not chosen:
                return super().cancel(task_ids)
            gone = [self._leave(place) for place in self._withdraw(chosen)]
            reports = [_report(request, _CANCELLED) for request in gone]
            for request in gone:
                reports += self._abort(request.task_id)
        return reports

    def _leave(self, place: int) -> TaskRequest:
        """It is in flight no more; the lock is held."""
        request = self._flight.pop(place)
        if request.dependencies:
            self._links.pop(request.dependencies[0], None)
            self._values.pop(place, None)
        return request

    def _abort(self, task_id: TaskId) -> list[Report]:
        """Reports of what was behind a task that will not be done; the lock is held."""
        reports: list[Report] = []
        while (place := self._links.get(task_id)) is not None:
            request = self._leave(place)
            task_id = request.task_id
            reports.append(_report(request, _CANCELLED))
        return reports + self.slots.withdraw(task_id)

    def _withdraw(self, chosen: set[int]) -> set[int]:
        """Those that will not begin; if one of the others runs, its worker ends."""
        worker = self._worker
        if worker is None:
            return chosen
        wanted = {place for place in chosen if place < worker.offered}
        gone = chosen - wanted
        if not wanted:
            return gone
        behind = {
            place
            for place in map(self._links.get, [self._flight[place].task_id for place in chosen])
            if place is not None
        }
        back = set(worker.take_back(wanted | behind))
        gone |= back & wanted
        begun = [place for place in self._flight if place < worker.offered and place not in back]
        self._stopped |= wanted - back
        # They begin in order: the last that has begun runs, the others are done.  Nothing
        # that was not cancelled can begin any more and be hit by the signal.
        if begun and max(begun) in wanted:
            worker.kill()
        self._requeue(back - wanted)
        return gone

    def holds(self) -> Iterable[TaskId]:
        with self._lock:
            return [*(request.task_id for request in self._flight.values()), *super().holds()]

    def abandon(self) -> list[TaskContext]:
        with self._lock:
            if self._worker is not None:
                self._worker.kill()
            held = [
                TaskContext(request.spec.name, request.task_id, request.attempt)
                for request in self._flight.values()
            ]
            self._flight.clear()
            self._links.clear()
            self._values.clear()
            return [*held, *super().abandon()]

    # ----------------------------------------------------- in the own thread

    def close(self) -> None:
        self._replace()
        super().close()

    def _take(self, request: TaskRequest, gpus: tuple[int, ...] = ()) -> None:
        if request.spec.kind is not _FUNCTION:
            super()._take(request, gpus)
            return
        follower: TaskRequest | None = request
        while follower is not None:
            request, follower = follower, None
            special = gpus or request.spec.resources.total_cores > 1
            most = 1 if special else 1 + int(self.slots.backlog() / 2)
            worker = self._ready(gpus)
            if isinstance(worker, WorkerGoneError):
                if self._gather(request, 1, 0):
                    self._lose([0], worker, "a worker process does not start: ")
            elif chunk := self._gather(request, most, worker.offered):
                self._run(worker, chunk, gpus)
                del chunk
            follower, self._next = self._next, None

    def _ready(self, gpus: tuple[int, ...]) -> WorkerProcess | WorkerGoneError:
        """The worker, or why there is none."""
        if self._worker is not None and gpus and self._worker.gpus not in ((), gpus):
            self._replace()
        for _ in range(_STARTS):
            if self._worker is not None:
                break
            gone: WorkerGoneError
            try:
                self._worker = WorkerProcess(self.name, self.grace)
                self._worker.wait_ready()
            except WorkerGoneError as exc:
                gone = exc
                self._replace()
            except OSError as exc:  # no memory, process or descriptor left
                gone = WorkerGoneError(0, str(exc))
        if self._worker is None:
            return gone
        if gpus:
            self._worker.gpus = gpus
        return self._worker

    def _replace(self) -> None:
        """Be rid of the worker; the next function gets another."""
        with self._lock:
            worker, self._worker = self._worker, None
        self._chunks.clear()
        self._announced = -1
        if worker is not None:
            worker.close()

    # -- a chunk: what is in it

    def _gather(self, request: TaskRequest, most: int, place: int) -> list[TaskRequest]:
        """*request* and what may travel with it, claimed; they get places from *place* on."""
        slots = self.slots
        claim, queue, behind, flight = slots.waiting.pop, slots.queue, slots.behind, self._flight
        chunk: list[TaskRequest] = []
        others = 0  # those that are not links: only of them another slot could do something
        seconds = 0.0
        spec = None
        with self._lock:
            while True:
                if request.spec is not spec:
                    spec = request.spec
                    expected = self._codes.expect(spec.function)
                    cost = _CHUNK_SECONDS if expected is None else expected
                task_id = request.task_id
                claimed = claim(task_id, None)
                at = place + len(chunk)
                link = None
                if claimed is request:
                    joined = self._join(request, at) if request.dependencies else request
                    if joined is not None:
                        flight[at] = joined
                        chunk.append(joined)
                        seconds += cost
                        others += not joined.dependencies
                        link = behind.get(task_id) if behind else None
                elif claimed is not None:
                    # An attempt that was cancelled while it waited, and the next one is here.
                    slots.requeue((claimed,))
                elif request.dependencies:
                    slots.given.pop(task_id, None)
                left = _CHUNK_SECONDS - seconds
                if left <= 0 or len(chunk) >= _CHUNK:
                    return chunk
                if link is not None and self._takes_less(link, left):
                    request = link
                    continue
                if others >= most:
                    return chunk
                try:
                    request = queue.popleft()
                except IndexError:
                    return chunk
                if cost > left if request.spec is spec else not self._takes_less(request, left):
                    queue.appendleft(request)
                    return chunk

    def _join(self, request: TaskRequest, place: int) -> TaskRequest | None:
        """One that came behind another: as a link to that, or with its value.

        None if the other was taken back meanwhile, so that this one has to wait again.
        The lock is held.
        """
        slots = self.slots
        before = request.dependencies[0]
        if before not in slots.behind:
            return refer(request, slots.given.pop(request.task_id, None))
        last = self._flight.get(place - 1)
        if last is None or last.task_id != before:
            slots.waiting[request.task_id] = request
            return None
        del slots.behind[before]
        self._links[before] = place
        return request

    def _takes_less(self, request: TaskRequest, seconds: float) -> bool:
        if request.spec.kind is not _FUNCTION:
            return False
        expected = self._codes.expect(request.spec.function)
        return expected is not None and expected <= seconds

    def _gather_ahead(self, worker: WorkerProcess) -> list[TaskRequest]:
        """What may be sent while the worker is busy: many short tasks, or none."""
        slots = self.slots
        if slots.specials:
            return []
        if slots.behind:
            with self._lock:
                last = self._flight.get(worker.offered - 1)
                link = None if last is None else slots.behind.get(last.task_id)
            if link is not None:
                return (
                    self._gather(link, 1, worker.offered)
                    if self._takes_less(link, _CHUNK_SECONDS)
                    else []
                )
        most = int(slots.backlog() / 2)
        if not most:
            return []
        try:
            request = slots.queue.popleft()
        except IndexError:
            return []
        if not self._takes_less(request, _CHUNK_SECONDS):
            slots.queue.appendleft(request)
            return []
        return self._gather(request, most, worker.offered)

    # -- a chunk: there and back

    def _run(self, worker: WorkerProcess, chunk: list[TaskRequest], gpus: tuple[int, ...]) -> None:
        """Until all that the worker has, or gets meanwhile, has an outcome or was put back."""
        hurried = len(chunk) > 1
        self._hand_over(worker, chunk, gpus)
        del chunk
        while self._flight:
            if hurried and len(self._chunks) < _AHEAD and (more := self._gather_ahead(worker)):
                self._hand_over(worker, more, ())
                del more
            self._announce()
            try:
                messages = worker.collect(_PATIENCE if hurried else None)
            except WorkerGoneError as gone:
                self._bury(gone)
                return
            if messages is None:
                hurried = False
                with self._lock:
                    self._put_back()
                continue
            self._learn(worker)
            if messages:
                self._deliver(messages)

    def _hand_over(
        self, worker: WorkerProcess, chunk: list[TaskRequest], gpus: tuple[int, ...]
    ) -> None:
        place = worker.offered
        body, parts = self._pack(worker, chunk, gpus)
        places = range(place, place + len(chunk))
        with self._lock:
            # One that was cancelled or has failed by now keeps its place.
            worker.offer([place in self._flight for place in places])
        worker.send(body, parts)

    def _pack(
        self, worker: WorkerProcess, chunk: list[TaskRequest], gpus: tuple[int, ...]
    ) -> tuple[bytes, list[Part]]:
        first = worker.offered
        used: dict[int, Code] = {}

        def code_of(request: TaskRequest) -> Code | None:
            try:
                code = self._codes.of(request.spec.function)
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
        tasks = batches(chunk, gpus, parts, code_of, fail)
        self._chunks.append(list(used.values()))
        codes = {
            number: code.pickled for number, code in used.items() if number not in worker.known
        }
        worker.known |= codes.keys()
        forgotten: set[int] = set()
        if len(worker.known) > 2 * len(self._codes.alive) + _FORGET:
            forgotten = worker.known - self._codes.alive - used.keys()
            worker.known -= forgotten
        links = {first + at for at, request in enumerate(chunk) if request.dependencies}
        if chunk[-1].task_id in self.slots.behind:
            links.add(first + len(chunk))  # it may follow while the worker has this chunk
        return pickle.dumps((codes, forgotten, worker.news_of_path(), tasks, links), 5), parts

    def _announce(self) -> None:
        """Say of the first without an outcome that it runs, if it was not said."""
        with self._lock:
            place = next(iter(self._flight), -1)
            if place <= self._announced:
                return
            self._announced = place
            request = self._flight[place]
        self.slots.sink.running(request.task_id, request.attempt, self.name)

    def _learn(self, worker: WorkerProcess) -> None:
        """How long the tasks of those chunks took that are done."""
        clock, worker.clock = worker.clock, []
        for seconds, ran in clock:
            if ran >= 0:
                for code in self._chunks.popleft():
                    if ran:
                        code.learn(seconds / ran)

    def _deliver(self, messages: Sequence[Message]) -> None:
        reports: list[Report] = []
        values = [
            _load(body) if code == VALUE and not parts else _decode(code, body, parts)
            for _, code, body, parts in messages
        ]
        followers: list[tuple[TaskRequest, Any]] = []
        slots, flight, links = self.slots, self._flight, self._links
        with self._lock:
            for message, value in zip(messages, values, strict=True):
                place = message[0]
                if place not in flight:
                    continue
                request = self._leave(place)
                task_id = request.task_id
                if place in self._stopped:
                    self._stopped.discard(place)
                    reports.append(_report(request, _CANCELLED))
                    reports += self._abort(task_id)
                elif type(value) is _Failed:
                    reports.append(_report(request, _FAILED, value.error))
                    reports += self._abort(task_id)
                else:
                    reports.append(_new(Report, (task_id, request.attempt, _DONE, value)))
                    if task_id in links:
                        self._values[links[task_id]] = value
                    elif slots.behind and task_id in slots.behind:
                        followers.append((slots.behind.pop(task_id), value))
        for follower, value in followers:
            if self._next is None and not flight:
                self._next = slots.follow(follower, value)
            else:
                slots.given[follower.task_id] = value
                slots.queue.append(follower)
                slots.wake(1)
        if not flight and self._next is None:
            self.look()
        slots.sink.report(reports)

    def _put_back(self) -> None:
        """Back into the queue with all that has not begun; the lock is held."""
        if self._worker is not None:
            self._requeue(self._worker.take_back())

    def _requeue(self, places: Iterable[int]) -> None:
        slots = self.slots
        back: list[TaskRequest] = []
        for place in sorted(places):
            if place not in self._flight:
                continue
            known, value = place in self._values, self._values.get(place)
            request = self._leave(place)
            if not request.dependencies:
                back.append(request)
            elif known:
                slots.given[request.task_id] = value
                back.append(request)
            else:
                # In this order: who cancels it looks there first.
                slots.waiting[request.task_id] = request
                slots.behind[request.dependencies[0]] = request
        if back:
            slots.requeue(back)

    def _bury(self, gone: WorkerGoneError) -> None:
        """The worker died: charge what had begun, put back the rest."""
        with self._lock:
            self._put_back()
            begun = list(self._flight)
        self._replace()
        self._lose(begun, gone)

    def _lose(self, places: Iterable[int], gone: WorkerGoneError, detail: str = "") -> None:
        detail += gone.detail
        for place in places:
            request = self._flight.get(place)
            if request is not None:
                name = request.spec.name
                error = WorkerLostError(name, self.name, gone.signal, request.attempt, detail)
                self._finish(place, error)

    def _finish(self, place: int, error: BaseException) -> None:
        """It failed on this side of the border."""
        with self._lock:
            if place not in self._flight:
                return
            request = self._leave(place)
            if place in self._stopped:
                self._stopped.discard(place)
                reports = [_report(request, _CANCELLED)]
            else:
                reports = [_report(request, _FAILED, error)]
            reports += self._abort(request.task_id)
        self.slots.sink.report(reports)


class _Failed:
    """Not a value: the exception that stands in its place."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _load(body: bytearray) -> Any:
    try:
        return pickle.loads(body)
    except BaseException as exc:  # foreign code
        return _Failed(unsendable("result", exc))


def _decode(code: int, body: bytearray, parts: Sequence[Part]) -> Any:
    try:
        value = pickle.loads(body, buffers=parts)
    except BaseException as exc:  # foreign code
        return _Failed(unsendable("result", exc))
    if code == FAILURE:
        return _Failed(value.rebuild())
    if code == UNSENT:
        return _Failed(SerializationError(*value))
    return value


def _report(request: TaskRequest, state: TaskState, value: Any = None) -> Report:
    return _new(Report, (request.task_id, request.attempt, state, value))


_new = tuple.__new__  # a named tuple's own constructor costs three times as much
