"""The router: it gives each task to a node, and takes in what becomes of it."""

from __future__ import annotations

import heapq
import logging
import math
import pickle
import platform
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any

from radical.asyncflow.backend import (
    AnyReport,
    ReportSink,
    Resources,
    Serving,
    TaskRequest,
    TaskSpec,
    TaskState,
)
from radical.asyncflow.errors import (
    ResourceError,
    SerializationError,
    UnsupportedOptionError,
    WorkerLostError,
)
from radical.asyncflow.model import DEFAULT_RESOURCES
from radical.asyncflow.worker import (
    Clocks,
    MpiLauncher,
    Raised,
    open_answer,
    take_log,
    unsendable,
)

from .._wire.messages import Buffer, Event, Kind, Message, NodeFacts, Setup
from ..version import __version__
from .nodes import Node, NodeSize, Sent, slots_of
from .packing import PackedTask, Packer
from .spread import Spread, best_group, choose_nodes, groups_of, reach
from .tunnels import Tunnels
from .waiting import Line, Unit, Waiting

__all__ = ["Router", "Send"]

Send = Callable[[bytes, Kind, Any, Sequence[Buffer]], None]
LoseNode = Callable[[Node, list[Sent], str], None]

_RUNNING, _DONE = TaskState.RUNNING, TaskState.DONE
_FAILED, _CANCELLED = TaskState.FAILED, TaskState.CANCELLED
_log = logging.getLogger("radical.asyncflow")


