"""The tasks that a process slot hands to its worker together: a chunk."""

from __future__ import annotations

import threading
from math import inf

from radical.asyncflow.backend import TaskKind, TaskRequest, TaskSpec
from radical.asyncflow.worker import Codes

from .flight import InFlight
from .seats import Seats

__all__ = ["ChunkPicker"]

_MAX_TASKS = 256
_MIN_WORK_S = 0.005
_MAX_WORK_S = 0.05  # because what a chunk has done is known at its end
_SLOT_WORK_S = 0.0006  # for each slot: the program spends half of that on a chunk
_NOT_WORTH_SHARING_S = 0.0003
_FUNCTION = TaskKind.FUNCTION


class ChunkPicker:
    """Claims tasks for one slot, in the slot's own thread; the slot's *lock* guards *flight*.

    Attributes:
        work: how many seconds of work a chunk has, if there are enough short tasks.  The slots
            share the interpreter of the program, so the more there are, the longer each of them
            has to do without.
    """

    def __init__(self, slots: Seats, flight: InFlight, codes: Codes, lock: threading.Lock) -> None:
        self._slots = slots
        self._flight = flight
        self._codes = codes
        self._lock = lock
        self.work = min(max(_MIN_WORK_S, _SLOT_WORK_S * slots.size), _MAX_WORK_S)

    def share(self, request: TaskRequest) -> int:
        """Return how many tasks of the queue may go along with *request*.

        That is half of this slot's share, so that all slots end together; or more, where
        that is little work, because a chunk costs as much as fifty short tasks.
        """
        expected = self._codes.expected_seconds(request.spec.function)
        share = self._slots.backlog()
        if expected is None or expected * share > _NOT_WORTH_SHARING_S:
            return int(share / 2)
        waiting = len(self._slots.queue)
        return waiting if expected * waiting <= _NOT_WORTH_SHARING_S else int(share)

    def gather(
        self, request: TaskRequest, most: int, place: int, behind_last: bool = False
    ) -> list[TaskRequest]:
        """Claim *request* and what may travel with it, for the places from *place* on.

        With *behind_last* it is to be chained to the task of the place before, which may
        have been taken back meanwhile.
        """
        with self._lock:
            if behind_last and self._flight.behind(place - 1) is not request:
                return []
            chunk = self._claim(request, most, place)
        if self._slots.ahead.returned:
            self._slots.ahead.taken([request.task_id, *(other.task_id for other in chunk)])
        return chunk

    def _claim(self, request: TaskRequest, most: int, place: int) -> list[TaskRequest]:
        """Claim *request* and at most *most* that another slot could run, with what is behind."""
        slots = self._slots
        claim, queue, behind, flight = slots.waiting.pop, slots.queue, slots.behind, self._flight
        requests = flight.requests
        chunk: list[TaskRequest] = []
        others = 0  # those that are not chained: only these could run on another slot
        seconds = 0.0
        spec: TaskSpec | None = None
        while True:
            if request.spec is not spec:
                spec = request.spec
                expected = self._codes.expected_seconds(spec.function)
                cost = self.work if expected is None else expected
            task_id = request.task_id
            claimed = claim(task_id, None)
            at = place + len(chunk)
            following = None
            if claimed is request:
                if request.dependencies:
                    request = flight.join(request, at)
                requests[at] = request
                chunk.append(request)
                seconds += cost
                others += not request.dependencies
                following = behind.get(task_id) if behind else None
            elif claimed is not None:
                # This attempt was cancelled while it waited, and the next one is here.
                slots.requeue((claimed,))
            elif request.dependencies:
                slots.values.pop(task_id, None)
            left = self.work - seconds
            if left <= 0 or len(chunk) >= _MAX_TASKS:
                return chunk
            if following is not None and self._takes_less(following, left):
                request = following
                continue
            if not behind:
                # Nothing is chained: what follows of the same task costs the same.
                room = min(_MAX_TASKS - len(chunk), most - others)
                if room * cost > left:
                    room = int(left / cost)
                row = self._claim_row(spec, room)
                requests.update(enumerate(row, start=place + len(chunk)))
                chunk += row
                others += len(row)
                seconds += len(row) * cost
                left -= len(row) * cost
            if others >= most or len(chunk) >= _MAX_TASKS:
                return chunk
            try:
                request = queue.take()
            except IndexError:
                return chunk
            if cost > left if request.spec is spec else not self._takes_less(request, left):
                queue.put_back((request,))
                return chunk

    def _claim_row(self, spec: TaskSpec, most: int) -> list[TaskRequest]:
        """Claim the next *most* tasks of the queue, as far as they are plain ones of *spec*."""
        slots = self._slots
        claim, queue = slots.waiting.pop, slots.queue
        take = queue.first.popleft
        row: list[TaskRequest] = []
        for _ in range(most):
            try:
                request = take()
            except IndexError:
                break
            if request.spec is not spec or request.dependencies:
                queue.put_back((request,))
                break
            claimed = claim(request.task_id, None)
            if claimed is request:
                row.append(request)
            elif claimed is not None:
                # As in `_claim`: cancelled while it waited, and the next attempt is here.
                slots.requeue((claimed,))
        return row

    def _takes_less(self, request: TaskRequest, seconds: float) -> bool:
        """Tell whether *request* is known to run for at most so many seconds."""
        if request.spec.kind is not _FUNCTION:
            return False
        expected = self._codes.expected_seconds(request.spec.function)
        return expected is not None and expected <= seconds

    def gather_ahead(self, place: int, single: bool) -> list[TaskRequest]:
        """Claim what is to be sent while the worker is busy, for the places from *place* on.

        That is many short tasks, or one if it is long, *single* is asked for or little is left;
        or none, so that a slot that is free gets it.
        """
        slots = self._slots
        if slots.specials:
            return []
        if slots.behind:
            with self._lock:
                following = self._flight.behind(place - 1)
            if following is not None and following.spec.kind is _FUNCTION:
                return self.gather(following, 1, place, True)
        if slots.ahead:
            slots.ahead.take_back_overdue()
        try:
            request = slots.queue.take()
        except IndexError:
            return []
        most = self._share_ahead(request, single)
        if not most:
            slots.queue.put_back((request,))
            return []
        return self.gather(request, most, place)

    def _share_ahead(self, request: TaskRequest, single: bool) -> int:
        """Return how many tasks of the queue, *request* among them, may be sent ahead."""
        if request.spec.kind is not _FUNCTION or request.task_id in self._slots.ahead.returned:
            return 0
        pace = self.pace(request)
        if pace <= self.work and not single and (share := self.share(request)):
            return share
        return int(not self._slots.idle and (single or pace > _NOT_WORTH_SHARING_S))

    def pace(self, request: TaskRequest) -> float:
        """Return how many seconds a task like *request* takes; infinity if that is not known."""
        expected = self._codes.expected_seconds(request.spec.function)
        return inf if expected is None else expected
