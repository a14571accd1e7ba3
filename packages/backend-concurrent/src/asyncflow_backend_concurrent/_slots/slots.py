"""The slots of a backend: threads that pull tasks from one queue.

A slot is one core.  It runs a function itself or on a worker process of its own, or
waits for an executable; whatever it does, it does one thing at a time, so
``max_workers`` bounds all kinds of work together.

An ordinary task meets no lock on its way.  `Slots.waiting` decides who has it: the slot
that pops it from there runs it, and `cancel` pops it to report it CANCELLED.  The queue
may hold tasks that are no longer waiting; slots pass over them.

A task that asks for more than one core, for memory or for GPUs is *special*, and so is a
service, which keeps all that until it ends.  A special task stands
in `Slots.specials` and is admitted under a lock, in the order of all tasks (`place_of`).  If
the memory and the GPUs of the first one are free but not its cores, slots stand still for it
as they come free, so narrow tasks that come later cannot starve it.  One that waits for
memory or GPUs holds up only later ones that want the same.

A task that came in the same batch as the one it waits for stands in `waiting` like any
other, and in `Slots.behind` instead of the queue.  The slot that has done the first goes
on with it, unless something else goes before it; then it comes into the queue.

A slot leaves an ordinary command to a *crew*, a thread that runs many, and stands still
meanwhile.  It stands among the idle ones, from which the crew takes one for each command.
"""

from __future__ import annotations

import atexit
import logging
import math
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from radical.asyncflow.backend import (
    AnyReport,
    Report,
    ReportSink,
    TaskId,
    TaskKind,
    TaskRequest,
    TaskSpec,
    TaskState,
)
from radical.asyncflow.model import DEFAULT_RESOURCES

from .ahead import Ahead
from .crew import CREWS, Crew
from .queue import Order, TaskQueue, order_of, place_of
from .resources import MachineResources
from .seats import Admission, Sleeper
from .slot import Slot

if TYPE_CHECKING:
    from radical.asyncflow.backend import Wait, Written

__all__ = ["Slots"]

_CANCELLED = TaskState.CANCELLED
_EXECUTABLE = TaskKind.EXECUTABLE
_FULL_S = 1.0  # until another slot is tried, after the system had no room for one

_log = logging.getLogger("radical.asyncflow.concurrent")


