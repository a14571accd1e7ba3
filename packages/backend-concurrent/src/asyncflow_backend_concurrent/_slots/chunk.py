"""What a process slot hands to its worker together: a chunk."""

from __future__ import annotations

import threading

from radical.asyncflow.backend import TaskKind, TaskRequest, TaskSpec
from radical.asyncflow.worker import Codes

from .flight import Flight
from .slots import Slots

__all__ = ["Picker"]

_CHUNK = 256  # the most tasks
_CHUNK_SECONDS = 0.002
_LITTLE = 0.0003  # seconds of work that are not worth to be shared out
_FUNCTION = TaskKind.FUNCTION


class Picker:
    """Claims tasks for one slot, whose *lock* guards *flight*; in the slot's own thread."""

    def __init__(self, slots: Slots, flight: Flight, codes: Codes, lock: threading.Lock) -> None:
        self._slots = slots
        self._flight = flight
        self._codes = codes
        self._lock = lock

    def share(self, request: TaskRequest) -> int:
        """How many of the queue may go along with *request*.

        Half of what would be this slot's share, so that all slots end together; more of it
        where that is little work, because a chunk costs as much as fifty short tasks do.
        """
        expected = self._codes.expected_seconds(request.spec.function)
        share = self._slots.backlog()
        if expected is None or expected * share > _LITTLE:
            return int(share / 2)
        waiting = len(self._slots.queue)
        return waiting if expected * waiting <= _LITTLE else int(share)

    def gather(
        self, request: TaskRequest, most: int, place: int, behind_last: bool = False
    ) -> list[TaskRequest]:
        """*request* and what may travel with it, claimed; they get places from *place* on.

        With *behind_last* it is to follow the task of the place before, which may have been
        taken back meanwhile.
        """
        slots = self._slots
        claim, queue, behind, flight = slots.waiting.pop, slots.queue, slots.behind, self._flight
        requests = flight.requests
        chunk: list[TaskRequest] = []
        others = 0  # those that are not links: only of them another slot could do something
        seconds = 0.0
        spec: TaskSpec | None = None
        with self._lock:
            if behind_last and flight.behind(place - 1) is not request:
                return chunk
            while True:
                if request.spec is not spec:
                    spec = request.spec
                    expected = self._codes.expected_seconds(spec.function)
                    cost = _CHUNK_SECONDS if expected is None else expected
                task_id = request.task_id
                claimed = claim(task_id, None)
                at = place + len(chunk)
                link = None
                if claimed is request:
                    if request.dependencies:
                        request = flight.join(request, at)
                    requests[at] = request
                    chunk.append(request)
                    seconds += cost
                    others += not request.dependencies
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
                if not behind:
                    # No link in sight: what follows of the same task costs the same.
                    room = min(_CHUNK - len(chunk), most - others)
                    if room * cost > left:
                        room = int(left / cost)
                    row = self._claim_row(spec, room)
                    requests.update(enumerate(row, start=place + len(chunk)))
                    chunk += row
                    others += len(row)
                    seconds += len(row) * cost
                    left -= len(row) * cost
                if others >= most or len(chunk) >= _CHUNK:
                    return chunk
                try:
                    request = queue.popleft()
                except IndexError:
                    return chunk
                if cost > left if request.spec is spec else not self._takes_less(request, left):
                    queue.appendleft(request)
                    return chunk

    def _claim_row(self, spec: TaskSpec, most: int) -> list[TaskRequest]:
        """The next of the queue, at most so many, as long as they are plain ones of *spec*."""
        slots = self._slots
        claim, take = slots.waiting.pop, slots.queue.popleft
        row: list[TaskRequest] = []
        for _ in range(most):
            try:
                request = take()
            except IndexError:
                break
            if request.spec is not spec or request.dependencies:
                slots.queue.appendleft(request)
                break
            claimed = claim(request.task_id, None)
            if claimed is request:
                row.append(request)
            elif claimed is not None:
                # As in `gather`: cancelled while it waited, and the next attempt is here.
                slots.requeue((claimed,))
        return row

    def _takes_less(self, request: TaskRequest, seconds: float) -> bool:
        if request.spec.kind is not _FUNCTION:
            return False
        expected = self._codes.expected_seconds(request.spec.function)
        return expected is not None and expected <= seconds

    def gather_ahead(self, place: int) -> list[TaskRequest]:
        """What may be sent while the worker is busy, for the places from *place* on.

        Many short tasks, or none.
        """
        slots = self._slots
        if slots.specials:
            return []
        if slots.behind:
            with self._lock:
                link = self._flight.behind(place - 1)
            if link is not None:
                short = self._takes_less(link, _CHUNK_SECONDS)
                return self.gather(link, 1, place, True) if short else []
        try:
            request = slots.queue.popleft()
        except IndexError:
            return []
        most = self.share(request)
        if not most or not self._takes_less(request, _CHUNK_SECONDS):
            slots.queue.appendleft(request)
            return []
        return self.gather(request, most, place)
