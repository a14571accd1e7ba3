"""A task whose ranks run on several nodes of a block, from its first node to its outcome.

Each node has a share, which occupies there what its ranks need.  The launcher runs on the first
node, as soon as the others have told that they are ready.  The shares end together, and the task
has ended when the last of them has.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path

from radical.asyncflow.backend import AnyReport, Resources, TaskKind, TaskSpec
from radical.asyncflow.worker import RankNode, file_stem

from .._wire.messages import Share
from .nodes import Node
from .packing import PackedTask

__all__ = ["Spread", "best_group", "choose_nodes", "groups_of", "reach"]


class Spread:
    """A task on several nodes.

    Attributes:
        task: that task.
        ranks: how many run on each node, that of the launcher first.
        members: the nodes that have their share, or may have it.
        is_launched: the node of the launcher was told to start it.
        is_ending: the shares were told to end.
        is_cancelled: because of a cancellation.
        is_lost: because a node is gone; somebody finds out why.
        outcome: the report of the task, once it is known; None if a node takes no more, because
            then the task has not begun, and waits again.
    """

    def __init__(self, task: PackedTask, ranks: dict[Node, int], work_dir: str) -> None:
        """Let *task* have some *ranks* on each node; its files lie in *work_dir*."""
        self.task = task
        self.ranks = ranks
        self.members = set(ranks)
        self.is_launched = False
        self.is_ending = False
        self.is_cancelled = False
        self.is_lost = False
        self.outcome: AnyReport | None = None
        self._waits_for = set(ranks) - {self.lead}
        self._ports: dict[Node, int] = {}
        self._secret = secrets.token_hex(16)
        name = f"{file_stem(task.name)}.{secrets.token_hex(6)}.ranks"
        self._folder = str(Path(work_dir, name))

    @property
    def lead(self) -> Node:
        """The node of the launcher."""
        return next(iter(self.ranks))

    @property
    def others(self) -> list[Node]:
        """The other nodes."""
        return list(self.ranks)[1:]

    def is_ready(self, node: Node, address: str) -> bool:
        """Note where the share of *node* is reached; return whether the launcher can start."""
        self._ports[node] = int(address.rpartition(":")[2])
        self._waits_for.discard(node)
        return not self._waits_for and not self.is_ending

    def share(self, node: Node) -> Share:
        """Return what *node* is to be told."""
        first = 0
        for other, count in self.ranks.items():
            if other is node:
                break
            first += count
        nodes: list[RankNode] = []
        if node is self.lead:
            nodes = [
                RankNode(facts.host, facts.name, count, (facts.address,), self._ports.get(other, 0))
                for other, count in self.ranks.items()
                for facts in (other.facts,)
            ]
        task = self.task
        return Share(
            *(task.task_id, task.attempt, task.depth, task.body),
            *(self.ranks[node], first, sum(self.ranks.values())),
            *(self._folder, self._secret, tuple(nodes)),
        )


def reach(spec: TaskSpec) -> str:
    """Return why a task cannot have several nodes, in words; "" if it can."""
    if spec.service:
        return "a service runs on one node"
    if spec.kind is TaskKind.EXECUTABLE:
        return ""
    return (
        "a function with ranks runs on one node here; ask for fewer ranks, write it as a command, "
        "whose ranks may be on several nodes, or use the backend radical_pilot"
    )


def groups_of(nodes: Iterable[Node]) -> list[list[Node]]:
    """Return the nodes of each block, as far as they are machines of their own."""
    groups: dict[str, dict[str, Node]] = {}
    for node in nodes:
        groups.setdefault(node.facts.block, {}).setdefault(node.facts.host, node)
    return [list(group.values()) for group in groups.values()]


def choose_nodes(group: Iterable[Node], resources: Resources) -> dict[Node, int] | None:
    """Return how many ranks to start on each node of a block; None if there is no room.

    These are the fewest nodes that will do: those that have room for most.
    """
    room = {node: node.free_ranks(resources) for node in group}
    chosen: dict[Node, int] = {}
    left = resources.ranks
    for node in sorted(room, key=lambda node: (-room[node], node.facts.host)):
        if not left or not room[node]:
            break
        chosen[node] = min(left, room[node])
        left -= chosen[node]
    return None if left else chosen


def best_group(nodes: Iterable[Node], resources: Resources) -> list[Node]:
    """Return the nodes that a task may wait for: of one block, those with the least to do.

    There are none if no block has as many as it needs.
    """
    found: list[list[Node]] = []
    for group in groups_of(nodes):
        chosen: list[Node] = []
        left = resources.ranks
        for node in sorted(group, key=lambda node: node.used_slots / node.facts.slots):
            most = node.size.most_ranks(resources, node.cores_each)
            if left > 0 and most:
                chosen.append(node)
                left -= most
        if left <= 0:
            found.append(chosen)
    return min(found, key=lambda chosen: sum(node.used_slots for node in chosen), default=[])