class Slots:
    """As many slots as *resources* has, each started when it is needed.

    Attributes:
        size: how many slots there may be.
        sink: where slots report.
        queue: ordinary tasks.
        waiting: every task that no slot has, by id.
        behind: those of them that wait for another task, by the id of that one.
        values: the value of the other task, by the id of the one that was behind it.
        specials: tasks that ask for more than one core, for memory or for GPUs, in order.
        idle: slots that wait for work.
        changes: counts what may make a special task admissible.
        looking: one entry for each slot that is about to look into the queue by itself.
            It need not be woken, which would cost more than a short task does.
        ahead: what workers have that they have not begun.
        crews: the threads that run commands; none before the first command.
        closing: no further task is taken; slots leave when nothing waits.
    """

    def __init__(
        self,
        resources: MachineResources,
        sink: ReportSink,
        make_slot: Callable[[Slots, int], Slot],
        *,
        name: str = "concurrent",
    ) -> None:
        self.sink = sink
        self.queue = TaskQueue()
        self.waiting: dict[TaskId, TaskRequest] = {}
        self.behind: dict[TaskId, TaskRequest] = {}
        self.values: dict[TaskId, Any] = {}
        self.specials: list[TaskRequest] = []
        self.changes = 0
        self.looking: list[None] = []
        self.closing = False
        self._name = name
        self._resources = resources
        self._make_slot = make_slot
        self.size = resources.slots
        self._mutex = threading.Lock()
        self._slots: list[Slot] = []
        self._retired: list[Slot] = []
        self._spare = 0  # slots that were started in the place of others that are stuck
        self._numbers = count(1)
        self._full_until = 0.0  # no slot is started before, because the system had no room
        self.idle: list[Sleeper] = []
        self.ahead = Ahead(resources.slots)
        self.crews: list[Crew] = []
        self._crew_threads: list[threading.Thread] = []
        self._assembled = False  # whether crews were started, which the first command does
        self._reserved: list[Sleeper] = []
        self._serving = 0  # slots that services have
        self._admitted: dict[TaskId, Admission] = {}  # the special tasks that run
        self._held_up: set[TaskId] = set()  # the tasks that were said to wait for such slots
        self._running = 0  # threads that have not ended
        self._ended = threading.Event()
        self._ended.set()
        atexit.register(self._at_exit)

    def backlog(self) -> float:
        """Return how many tasks of the queue there are for each slot."""
        return len(self.queue) / self.size

    # ------------------------------------------------ from the backend's side

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        """Take the tasks; called from one thread at a time.

        Raises:
            RuntimeError: not even one thread can be started; no task was taken.
        """
        if len(self._slots) < self.size + self._spare and len(self.idle) < len(batch):
            self._start(sum(not request.dependencies for request in batch))
        waiting = self.waiting
        ready = 0
        groups: dict[Order, list[TaskRequest]] = {}
        spec: TaskSpec | None = None
        depth = 0
        for request in batch:
            waiting[request.task_id] = request
            if request.dependencies:
                self.behind[request.dependencies[0]] = request
                continue
            ready += 1
            if request.spec is not spec or request.depth != depth:
                spec, depth = request.spec, request.depth
                group = groups.setdefault(order_of(request), [])
                special = _is_special(spec)
            if special:
                self._add_special(request)
            else:
                group.append(request)
        ordinary = [group for group in groups.values() if group]
        for group in ordinary:
            self.queue.extend(order_of(group[0]), group)
        if self.ahead and ordinary:
            self.ahead.make_way(max(group[0].spec.priority for group in ordinary))
        if ordinary and ordinary[0][0].spec.kind is _EXECUTABLE and self._assemble():
            count = sum(map(len, ordinary))
            self.call_crew(count)
            ready -= count
        # Every slot that takes a task and leaves another wakes the next slot, as crews do.
        self.wake(ready - len(self.looking))

    def cancel(self, task_ids: Collection[TaskId]) -> bool:
        """Report those that wait as CANCELLED, and stop those that run.

        Returns:
            Whether a function was asked to stop that nobody can stop: see `relieve`.
        """
        gone: list[AnyReport] = []
        rest: set[TaskId] = set()
        for task_id in task_ids:
            request = self.waiting.pop(task_id, None)
            if request is None:
                rest.add(task_id)
                continue
            gone.append(Report(task_id, request.attempt, _CANCELLED))
            for number in request.dependencies:
                self.behind.pop(number, None)
            gone += self.withdraw(task_id)
        for slot in tuple(self._slots) if rest else ():
            gone += slot.cancel(rest)
        if gone:
            self.sink.report(gone)
            self.ahead.taken(report[0] for report in gone)
        if gone and not self.waiting:
            self._sweep()
        if self.specials:
            self._stir()
        return bool(rest) and any(slot.stuck_on(rest) for slot in tuple(self._slots))

    def waits(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, Wait]:
        """Return what those of the tasks wait for that have not begun."""
        from .waits import Scene, waits_in  # here, because most programs never ask

        slots = tuple(self._slots)
        running = sorted(task_id for slot in slots for task_id in slot.runs())
        held = {task_id for slot in slots for task_id in slot.holds()}
        with self._mutex:
            specials = [each for each in self.specials if self.waiting.get(each.task_id) is each]
            scene = Scene(
                self._name,
                self.size,
                running,
                held.difference(running),
                tuple(self._admitted.values()),
                specials,
                self.queue,
                self.waiting,
            )
            return waits_in(scene, self._resources, task_ids)

    def written(self, task_ids: Collection[TaskId]) -> dict[TaskId, Written]:
        """Return what those of the tasks have written so far that are commands and run."""
        found = dict(filter(None, [slot.written() for slot in tuple(self._slots)]))
        return {task_id: found[task_id] for task_id in task_ids if task_id in found}

    def relieve(self, task_ids: Collection[TaskId]) -> None:
        """Start another slot for each one whose function runs on though it was cancelled.

        There are at most twice as many as there should be; each that was relieved leaves
        when its function returns.
        """
        for slot in tuple(self._slots):
            job = slot.stuck_on(task_ids)
            if job is None or self.closing:
                continue
            with self._mutex:
                replaced = self._spare < self.size
                if replaced:
                    slot.relieve()
                    self._spare += 1
            _log.warning(
                "task %r (#%d) runs on though it was cancelled, because a thread cannot be "
                "stopped; %s",
                *(job.name, job.task_id),
                "another thread takes its place" if replaced else "no other task has its place",
            )
            if replaced:
                self._start(len(self.idle) + 1)

    def close(self, *, cancel: bool) -> None:
        """Take nothing more and let the slots leave, without waiting for them."""
        self.closing = True
        if cancel:
            running = {task_id for slot in tuple(self._slots) for task_id in slot.holds()}
            self.cancel([*self.waiting, *running])
        self._stir()
        for crew in tuple(self.crews):
            crew.ring()

    def wait(self, patience: float | None) -> None:
        """Wait until all slots have left; abandon them after *patience* seconds.

        A thread cannot be ended from outside.  One whose function does not return stays
        as a daemon, and its task is reported CANCELLED.
        """
        deadline = None if patience is None else time.monotonic() + patience
        self._ended.wait(patience)
        for thread in self._crew_threads:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            thread.join(1.0 if self._ended.is_set() else left)
        for slot in (*self._slots, *self._retired):
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            slot.thread.join(1.0 if self._ended.is_set() else left)
            if slot.thread.is_alive():
                self._abandon(slot)
        self._resources.warm.close()
        self._resources.ranks.close()
        self._ended.set()  # a wait without a limit need not last for the abandoned
        atexit.unregister(self._at_exit)

    def _abandon(self, slot: Slot) -> None:
        held = slot.abandon()
        for context in held:
            _log.warning(
                "task %r (#%d) does not return; its thread %s is left behind",
                *(context.name, context.task_id, slot.name),
            )
        self.sink.report([Report(job.task_id, job.attempt, _CANCELLED) for job in held])

    def _at_exit(self) -> None:
        """Finish what a program submitted that did not shut down, unless it failed."""
        failed = getattr(sys, "last_type", None) is not None
        self.close(cancel=failed)
        self.wait(2 * max((slot.grace for slot in self._slots), default=0.0) if failed else None)

    # --------------------------------------------------- from the slots' side

    def withdraw(self, task_id: TaskId) -> list[Report]:
        """Give up the tasks behind one that will not be done; return their reports."""
        gone: list[Report] = []
        while (request := self.behind.pop(task_id, None)) is not None:
            task_id = request.task_id
            if self.waiting.pop(task_id, None) is request:
                gone.append(Report(task_id, request.attempt, _CANCELLED))
        return gone

    def follow(self, request: TaskRequest, value: Any) -> TaskRequest | None:
        """Give *request* its *value*; return it if it is the next that this slot runs."""
        self.values[request.task_id] = value
        if self.queue.ordered or self.specials:
            place = place_of(request)
            heads = (self.queue.head(), next(iter(self.specials), None))
            if any(head is not None and place_of(head) < place for head in heads):
                self.queue.put(request)
                return None
        return request

    def requeue(self, requests: Iterable[TaskRequest]) -> None:
        """Put back, at the front, tasks that were taken and have not begun."""
        back = list(requests)
        self.waiting.update((request.task_id, request) for request in back)
        self.queue.put_back(request for request in back if not _is_special(request.spec))
        for request in back:
            if _is_special(request.spec):
                self._add_special(request)
        self.wake(len(back))

    def park(self, slot: Sleeper, seen: int) -> bool:
        """Wait for work; return False if the slot is to leave.

        *seen* is what `changes` was before the slot last looked for a special task.
        """
        self.idle.append(slot)
        slot.has_looked()
        if (
            self.queue
            or self.closing
            or seen != self.changes
            or (self.specials and self._turn_has_come())
            or (self.ahead and self.ahead.take_back())
        ):
            # A thread that adds work looks at the idle slots afterwards.  So either it
            # sees this slot there, or this slot sees the work here.
            try:
                self.idle.remove(slot)
            except ValueError:
                slot.wake.acquire()  # it was woken already
            # A task behind another is left to the slot that runs the other.
            return not self.closing or bool(self.queue or self.specials)
        slot.wake.acquire()
        return True

    def wake(self, count: int) -> None:
        """Have *count* slots look for work: the idle ones, and then those that want more."""
        idle = self.idle
        while count > 0:
            try:
                slot = idle.pop()
            except IndexError:
                self.ahead.nudge(count)
                return
            slot.wake.release()
            count -= 1

    def retire(self, slot: Sleeper) -> bool:
        """Let *slot* leave for good; return False if it is the last one, which has to stay."""
        with self._mutex:
            if len(self._slots) <= 1:
                return False
            self._remove(slot)
            self._note_no_room("worker processes")
            self.changes += 1  # a wide task may have waited for it
        return True

    def dismiss(self, slot: Sleeper) -> None:
        """Let *slot* leave for good, because another one has taken its place."""
        with self._mutex:
            self._remove(slot)
            self._spare -= 1

    def _remove(self, slot: Sleeper) -> None:
        own = next(other for other in self._slots if other is slot)
        self._slots.remove(own)
        self._retired = [other for other in self._retired if other.thread.is_alive()]
        self._retired.append(own)

    def _note_no_room(self, what: str) -> None:
        now = time.monotonic()
        if now >= self._full_until:
            _log.warning("the system has no room for more than %d %s", len(self._slots), what)
        self._full_until = now + _FULL_S

    def left(self) -> None:
        """Note that the thread of a slot or a crew is about to end."""
        with self._mutex:
            self._running -= 1
            if not self._running:
                self._ended.set()
        self._stir()

    def admit(self, slot: Sleeper) -> Admission | None:
        """Return a special task for *slot* to run now, or None.

        If a task needs several slots, *slot* may have to stand still for it first.
        """
        with self._mutex:
            request = self._next_special()
            if request is not None:
                # All that there are, if the system has no room for as many as there should be.
                needed = min(request.spec.resources.total_cores, len(self._slots)) - 1
                while len(self._reserved) < needed:
                    try:
                        self._reserved.append(self.idle.pop())
                    except IndexError:
                        break
                if len(self._reserved) >= needed:
                    self.specials.remove(request)
                    spec = request.spec
                    for_worker = spec.kind is TaskKind.FUNCTION
                    gpus = self._resources.take(spec.resources, for_worker=for_worker)
                    lent, self._reserved = self._reserved[:needed], self._reserved[needed:]
                    admission = Admission(request, gpus, lent)
                    self._admitted[request.task_id] = admission
                    if spec.service:
                        self._note_service(spec)
                else:
                    slot.has_looked()
                    self._reserved.append(slot)
                    admission = None
            if request is None:
                free, self._reserved = self._reserved, []
        if request is None:
            for other in free:
                other.wake.release()
            return None
        if admission is None:
            slot.wake.acquire()
        elif self.specials:
            self.wake(1)
        return admission

    def _turn_has_come(self) -> bool:
        """Return whether a special task could be admitted now.

        An ordinary task that went before it may have been taken since a slot looked.
        """
        with self._mutex:
            return self._next_special() is not None

    def _next_special(self) -> TaskRequest | None:
        """Return the first one whose memory and GPUs are free, if its turn has come."""
        head = self.queue.head()
        self.specials = [
            request for request in self.specials if self.waiting.get(request.task_id) is request
        ]
        scarce: set[str] = set()
        for request in self.specials:
            asked = request.spec.resources
            wants = {name for name in ("memory", "gpus") if getattr(asked, name)}
            if self._serving and asked.total_cores > self.size - self._serving:
                self._warn_no_slots(request)
            elif wants & scarce or not self._resources.fits(asked):
                scarce |= wants
            else:
                return request if head is None or place_of(request) < place_of(head) else None
        return None

    def release(self, admission: Admission) -> None:
        """Give back what a special task had, now that it has ended."""
        with self._mutex:
            spec = admission.request.spec
            self._admitted.pop(admission.request.task_id, None)
            self._resources.give_back(spec.resources, admission.gpus)
            if spec.service:
                self._serving -= spec.resources.total_cores
            self.changes += 1
        for slot in admission.lent:
            slot.wake.release()

    # -------------------------------------------------------------- services

    def _note_service(self, spec: TaskSpec) -> None:
        """Count the slots of a service that begins, and warn if no other slot is left."""
        self._serving += spec.resources.total_cores
        if self._serving >= self.size:
            _log.warning(
                "services have all %d slots of backend %r, the latest one is %r: no other task "
                "runs until one of them is stopped; give the backend more max_workers",
                *(self.size, self._name, spec.name),
            )

    def _warn_no_slots(self, request: TaskRequest) -> None:
        """Warn, once, of a task that cannot run until a service is stopped."""
        if request.task_id not in self._held_up:
            self._held_up.add(request.task_id)
            _log.warning(
                "task %r (#%d) waits until services are stopped, which have %d of the %d slots "
                "of backend %r; it asks for %d",
                *(request.spec.name, request.task_id, self._serving, self.size, self._name),
                request.spec.resources.total_cores,
            )

    # -------------------------------------------------------------- commands

    def leave_to_crew(self, slot: Sleeper, request: TaskRequest) -> bool:
        """Leave a command to a crew, and wait as `park` does; return False if there is none."""
        if self.closing or not self.crews:
            return False
        self.queue.put_back((request,))
        self.idle.append(slot)
        slot.has_looked()
        self.call_crew()
        if self.closing or not self.crews:
            # The crews may be gone.
            try:
                self.idle.remove(slot)
            except ValueError:
                pass  # one has taken it
            else:
                return True
        slot.wake.acquire()
        return True

    def call_crew(self, count: int = 1) -> None:
        """Have crews look for *count* commands, first the one that has the most room."""
        crews = self.crews
        for crew in sorted(crews, key=lambda crew: -crew.room)[:count]:
            crew.ring()

    def next_is_command(self) -> bool:
        """Tell whether the next task of the queue is a command."""
        head = self.queue.head()
        return head is not None and head.spec.kind is _EXECUTABLE

    def take_command(self) -> TaskRequest | None:
        """Take the next task of the queue if it is a command."""
        try:
            request = self.queue.take()
        except IndexError:
            return None
        if request.spec.kind is _EXECUTABLE:
            return request
        self.queue.put_back((request,))
        self.wake(1)
        return None

    def borrow(self) -> Sleeper | None:
        """Return a slot that waits for work, for a crew; None if none does."""
        try:
            return self.idle.pop()
        except IndexError:
            return None

    def give_back(self, slot: Sleeper) -> None:
        """Let a slot that a crew had wait for work again, or look for it at once."""
        if not (self.closing or self.specials):
            self.idle.append(slot)
            # As in `park`; a command is left to the crew, which looks once more.
            if self.closing or self.specials or (self.queue and not self.next_is_command()):
                self.wake(1)
        else:
            slot.wake.release()

    def disband(self, crew: Crew) -> None:
        """Forget a crew that takes nothing more."""
        with self._mutex:
            self.crews.remove(crew)

    def _assemble(self) -> bool:
        """Make sure that there are crews, if the system can have them."""
        if not self._assembled:
            self._assembled = True
            number = min(CREWS, self.size)
            for count in range(1, number + 1):
                self._start_crew(f"{self._name}-crew-{count}", math.ceil(self.size / number))
        return bool(self.crews)

    def _start_crew(self, name: str, most: int) -> None:
        try:
            crew = Crew(self, name, most)
        except OSError as exc:
            _log.debug("no crew for commands: %s", exc)
            return
        with self._mutex:
            self._running += 1
            self._ended.clear()
            self.crews.append(crew)
        try:
            crew.thread.start()
        except RuntimeError as exc:
            _log.debug("no crew for commands: %s", exc)
            self.disband(crew)
            crew.close()
            self.left()
        else:
            self._crew_threads.append(crew.thread)

    # ------------------------------------------------------------------ inner

    def _add_special(self, request: TaskRequest) -> None:
        if len(self._slots) < self.size + self._spare:
            # As many as all of those take that wait, because some may be idle only for now.
            wanted = sum(item.spec.resources.total_cores for item in (*self.specials, request))
            self._start(wanted)
        with self._mutex:
            if request not in self.specials:
                self.specials.append(request)
            self.specials.sort(key=place_of)
            self.changes += 1

    def _sweep(self) -> None:
        """Drop from the queue what was cancelled."""
        queue = self.queue
        for _ in range(len(queue)):
            try:
                request = queue.take()
            except IndexError:
                return
            if self.waiting.get(request.task_id) is request:
                # It came there meanwhile.
                queue.put(request)
                self.wake(1)
            elif request.dependencies:
                self.values.pop(request.task_id, None)

    def _start(self, wanted: int) -> None:
        """Start threads, so that *wanted* are free or all are there."""
        with self._mutex:
            room = self.size + self._spare - len(self._slots)
            missing = min(wanted - len(self.idle), room)
            if self._slots and missing > 0 and time.monotonic() < self._full_until:
                return
            for _ in range(missing):
                slot = self._make_slot(self, next(self._numbers))
                self._running += 1
                self._ended.clear()
                try:
                    slot.thread.start()
                except RuntimeError:
                    self._running -= 1
                    if not self._running:
                        self._ended.set()
                    if not self._slots:
                        raise
                    self._note_no_room("worker threads")
                    return
                self._slots.append(slot)

    def _stir(self) -> None:
        """Have every slot that stands still look again."""
        with self._mutex:
            self.changes += 1
            free, self._reserved = self._reserved, []
        for slot in free:
            slot.wake.release()
        self.wake(self.size)


def _is_special(spec: TaskSpec) -> bool:
    """Tell whether a task of *spec* has to be admitted."""
    return spec.service or spec.resources != DEFAULT_RESOURCES
