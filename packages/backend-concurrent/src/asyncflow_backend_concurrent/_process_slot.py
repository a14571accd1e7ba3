"""A slot whose functions run in a worker process of its own.

Short tasks travel several at a time.  How many follows from the backlog and from what
a run of the function took before, so that a chunk is worth some 2 ms of work; if one
takes longer than it should, whatever of it has not begun is taken back for other slots.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Collection, Iterable
from time import monotonic
from typing import Any

from radical.asyncflow.backend import Report, TaskId, TaskKind, TaskRequest, TaskState
from radical.asyncflow.errors import SerializationError, WorkerLostError
from radical.asyncflow.worker import Code, Codes, TaskContext, unsendable

from ._arguments import dump_arguments
from ._process import CHUNK, WorkerGoneError, WorkerProcess
from ._slot import Slot
from ._slots import Slots
from ._wire import FAILURE, UNSENT, VALUE, Message, Part, plain

__all__ = ["ProcessSlot"]

_CHUNK_SECONDS = 0.002
_PATIENCE = 0.010  # seconds after which a chunk is too slow
_FORGET = 64  # functions that a worker may know in vain
_STARTS = 3  # workers that may fail to start before a task is charged with it
_FUNCTION = TaskKind.FUNCTION
_RUNNING, _DONE = TaskState.RUNNING, TaskState.DONE
_FAILED, _CANCELLED = TaskState.FAILED, TaskState.CANCELLED


class _Entry:
    """A task of the chunk at hand."""

    __slots__ = ("announced", "code", "job", "request")

    def __init__(self, request: TaskRequest, job: TaskContext) -> None:
        self.request = request
        self.job = job
        self.code: Code | None = None
        self.announced = False


class ProcessSlot(Slot):
    """Runs functions in a worker process, which it starts when it needs one."""

    def __init__(self, slots: Slots, number: int, *, name: str, grace: float, codes: Codes) -> None:
        super().__init__(slots, number, name=name, grace=grace)
        self._codes = codes
        self._worker: WorkerProcess | None = None
        self._lock = threading.Lock()  # guards what follows
        self._entries: dict[TaskId, _Entry] = {}  # taken, and without an outcome
        self._places: dict[TaskId, int] = {}  # of those that were offered to the worker

    # ------------------------------------------------------- from any thread

    def cancel(self, task_ids: Collection[TaskId]) -> Iterable[Report]:
        with self._lock:
            chosen = [entry for task_id, entry in self._entries.items() if task_id in task_ids]
            if not chosen:
                return super().cancel(task_ids)
            gone = self._withdraw(chosen)
            for entry in gone:
                self._drop(entry)
        return [_report(entry, _CANCELLED) for entry in gone]

    def _withdraw(self, chosen: list[_Entry]) -> list[_Entry]:
        """Those that will not begin; if one of the others runs, its worker ends."""
        offered = {
            place: self._entries[task_id]
            for task_id, place in self._places.items()
            if task_id in self._entries
        }
        wanted = {place for place, entry in offered.items() if entry in chosen}
        gone = [entry for entry in chosen if entry.request.task_id not in self._places]
        if not wanted or self._worker is None:
            return gone
        back = {place: offered.pop(place) for place in self._worker.take_back(wanted)}
        gone += [entry for place, entry in back.items() if place in wanted]
        for place in wanted & offered.keys():
            offered[place].job.cancelled = True
        # They begin in order: the last that has begun runs, the others are done.  Nothing
        # that was not cancelled can begin any more and be hit by the signal.
        if offered and max(offered) in wanted:
            self._worker.kill()
        self._requeue([entry for place, entry in back.items() if place not in wanted])
        return gone

    def holds(self) -> Iterable[TaskId]:
        with self._lock:
            return [*self._entries, *super().holds()]

    def abandon(self) -> list[TaskContext]:
        with self._lock:
            if self._worker is not None:
                self._worker.kill()
            held = [entry.job for entry in self._entries.values()]
            self._entries.clear()
            return [*held, *super().abandon()]

    # ----------------------------------------------------- in the own thread

    def close(self) -> None:
        self._replace()
        super().close()

    def _take(self, request: TaskRequest, gpus: tuple[int, ...] = ()) -> None:
        if request.spec.kind is not _FUNCTION:
            super()._take(request, gpus)
            return
        worker = self._ready(gpus)
        if isinstance(worker, WorkerGoneError):
            entry = self._claim(request, gpus)
            if entry is not None:
                self._lose([entry], worker, "a worker process does not start: ")
            return
        entries = self._gather(request, gpus)
        if entries:
            self._run(worker, entries)

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
        if worker is not None:
            worker.close()

    # -- a chunk: what is in it

    def _gather(self, request: TaskRequest, gpus: tuple[int, ...]) -> list[_Entry]:
        """*request* and what may travel with it; all claimed."""
        special = request.spec.resources.total_cores > 1 or gpus
        most = 1 if special else min(CHUNK, 1 + int(self.slots.backlog() / 2))
        entries: list[_Entry] = []
        seconds = 0.0
        another: TaskRequest | None = request
        while another is not None:
            entry = self._claim(another, gpus)
            if entry is not None:
                entries.append(entry)
                assert entry.code is not None
                taken = entry.code.seconds
                seconds += _CHUNK_SECONDS if taken is None else taken
            if len(entries) >= most or seconds >= _CHUNK_SECONDS:
                break
            another = self._another(_CHUNK_SECONDS - seconds)
        return entries

    def _another(self, seconds: float) -> TaskRequest | None:
        """The next task of the queue, if it is a function known to take less than that."""
        queue = self.slots.queue
        try:
            request = queue.popleft()
        except IndexError:
            return None
        if request.spec.kind is _FUNCTION:
            expected = self._codes.expect(request.spec.function)
            if expected is not None and expected <= seconds:
                return request
        queue.appendleft(request)
        return None

    def _claim(self, request: TaskRequest, gpus: tuple[int, ...]) -> _Entry | None:
        """Take it from those that wait; None if it is cancelled, or failed here."""
        spec = request.spec
        entry = _Entry(request, TaskContext(spec.name, request.task_id, request.attempt, gpus))
        with self._lock:
            claimed = self.slots.waiting.pop(request.task_id, None)
            if claimed is request:
                self._entries[request.task_id] = entry
        if claimed is not request:
            if claimed is not None:
                self.slots.requeue((claimed,))
            return None
        try:
            entry.code = self._codes.of(spec.function)
        except SerializationError as exc:
            self._finish(entry, exc)
            return None
        return entry

    # -- a chunk: there and back

    def _run(self, worker: WorkerProcess, entries: list[_Entry]) -> None:
        parts = self._pack(worker, entries)
        with self._lock:
            # One that was cancelled or has failed by now keeps its place.
            places = [
                place if entry.request.task_id in self._entries else None
                for place, entry in enumerate(entries)
            ]
            self._places = {
                entry.request.task_id: place
                for place, entry in enumerate(entries)
                if entry.request.task_id in self._entries
            }
            worker.offer(places)
        self._announce()
        begun = monotonic()
        worker.send(parts)
        del parts
        patience: float | None = _PATIENCE if len(entries) > 1 else None
        while self._entries:
            try:
                messages = worker.collect(patience)
            except WorkerGoneError as gone:
                self._bury(gone)
                break
            if messages:
                now = monotonic()
                self._deliver(messages, entries, (now - begun) / len(messages))
                begun = now
            elif patience is not None:
                patience = None
                with self._lock:
                    self._put_back()
                self._announce()
        with self._lock:
            self._places = {}

    def _pack(self, worker: WorkerProcess, entries: list[_Entry]) -> list[Part]:
        buffers: list[Part] = []
        tasks: list[tuple[Any, ...]] = []
        codes: dict[int, bytes] = {}
        for entry in entries:
            code = entry.code
            assert code is not None
            if code.number not in worker.known:
                codes[code.number] = code.pickled
            request, job = entry.request, entry.job
            head = (code.number, job.name, job.task_id, job.attempt, job.gpus)
            if plain(request.args) and (not request.kwargs or plain(request.kwargs)):
                tasks.append((*head, request.args, request.kwargs, None, 0, 0))
                continue
            first = len(buffers)
            try:
                pickled = dump_arguments(request, buffers)
            except BaseException as exc:  # whatever the arguments' own methods raise
                del buffers[first:]
                tasks.append(())
                self._finish(entry, unsendable("arguments", exc))
            else:
                tasks.append((*head, None, None, pickled, first, len(buffers)))
        worker.known |= codes.keys()
        forgotten: set[int] = set()
        if len(worker.known) > 2 * len(self._codes.alive) + _FORGET:
            forgotten = worker.known - self._codes.alive - {task[0] for task in tasks if task}
            worker.known -= forgotten
        path = worker.news_of_path()
        return [pickle.dumps((codes, forgotten, path, tasks), 5), *buffers]

    def _announce(self) -> None:
        """Say of the first that was not heard of that it runs."""
        with self._lock:
            entry = next(iter(self._entries.values()), None)
            if entry is None or entry.announced:
                return
            entry.announced = True
        request = entry.request
        self.slots.sink.running(request.task_id, request.attempt, self.name)

    def _deliver(self, messages: list[Message], entries: list[_Entry], seconds: float) -> None:
        reports: list[Report] = []
        watched = self.slots.sink.watched
        for place, code, parts, began, ended in messages:
            entry = entries[place]
            assert entry.code is not None
            entry.code.learn(seconds)
            value = _decode(code, parts)
            with self._lock:
                if not self._drop(entry):
                    continue
            if watched and not entry.announced:
                reports.append(_report(entry, _RUNNING, self.name, began))
            if entry.job.cancelled:
                reports.append(_report(entry, _CANCELLED, None, ended))
            elif code == VALUE and not isinstance(value, _Failed):
                reports.append(_report(entry, _DONE, value, ended))
            else:
                reports.append(_report(entry, _FAILED, value.error, ended))
        if not self._entries:
            self.look()
        self.slots.sink.report(reports)

    def _put_back(self) -> None:
        """Back into the queue with all that has not begun; the lock is held."""
        if self._worker is None:
            return
        places = {place: task_id for task_id, place in self._places.items()}
        entries = [
            self._entries[places[place]]
            for place in self._worker.take_back()
            if places.get(place) in self._entries
        ]
        self._requeue(entries)

    def _requeue(self, entries: list[_Entry]) -> None:
        for entry in entries:
            self._drop(entry)
        self.slots.requeue([entry.request for entry in entries])

    def _bury(self, gone: WorkerGoneError) -> None:
        """The worker died: charge what had begun, put back the rest."""
        with self._lock:
            self._put_back()
            begun = list(self._entries.values())
        self._replace()
        self._lose(begun, gone)

    def _lose(self, entries: list[_Entry], gone: WorkerGoneError, detail: str = "") -> None:
        detail += gone.detail
        for entry in entries:
            job = entry.job
            error = WorkerLostError(job.name, self.name, gone.signal, job.attempt, detail)
            self._finish(entry, error)

    def _finish(self, entry: _Entry, error: BaseException) -> None:
        with self._lock:
            if not self._drop(entry):
                return
        if entry.job.cancelled:
            self.slots.sink.report([_report(entry, _CANCELLED)])
        else:
            self.slots.sink.report([_report(entry, _FAILED, error)])

    def _drop(self, entry: _Entry) -> bool:
        """It has its outcome; False if it had one before.  The lock is held."""
        return self._entries.pop(entry.request.task_id, None) is not None


class _Failed:
    """Not a value: the exception that stands in its place."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _decode(code: int, parts: list[Part]) -> Any:
    try:
        value = pickle.loads(parts[0], buffers=parts[1:])
    except BaseException as exc:  # foreign code
        return _Failed(unsendable("result", exc))
    if code == FAILURE:
        return _Failed(value.rebuild())
    if code == UNSENT:
        return _Failed(SerializationError(*value))
    return value


def _report(
    entry: _Entry, state: TaskState, value: Any = None, time: float | None = None
) -> Report:
    request = entry.request
    return tuple.__new__(Report, (request.task_id, request.attempt, state, value, time))
