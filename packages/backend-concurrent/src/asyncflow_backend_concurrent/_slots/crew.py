"""Crews: threads that run commands, each command on the seat of a slot that stands still for it.

A thread of its own for each command is too many: see `radical.asyncflow.worker.Attendant`.
A command that needs one after all goes on in the thread of its slot.
"""

from __future__ import annotations

import threading
import time

from radical.asyncflow.worker import Attendant, Execution

from .seats import Seats, Sleeper

__all__ = ["CREWS", "Crew"]

CREWS = 2
"""The number of crews of a backend, because a start holds up all that its thread does."""

_SLOW_START_S = 0.02  # as some file systems take; this should not hold up other commands
_WEIGHT = 0.2  # of the latest start in the average
_AFTER_SLOW_STARTS = 50  # commands that start in threads of their own then


class Crew:
    """A thread that runs up to *most* commands at once.

    Attributes:
        members: the commands that it runs, with their slots.
    """

    def __init__(self, slots: Seats, name: str, most: int) -> None:
        """Make a crew; start its thread with ``crew.thread.start()``.

        Raises:
            OSError: this system cannot do that, or has no descriptors left.
        """
        self.members: dict[Execution, Sleeper] = {}
        self.thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._slots = slots
        self._most = most
        self._attendant = Attendant()
        self._free: list[Sleeper] = []
        self._start_s = 0.0  # average of the latest starts
        self._elsewhere = 0  # further commands that start in threads of their own
        self._lock = threading.Lock()
        self._closed = False

    @property
    def room(self) -> int:
        """The number of further commands that it could run."""
        return self._most - len(self.members)

    def ring(self) -> None:
        """Have it look for commands; from any thread."""
        with self._lock:
            if not self._closed:
                self._attendant.ring()

    def close(self) -> None:
        """Close what the thread needs, when it has ended or was never started."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._attendant.close()

    # ----------------------------------------------------- in the own thread

    def _main(self) -> None:
        slots, members = self._slots, self.members
        try:
            while True:
                self._fill()
                if slots.closing and not members:
                    return
                for execution, step, blocks in self._attendant.attend():
                    slot = members.pop(execution)
                    if blocks:
                        slot.go_on(execution, step)
                    else:
                        slot.conclude(execution, step)
                        self._free.append(slot)
        finally:
            slots.disband(self)
            for execution, step, _ in self._attendant.release():
                members.pop(execution).go_on(execution, step)
            self._dismiss()
            self.close()
            slots.left()

    def _fill(self) -> None:
        """Begin with as many commands as there is room and there are slots for."""
        slots = self._slots
        while True:
            if slots.specials:
                self._dismiss()  # one of those may want these slots
            while len(self.members) < self._most and slots.next_is_command():
                slot = self._free.pop() if self._free else slots.borrow()
                if slot is None:
                    break
                request = slots.take_command()
                execution = None if request is None else slot.prepare(request)
                if execution is None:
                    self._free.append(slot)
                else:
                    self._begin(execution, slot)
            self._dismiss()
            if not slots.next_is_command():
                if slots.queue:
                    slots.wake(1)
                return
            if not slots.idle:
                return
            if len(self.members) >= self._most:
                slots.call_crew()
                return

    def _begin(self, execution: Execution, slot: Sleeper) -> None:
        if self._elsewhere:
            self._elsewhere -= 1
            slot.go_on(execution, execution.run)
            return
        self.members[execution] = slot
        began = time.monotonic()
        self._attendant.begin(execution)
        self._start_s += _WEIGHT * (time.monotonic() - began - self._start_s)
        if self._start_s > _SLOW_START_S:
            self._elsewhere = _AFTER_SLOW_STARTS
            self._start_s = 0.0

    def _dismiss(self) -> None:
        """Give back the slots that run nothing."""
        while self._free:
            self._slots.give_back(self._free.pop())
