"""The cores of slots that are bound to cores: which slot has which."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Sequence

from radical.asyncflow.worker import bind

__all__ = ["CorePlaces", "settle"]

_log = logging.getLogger("radical.asyncflow.concurrent")


class CorePlaces:
    """The cores in their order, and how many slots each has; safe across threads.

    Attributes:
        order: the numbers of all cores.
    """

    def __init__(self, order: Sequence[int]) -> None:
        self.order = tuple(order)
        self._slots = dict.fromkeys(order, 0)
        self._lock = threading.Lock()

    def take(self) -> int:
        """Take the first of the cores that have the fewest slots."""
        with self._lock:
            core = min(self.order, key=self._slots.__getitem__)
            self._slots[core] += 1
            return core

    def give_back(self, core: int) -> None:
        """Undo `take`."""
        with self._lock:
            self._slots[core] -= 1


def settle(cores: Collection[int], pid: int = 0) -> None:
    """Bind as `bind` does, but go on with a warning if the system refuses."""
    try:
        bind(cores, pid)
    except OSError as error:
        _log.warning("a worker could not be bound to cores %s: %s", sorted(cores), error)