class Router:
    """The tasks that wait and run, and the nodes; any thread may call any method.

    Attributes:
        nodes: those that have connected and are not lost, by what the channel calls them.
    """

    def __init__(
        self,
        sink: ReportSink,
        send: Send,
        *,
        setup: Setup,
        cores_each: int,
        expected: NodeSize | None,
        span: int,
        lose_node: LoseNode,
        refuse_node: Callable[[str], None],
        is_expected: Callable[[str], bool],
        changed: Callable[[], None],
        tunnels: Tunnels,
    ) -> None:
        """Know no node yet.

        Args:
            send: sends a message to a node.
            setup: what each node is told.
            cores_each: the cores of a slot.
            expected: what a node will have, if that is known.
            span: how many nodes a block has that are machines of their own.
            lose_node: called with a node that is gone, what it had, and why it is gone.
            refuse_node: called with the reason why a node is of no use.
            is_expected: whether a node of the block with this name may take tasks.
            changed: called when there is more or less to do, or a node more or less.
            tunnels: the connections of the hosts of services.
        """
        self._sink = sink
        self._send = send
        self._setup = setup
        self._cores_each = cores_each
        self._span = span
        self._lose_node = lose_node
        self._refuse_node = refuse_node
        self._is_expected = is_expected
        self._changed = changed
        self._tunnels = tunnels
        self._packer = Packer()
        self._clocks = Clocks()
        self._lock = threading.RLock()
        self._idle = threading.Condition(self._lock)
        self._waiting = Waiting()
        self._node_of: dict[int, Node] = {}
        self._spreads: dict[int, Spread] = {}
        # The attempts of tasks of a lost node, until the reason for its end is known.
        self._detached: dict[int, int] = {}
        self.nodes: dict[bytes, Node] = {}
        self._sizes: set[NodeSize] = set() if expected is None else {expected}

    def lacks(self, resources: Resources) -> str:
        """Return what a task asks for that no block has, in words; "" if nothing is lacking."""
        lacking = self._node_lacks(resources)
        if not lacking or resources.ranks == 1:
            return f"a node for {lacking}" if lacking else ""
        most = max(size.most_ranks(resources, self._cores_each) for size in self._sizes)
        if not most or self._span == 1:
            return f"a node for {lacking}"
        if most * self._span >= resources.ranks:
            return ""
        return (
            f"a block for {resources.ranks} ranks, and the {self._span} nodes of one have room "
            f"for {most} each"
        )

    def spreads(self, resources: Resources) -> bool:
        """Tell whether a task needs several nodes of a block, as far as that is known."""
        return resources.ranks > 1 and self._span > 1 and bool(self._node_lacks(resources))

    def _node_lacks(self, resources: Resources) -> str:
        """Return what a task asks for that no node has, in words."""
        found = [size.lacks(resources, self._cores_each) for size in self._sizes]
        return min(found, key=len) if found and all(found) else ""

    def check(self, spec: TaskSpec, backend: str, launcher: str | None) -> None:
        """Refuse a task that can never run, as far as that is known.

        Raises:
            ResourceError: it asks for more than there ever is.
            UnsupportedOptionError: it needs several nodes, and cannot have them.
        """
        resources = spec.resources
        if lacking := self.lacks(resources):
            raise ResourceError(f"task {spec.name!r} of backend {backend!r} asks {lacking}")
        if not self.spreads(resources):
            return
        if problem := reach(spec) or MpiLauncher.spread_problem(launcher):
            raise UnsupportedOptionError(
                f"task {spec.name!r} of backend {backend!r} asks a node for "
                f"{self._node_lacks(resources)}: {problem}"
            )

    def _refusal(self, task: PackedTask) -> AnyReport | None:
        """Return the report of a task that can never run; None if it can."""
        resources = task.packed.resources
        if resources == DEFAULT_RESOURCES:
            return None
        if lacking := self.lacks(resources):
            error = ResourceError(f"task {task.name!r} asks {lacking}")
        elif self.spreads(resources) and (problem := reach(task.packed.spec)):
            lacking = self._node_lacks(resources)
            error = ResourceError(f"task {task.name!r} asks a node for {lacking}: {problem}")
        else:
            return None
        return (task.task_id, task.attempt, _FAILED, error, None)

    # ---------------------------------------------------------- for the backend

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        """Take tasks."""
        failed: list[AnyReport] = []
        units: dict[int, Unit] = {}
        with self._lock:
            for request in batch:
                try:
                    task = self._packer.pack(request)
                except SerializationError as error:
                    failed.append((request.task_id, request.attempt, _FAILED, error, None))
                    continue
                if task.packed.resources is not DEFAULT_RESOURCES:
                    refusal = self._refusal(task)
                    if refusal is not None:
                        failed.append(refusal)
                        continue
                self._waiting.add(task, units)
            self._pump()
        if failed:
            self._sink.report(failed)
        self._changed()

    def cancel(self, task_ids: Collection[int]) -> None:
        """Report those that wait as CANCELLED, and have nodes end those that they have."""
        reports: list[AnyReport] = []
        with self._lock:
            gone = self._waiting.drop(task_ids)
            reports += [(task.task_id, task.attempt, _CANCELLED, None, None) for task in gone]
            by_node: dict[bytes, list[int]] = {}
            for task_id in task_ids:
                node = self._node_of.get(task_id)
                if node is None:
                    continue
                sent = node.sent.get(task_id)
                if sent is None:
                    continue  # the launcher has ended, and so do the ranks on the other nodes
                if sent.is_share:
                    spread = self._spreads[task_id]
                    spread.is_cancelled = True
                    reports += self._end_spread(spread)
                    continue
                by_node.setdefault(node.peer, []).append(task_id)
                sent.is_cancelled = True
                if sent.waits and not sent.has_begun:
                    # As far as anybody knows, so its end is certain now.  One that found a free
                    # slot has begun, only the news of it may be on its way.
                    node.take_back(task_id, sent.task.attempt)
                    del self._node_of[task_id]
                    reports.append((task_id, sent.task.attempt, _CANCELLED, None, None))
                    self._forget_host(sent.task)
            for peer, ids in by_node.items():
                self._send(peer, Kind.CANCEL, ids, ())
            self._pump()
            self._idle.notify_all()
        if reports:
            self._sink.report(reports)
            self._changed()

    def cancel_all(self) -> None:
        """Cancel everything that waits or runs."""
        with self._lock:
            self.cancel([*self._waiting, *self._node_of])

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until no task waits or runs, services apart; return whether that is so."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._unfinished(), timeout)

    def _unfinished(self) -> bool:
        if self._waiting or self._detached:
            return True
        return any(
            not sent.task.packed.spec.service
            for node in self.nodes.values()
            for sent in node.sent.values()
        )

    def unsent(self) -> list[int]:
        """Return the ids of the tasks that no node has."""
        with self._lock:
            return list(self._waiting)

    def wide(self, task_ids: Collection[int]) -> dict[int, Resources]:
        """Return what those of the tasks ask for that wait for several nodes."""
        with self._lock:
            asked = {task_id: self._waiting.resources(task_id) for task_id in task_ids}
            return {
                task_id: resources
                for task_id, resources in asked.items()
                if resources is not None and self.spreads(resources)
            }

    def running(self) -> list[int]:
        """Return the ids of the tasks that have begun."""
        with self._lock:
            return [
                task_id
                for node in self.nodes.values()
                for task_id, sent in node.sent.items()
                if sent.has_begun and self._leads(node, sent)
            ]

    def demand(self) -> int:
        """Return how many slots could be used now: those in use, and those that are wanted."""
        with self._lock:
            used = sum(node.used_slots for node in self.nodes.values())
            wanted = sum(
                line.count * self._slots_for(line.resources) for line in self._waiting.lines()
            )
            return used + wanted

    def _slots_for(self, resources: Resources) -> int:
        """Return how many slots a task makes busy, with those that its ranks leave unused."""
        slots = slots_of(resources, self._cores_each)
        if resources.ranks > 1 and self.spreads(resources):
            sizes = [size for size in self._sizes if size.most_ranks(resources, self._cores_each)]
            for size in sizes[:1]:
                most = size.most_ranks(resources, self._cores_each)
                slots = max(slots, math.ceil(resources.ranks * size.slots / most))
        return slots

    def lacks_block(self) -> bool:
        """Tell whether a task waits for several nodes, and no block that is up has as many."""
        with self._lock:
            wide = [line.resources for line in self._waiting.lines() if line.resources.ranks > 1]
            nodes = [node for node in self.nodes.values() if node.takes_tasks]
            return any(
                self.spreads(resources) and not best_group(nodes, resources) for resources in wide
            )

    def take_waiting(self) -> list[PackedTask]:
        """Return all tasks that wait, which then wait no more."""
        with self._lock:
            waiting = self._waiting.drop(list(self._waiting))
            self._idle.notify_all()
            return waiting

    # ----------------------------------------------------------- for the blocks

    def slots(self) -> int:
        """Return the slots of the nodes that take tasks."""
        with self._lock:
            return sum(node.facts.slots for node in self.nodes.values() if node.takes_tasks)

    def retire(self, nodes: Iterable[Node]) -> bool:
        """Let nodes get no more tasks and end; return False if one of them has a task."""
        nodes = list(nodes)
        with self._lock:
            if any(node.sent for node in nodes):
                return False
            for node in nodes:
                node.is_leaving = node.is_retired = True
                self._send(node.peer, Kind.LEAVE, False, ())
            return True

    def drain(self, nodes: Iterable[Node]) -> None:
        """Give nodes no more tasks."""
        with self._lock:
            for node in nodes:
                node.is_leaving = True

    def dismiss_all(self, *, cancel: bool) -> None:
        """Tell all nodes to end."""
        with self._lock:
            for node in self.nodes.values():
                node.is_leaving = node.is_retired = True
                self._send(node.peer, Kind.LEAVE, cancel, ())

    def give_up(self, lost: Iterable[Sent], error: Callable[[Sent], BaseException]) -> None:
        """Report tasks of a lost node: as CANCELLED where that was asked for, else as FAILED."""
        reports: list[AnyReport] = []
        ended: set[int] = set()
        with self._lock:
            for sent in lost:
                task = sent.task
                if self._detached.get(task.task_id) != task.attempt:
                    continue
                del self._detached[task.task_id]
                if sent.is_share:
                    spread = self._spreads[task.task_id]
                    spread.outcome = (task.task_id, task.attempt, _FAILED, error(sent), None)
                    reports += self._settle_spread(spread)
                    continue
                if sent.is_cancelled or ended.intersection(task.dependencies):
                    reports.append((task.task_id, task.attempt, _CANCELLED, None, None))
                else:
                    reports.append((task.task_id, task.attempt, _FAILED, error(sent), None))
                ended.add(task.task_id)
            self._idle.notify_all()
        if reports:
            self._sink.report(reports)
        for sent in lost:
            self._forget_host(sent.task)

    def _forget_host(self, task: PackedTask) -> None:
        """Close the connections of the host of a service, whose end was reported."""
        if task.packed.door is not None:
            self._tunnels.give_up((task.task_id, task.attempt))

    # ---------------------------------------------- in the thread of the channel

    def receive(self, peer: bytes, message: Message) -> None:
        """Take a message of a node."""
        node = self.nodes.get(peer)
        if node is None:
            if message.kind is Kind.HELLO:
                self._welcome(peer, message.content)
            return  # anything else is of a node that was given up
        if message.number != node.expected:
            self.lose(peer, "messages between it and the program were lost")
            return
        node.expected += 1
        match message.kind:
            case Kind.EVENTS:
                clock, now, events = message.content
                self._take_events(node, self._clocks.offset(clock, now), events, message.buffers)
            case Kind.DATA | Kind.TAKEN:
                self._tunnels.receive(peer, message.kind, message.content, message.buffers)
            case Kind.OPEN:
                self._open_tunnel(node, *message.content)
            case Kind.READY:
                self._begin_with(node)
            case Kind.LEAVING:
                with self._lock:
                    node.is_leaving = True
                    node.told = message.content
                self._changed()
            case Kind.LEFT:
                self.lose(peer, "")

    def _welcome(self, peer: bytes, facts: NodeFacts) -> None:
        ours = (platform.python_version(), __version__)
        theirs = tuple(facts.versions)
        if _minor(theirs[0]) != _minor(ours[0]) or theirs[1] != ours[1]:
            self._send(peer, Kind.LEAVE, True, ())
            self._refuse_node(
                f"node {facts.host} has Python {theirs[0]} and asyncflow-backend-parsl "
                f"{theirs[1]}, but this program has {ours[0]} and {ours[1]}: load the same "
                "environment there with worker_init"
            )
            return
        if not self._is_expected(facts.block):
            self._send(peer, Kind.LEAVE, True, ())
            return
        with self._lock:
            self.nodes[peer] = Node(peer, facts, self._cores_each)
        self._send(peer, Kind.SETUP, self._setup, ())
        self._changed()

    def _begin_with(self, node: Node) -> None:
        """Give *node* tasks; fail those for which it, and so every node, is too small."""
        reports: list[AnyReport] = []
        with self._lock:
            node.is_ready = True
            self._sizes = {each.size for each in self.nodes.values()}
            here = (node.facts.block, node.facts.host)
            if sum((each.facts.block, each.facts.host) == here for each in self.nodes.values()) > 1:
                self._span = 1  # the nodes of a block are no machines of their own
            for line in self._waiting.lines():
                if line.resources != DEFAULT_RESOURCES:
                    reports += self._refuse(line)
            self._pump()
            self._idle.notify_all()
        if reports:
            self._sink.report(reports)
        self._changed()

    def _open_tunnel(self, node: Node, number: int, task_id: int, attempt: int) -> None:
        """Go on with a connection of the host of a service to the door of the program."""
        sent = node.sent.get(task_id)
        if sent is None or sent.task.attempt != attempt or sent.task.packed.door is None:
            self._tunnels.refuse(node.peer, number)
        else:
            host = (task_id, attempt)
            self._tunnels.open(node.peer, number, host, sent.task.packed.door)

    def _refuse(self, line: Line) -> list[AnyReport]:
        """Let nobody stand in *line* who can never run; return their reports."""
        tasks = [task for unit in line for task in unit.tasks]
        refused = [report for task in tasks if (report := self._refusal(task)) is not None]
        self._waiting.drop([task_id for task_id, *_ in refused])
        return refused

    def lose(self, peer: bytes, why: str) -> None:
        """Take note that a node is gone."""
        with self._lock:
            node = self.nodes.pop(peer, None)
            if node is None:
                return
            node.is_leaving = True
            reports: list[AnyReport] = []
            lost = []
            for sent in node.take_all():
                if sent.is_share and not self._lose_share(node, sent, reports):
                    continue
                self._node_of.pop(sent.task.task_id, None)
                self._detached[sent.task.task_id] = sent.task.attempt
                lost.append(sent)
            self._pump()
            self._idle.notify_all()
        if reports:
            self._sink.report(reports)
        self._lose_node(node, lost, why)
        self._changed()

    def _take_events(
        self,
        node: Node,
        offset: float,
        events: Sequence[tuple[Any, ...]],
        buffers: Sequence[Buffer],
    ) -> None:
        reports: list[AnyReport] = []
        hosts: list[AnyReport] = []
        back: list[PackedTask] = []
        at = 0
        for event in events:
            kind = event[0]
            if kind == Event.LOG:
                take_log(pickle.loads(event[1]))
                continue
            if kind in _TOLD:
                self._tell(node, kind, *event[1:])
                continue
            _, task_id, attempt, time, *content = event
            moment = time + offset if time else None
            if kind == Event.RUNNING:
                sent = node.sent.get(task_id)
                if sent is not None and sent.task.attempt == attempt:
                    sent.has_begun = True
                    sent.began = time
                    worker = f"{node.facts.host}/{content[0]}"
                    if self._leads(node, sent):
                        reports.append((task_id, attempt, _RUNNING, worker, moment))
                continue
            beside: Sequence[Buffer] = ()
            if kind == Event.ANSWER and content[2]:
                beside = buffers[at : at + content[2]]
                at += content[2]
            with self._lock:
                sent = node.take_back(task_id, attempt)
                if sent is None:
                    continue
                if sent.is_share:
                    found = _outcome(kind, content, beside)
                    spread = self._spreads[task_id]
                    reports += self._end_share(node, spread, kind, (*found, moment))
                    continue
                self._node_of.pop(task_id, None)
            if kind == Event.REFUSED and not sent.is_cancelled:
                back.append(sent.task)
                continue
            code = sent.task.packed.code
            is_host = sent.task.packed.door is not None
            if code is not None and sent.began and time and not is_host:
                code.learn(max(time - sent.began, 0.0))
            state, value = _outcome(kind, content, beside)
            (hosts if is_host else reports).append((task_id, attempt, state, value, moment))
        if reports:
            self._sink.report(reports)
        for report in hosts:  # each after the answers that it has sent
            self._tunnels.end(report[:2], partial(self._sink.report, [report]))
        with self._lock:
            self._waiting.add_first(back)
            self._pump()
            self._idle.notify_all()
        self._changed()

    def _tell(self, node: Node, kind: int, task_id: int, attempt: int, *content: Any) -> None:
        sent = node.sent.get(task_id)
        if sent is None or sent.task.attempt != attempt:
            return
        if not self._leads(node, sent):
            if kind == Event.SERVING:
                self._launch(node, task_id, Serving(*content[0]).info or "")
        elif kind == Event.TRACE:
            self._sink.traced(task_id, attempt, pickle.loads(content[0]))
        elif kind == Event.SERVING:
            self._sink.serving(task_id, attempt, Serving(*content[0]))
        else:
            self._sink.output(task_id, attempt, *content)

    def _pump(self) -> None:
        """Give nodes what they have room for."""
        nodes = [node for node in self.nodes.values() if node.takes_tasks]
        if not nodes or not self._waiting:
            return
        chosen: dict[bytes, list[PackedTask]] = {}
        lines = self._waiting.lines()
        reserved: Collection[Node] = ()  # for the first one that does not fit
        while lines:
            line = lines[0]
            last = lines[1].first() if len(lines) > 1 else None
            if line.resources == DEFAULT_RESOURCES:
                is_stuck = self._give_ordinary(line, last, nodes, reserved, chosen)
            elif self.spreads(line.resources):
                able = [node for node in nodes if node not in reserved]
                is_stuck = self._give_spread(line, last, able)
                if is_stuck and not reserved:
                    reserved = best_group(able, line.resources)
            else:
                able = [node for node in nodes if node not in reserved]
                able = [node for node in able if node.could_run(line.resources)]
                is_stuck = self._give_special(line, last, able, chosen)
                if is_stuck and not reserved and able:
                    reserved = (min(able, key=_load),)
            if is_stuck or line.first() is None:
                lines.pop(0)
            else:
                lines.sort(key=_head)
        for peer, tasks in chosen.items():
            self._send_tasks(self.nodes[peer], tasks)

    def _give_ordinary(
        self,
        line: Line,
        last: Unit | None,
        nodes: list[Node],
        reserved: Collection[Node],
        chosen: dict[bytes, list[PackedTask]],
    ) -> bool:
        """Give tasks of one slot, until it is the turn of *last*; return True if one is left."""
        heap = [(_load(node), at, node) for at, node in enumerate(nodes) if node not in reserved]
        heapq.heapify(heap)
        while (unit := line.first()) is not None and _goes_before(unit, last):
            code = unit.tasks[0].packed.code
            while heap and heap[0][2].room(None if code is None else code.seconds) < 1:
                heapq.heappop(heap)
            if not heap:
                return True
            _, at, node = heap[0]
            self._give(unit, node, chosen)
            heapq.heapreplace(heap, (_load(node), at, node))
        return False

    def _give_special(
        self, line: Line, last: Unit | None, able: list[Node], chosen: dict[bytes, list[PackedTask]]
    ) -> bool:
        """Give tasks that ask for resources to nodes that are able to run them; as above."""
        while (unit := line.first()) is not None and _goes_before(unit, last):
            free = [node for node in able if node.has_room(line.resources)]
            if not free:
                return True
            self._give(unit, min(free, key=_load), chosen)
        return False

    def _give_spread(self, line: Line, last: Unit | None, able: list[Node]) -> bool:
        """Give tasks to several nodes of a block each; as above."""
        while (unit := line.first()) is not None and _goes_before(unit, last):
            found = [choose_nodes(group, line.resources) for group in groups_of(able)]
            rooms = [ranks for ranks in found if ranks is not None]
            if not rooms:
                return True
            self._waiting.take(unit)
            (task,) = unit.tasks  # nothing travels with what asks for resources
            spread = Spread(task, min(rooms, key=len), self._setup.work_dir)
            for node, ranks in spread.ranks.items():
                node.give_share(task, ranks)
            self._spreads[task.task_id] = spread
            self._node_of[task.task_id] = spread.lead
            for node in spread.others:
                self._send_share(node, spread)
        return False

    def _give(self, unit: Unit, node: Node, chosen: dict[bytes, list[PackedTask]]) -> None:
        self._waiting.take(unit)
        for task in unit.tasks:
            node.give(task)
            self._node_of[task.task_id] = node
        chosen.setdefault(node.peer, []).extend(unit.tasks)

    # ------------------------------------------------- tasks on several nodes

    def _send_share(self, node: Node, spread: Spread) -> None:
        content = (spread.task.packed.spec, spread.share(node))
        self._send(node.peer, Kind.SHARE, content, ())

    def _leads(self, node: Node, sent: Sent) -> bool:
        """Tell whether what *node* says of a task is of the whole task, and not of a share."""
        return not sent.is_share or self._spreads[sent.task.task_id].lead is node

    def _launch(self, node: Node, task_id: int, address: str) -> None:
        """Start the launcher if *node*, which is ready, was the last that it has to wait for."""
        with self._lock:
            spread = self._spreads[task_id]
            if spread.is_ready(node, address):
                spread.is_launched = True
                self._send_share(spread.lead, spread)

    def _end_share(
        self, node: Node, spread: Spread, kind: int, outcome: tuple[TaskState, Any, float | None]
    ) -> list[AnyReport]:
        """Take note that *node* has ended its share; return the report of the task if it is due."""
        spread.members.discard(node)
        if not spread.is_ending and kind != Event.REFUSED:
            task = spread.task
            state, value, moment = outcome
            if node is not spread.lead and state is not _FAILED:
                detail = f"its ranks on node {node.facts.host} were ended there"
                state = _FAILED
                value = WorkerLostError(task.name, node.name, attempt=task.attempt, detail=detail)
            spread.outcome = (task.task_id, task.attempt, state, value, moment)
        return self._end_spread(spread)

    def _lose_share(self, node: Node, sent: Sent, reports: list[AnyReport]) -> bool:
        """Take note that *node* is gone with its share; return whether the task is lost by that."""
        spread = self._spreads[sent.task.task_id]
        spread.members.discard(node)
        is_lost = not spread.is_ending
        spread.is_lost = spread.is_lost or is_lost
        reports += self._end_spread(spread)
        return is_lost

    def _end_spread(self, spread: Spread) -> list[AnyReport]:
        """Have all shares end; return the report of the task if that is due."""
        if not spread.is_ending:
            spread.is_ending = True
            task = spread.task
            if not spread.is_launched and spread.lead in spread.members:
                spread.members.discard(spread.lead)
                spread.lead.take_back(task.task_id, task.attempt)
            for node in spread.members:
                self._send(node.peer, Kind.CANCEL, [task.task_id], ())
        return self._settle_spread(spread)

    def _settle_spread(self, spread: Spread) -> list[AnyReport]:
        """Return the report of a task that has no share any more, if its outcome is known."""
        if spread.members or (spread.is_lost and spread.outcome is None):
            return []
        task = spread.task
        del self._spreads[task.task_id]
        self._node_of.pop(task.task_id, None)
        if spread.is_cancelled:
            return [(task.task_id, task.attempt, _CANCELLED, None, None)]
        if spread.outcome is None:
            self._waiting.add_first([task])
            return []
        return [spread.outcome]

    def _send_tasks(self, node: Node, tasks: list[PackedTask]) -> None:
        specs = []
        buffers: list[Buffer] = []
        for task in tasks:
            packed = task.packed
            if packed.number not in node.known:
                node.known.add(packed.number)
                specs.append((packed.number, packed.spec, packed.pickled))
            buffers += task.buffers
        forgotten = list(node.known & self._packer.gone) if self._packer.gone else []
        forgotten = [n for n in forgotten if all(task.packed.number != n for task in tasks)]
        node.known.difference_update(forgotten)
        rows = [task.row() for task in tasks]
        self._send(node.peer, Kind.TASKS, (specs, forgotten, rows), buffers)


_TOLD = frozenset({Event.TRACE, Event.SERVING, Event.OUTPUT})


def _load(node: Node) -> float:
    return node.used_slots / node.facts.slots


def _head(line: Line) -> tuple[tuple[float, int], int]:
    unit = line.first()
    assert unit is not None
    return unit.place, unit.number


def _goes_before(unit: Unit, other: Unit | None) -> bool:
    return other is None or (unit.place, unit.number) < (other.place, other.number)


def _outcome(kind: int, content: Sequence[Any], buffers: Sequence[Buffer]) -> tuple[TaskState, Any]:
    """Return the state and the value that an event stands for."""
    if kind == Event.ANSWER:
        value = open_answer(content[0], content[1], buffers)
        if type(value) is Raised:
            return _FAILED, value.error
        return _DONE, value
    if kind in (Event.CANCELLED, Event.REFUSED):
        return _CANCELLED, None
    try:
        found = pickle.loads(content[0])
    except BaseException as error:  # unpickling runs foreign code
        return _FAILED, unsendable("result", error)
    return (_DONE, found) if kind == Event.RESULT else (_FAILED, found.rebuild())


def _minor(version: str) -> tuple[str, ...]:
    return tuple(version.split(".")[:2])
