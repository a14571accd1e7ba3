"""A node as the program sees it: what it has, and what it was given."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from radical.asyncflow.backend import Resources
from radical.asyncflow.model import DEFAULT_RESOURCES

from .._wire.messages import NodeFacts
from .packing import PackedTask

__all__ = ["Node", "NodeSize", "Sent", "ranks_in", "slots_of"]

_AHEAD_S = 0.03  # of work that a node has beyond what it runs, so that it never waits for more
_MOST_AHEAD = 500  # tasks for each slot
_ROUNDING = 1e-6  # parts of GPUs are added and subtracted
_LONG_S = 1.0  # a task that takes longer waits in the program, and is not lost with a node


class NodeSize(NamedTuple):
    """The size of a node, as far as it matters to tasks."""

    slots: int
    gpus: int
    memory: int

    def lacks(self, resources: Resources, cores_each: int) -> str:
        """Return what a task asks for that such a node never has, in words; "" if nothing."""
        ranks = resources.ranks
        lacking = []
        if slots_of(resources, cores_each) > self.slots:
            cores, has = resources.cores * ranks, self.slots * cores_each
            lacking.append(f"{cores} cores, and it has {has}")
        if (gpus := resources.gpus * ranks) > self.gpus:
            lacking.append(f"{gpus:g} GPUs, and it has {self.gpus}")
        if (memory := resources.memory * ranks) > self.memory:
            lacking.append(f"{memory} bytes of memory, and it has {self.memory}")
        return "; ".join(lacking)

    def most_ranks(self, resources: Resources, cores_each: int) -> int:
        """Return how many of the ranks of a task such a node has room for, if it is idle."""
        return ranks_in(resources, self.slots, self.gpus, self.memory, cores_each)


def ranks_in(resources: Resources, slots: int, gpus: float, memory: int, cores_each: int) -> int:
    """Return how many of the ranks of a task fit into so much, at most all."""
    fits = [resources.ranks, slots // math.ceil(resources.cores / cores_each)]
    if resources.gpus:
        fits.append(math.floor(gpus / resources.gpus + _ROUNDING))
    if resources.memory:
        fits.append(memory // resources.memory)
    return max(0, min(fits))


def slots_of(resources: Resources, cores_each: int) -> int:
    """Return how many slots a task takes."""
    return math.ceil(resources.cores / cores_each) * resources.ranks


@dataclass(eq=False, slots=True)
class Sent:
    """A task that a node has.

    Attributes:
        waits: the node had no free slot for it, or it waits for another task there.
        has_begun: the node has said so.
        is_cancelled: the node was told to cancel it.
        began: when it began, by the clock of the node; 0.0 before.
        is_share: it is a part of a task on several nodes.
    """

    task: PackedTask
    slots: int
    gpus: float
    memory: int
    waits: bool = False
    has_begun: bool = False
    is_cancelled: bool = False
    began: float = 0.0
    is_share: bool = False


@dataclass(eq=False, slots=True)
class Node:
    """A node that has connected.

    Attributes:
        block: the number of its block; None until that is known.
        is_ready: it takes tasks.
        is_leaving: it gets no more.
        is_retired: the program itself has told it to end.
        known: numbers of specs that it was sent.
        service_slots: those of its slots that services have, until they are stopped.
        expected: the number of the next message from it.
        told: the signal by which something else tells it to end, or "".
    """

    peer: bytes
    facts: NodeFacts
    cores_each: int
    block: int | None = None
    is_ready: bool = False
    is_leaving: bool = False
    is_retired: bool = False
    told: str = ""
    expected: int = 1
    sent: dict[int, Sent] = field(default_factory=dict)
    known: set[int] = field(default_factory=set)
    used_slots: int = 0
    service_slots: int = 0
    used_gpus: float = 0.0
    used_memory: int = 0

    @property
    def name(self) -> str:
        """The host, and the process."""
        return f"{self.facts.host}:{self.facts.pid}"

    @property
    def takes_tasks(self) -> bool:
        """True if it may be given tasks."""
        return self.is_ready and not self.is_leaving

    @property
    def size(self) -> NodeSize:
        """The size of it."""
        return NodeSize(self.facts.slots, self.facts.gpus, self.facts.memory)

    def could_run(self, resources: Resources) -> bool:
        """Tell whether the node has what a task asks for, if nothing else runs."""
        return not self.size.lacks(resources, self.cores_each)

    def has_room(self, resources: Resources) -> bool:
        """Tell whether a task could begin now."""
        facts = self.facts
        return (
            self.used_slots + slots_of(resources, self.cores_each) <= facts.slots
            and self.used_gpus + resources.gpus * resources.ranks <= facts.gpus
            and self.used_memory + resources.memory * resources.ranks <= facts.memory
        )

    def free_ranks(self, resources: Resources) -> int:
        """Return how many of the ranks of a task could begin now."""
        facts = self.facts
        return ranks_in(
            resources,
            facts.slots - self.used_slots,
            facts.gpus - self.used_gpus,
            facts.memory - self.used_memory,
            self.cores_each,
        )

    def room(self, seconds: float | None) -> int:
        """Return how many more tasks of one slot, that take some *seconds*, it may be given."""
        ahead = 0.0
        if seconds is not None and seconds <= _LONG_S:
            ahead = min(_AHEAD_S / max(seconds, 1e-6), _MOST_AHEAD)
        # Nothing may wait behind services, which do not end.
        slots = self.facts.slots - self.service_slots
        return slots + math.ceil(slots * ahead) - (self.used_slots - self.service_slots)

    def give(self, task: PackedTask) -> None:
        """Note that it was given *task*."""
        asked = task.packed.resources
        is_service = task.packed.spec.service
        if asked == DEFAULT_RESOURCES:
            # What waits for the value of another one on the same node needs no slot of its own.
            sent = Sent(task, 1 if is_service or not task.dependencies else 0, 0.0, 0)
        else:
            sent = Sent(
                task,
                slots_of(asked, self.cores_each),
                float(asked.gpus * asked.ranks),
                asked.memory * asked.ranks,
            )
        self._add(sent)

    def give_share(self, task: PackedTask, ranks: int) -> None:
        """Note that it was given some *ranks* of *task*."""
        asked = task.packed.resources
        slots = slots_of(asked, self.cores_each) // asked.ranks * ranks
        gpus, memory = float(asked.gpus * ranks), asked.memory * ranks
        self._add(Sent(task, slots, gpus, memory, is_share=True))

    def _add(self, sent: Sent) -> None:
        if sent.gpus or sent.memory:
            self.used_gpus += sent.gpus
            self.used_memory += sent.memory
        self.used_slots += sent.slots
        sent.waits = bool(sent.task.dependencies) or self.used_slots > self.facts.slots
        if sent.task.packed.spec.service:
            self.service_slots += sent.slots
        self.sent[sent.task.task_id] = sent

    def take_back(self, task_id: int, attempt: int) -> Sent | None:
        """Return the task, which the node has no more; None if it never had it."""
        sent = self.sent.get(task_id)
        if sent is None or sent.task.attempt != attempt:
            return None
        del self.sent[task_id]
        self.used_slots -= sent.slots
        if sent.task.packed.spec.service:
            self.service_slots -= sent.slots
        if sent.gpus or sent.memory:
            self.used_gpus -= sent.gpus
            self.used_memory -= sent.memory
        return sent

    def take_all(self) -> Iterator[Sent]:
        """Yield all that it has, and let it have nothing."""
        held = list(self.sent.values())
        self.sent.clear()
        self.used_slots = self.service_slots = self.used_memory = 0
        self.used_gpus = 0.0
        yield from held
