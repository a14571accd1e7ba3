"""Tasks whose ranks run on several nodes, as the router keeps their books; no node is real."""

from __future__ import annotations

import pickle
import platform
from collections.abc import Sequence
from itertools import count
from time import monotonic
from typing import Any

import pytest
from asyncflow_backend_parsl._host.messages import AddBlock, BlockAdded, EndBlocks, NodeEnded
from asyncflow_backend_parsl._program.blocks import Blocks
from asyncflow_backend_parsl._program.nodes import Node, NodeSize, Sent
from asyncflow_backend_parsl._program.router import Router
from asyncflow_backend_parsl._program.tunnels import Tunnels
from asyncflow_backend_parsl._site.order import SiteOrder, Workers
from asyncflow_backend_parsl._wire.messages import Event, Kind, Message, NodeFacts, Setup, Share
from asyncflow_backend_parsl.version import __version__
from radical.asyncflow.backend import (
    AnyReport,
    Command,
    ExecutableResult,
    Resources,
    TaskKind,
    TaskRequest,
    TaskSpec,
    TaskState,
)
from radical.asyncflow.errors import ResourceError, UnsupportedOptionError, WorkerLostError
from radical.asyncflow.worker import Failure

SLOTS = 4
RUNNING, DONE = TaskState.RUNNING, TaskState.DONE
FAILED, CANCELLED = TaskState.FAILED, TaskState.CANCELLED
SETUP = Setup([], [], "/", "/run", False, False, None, "run")


def spec_of(kind: TaskKind = TaskKind.EXECUTABLE, **asked: int) -> TaskSpec:
    return TaskSpec("wide", kind, abs, resources=Resources(**asked))


class Program:
    """A router with nodes that do nothing, and all that it says."""

    def __init__(self, *, span: int = 3, expected: NodeSize | None = None) -> None:
        self.reports: list[AnyReport] = []
        self.sent: list[tuple[str, Kind, Any]] = []
        self.lost: list[Sent] = []
        self._ids = count(1)
        self._numbers: dict[str, count[int]] = {}
        self.router = Router(
            self,  # type: ignore[arg-type]
            lambda peer, kind, content, _: self.sent.append((peer.decode(), kind, content)),
            setup=SETUP,
            cores_each=1,
            expected=expected,
            span=span,
            lose_node=lambda _node, lost, _why: self.lost.extend(lost),
            refuse_node=pytest.fail,
            is_expected=lambda _block: True,
            changed=lambda: None,
            tunnels=Tunnels(self),  # type: ignore[arg-type]
        )

    def report(self, reports: Sequence[AnyReport]) -> None:
        self.reports += reports

    def states(self) -> list[tuple[int, TaskState]]:
        return [(task_id, state) for task_id, _, state, *_ in self.reports]

    def node(self, name: str, block: str = "0", *, gpus: int = 0, host: str = "") -> Node:
        """Let a node connect, which is ready."""
        versions = (platform.python_version(), __version__)
        facts = NodeFacts(host or name, block, "", SLOTS, gpus, 1000, versions, 1, name, name)
        self._numbers[name] = count(1)
        self.router.receive(name.encode(), Message(0, Kind.HELLO, facts, ()))
        self._tell(name, Kind.READY, None)
        return self.router.nodes[name.encode()]

    def nodes(self, names: str, block: str = "0") -> list[Node]:
        return [self.node(name, block) for name in names]

    def _tell(self, name: str, kind: Kind, content: Any) -> None:
        message = Message(next(self._numbers[name]), kind, content, ())
        self.router.receive(name.encode(), message)

    def tell(self, name: str, event: Event, task_id: int, *content: Any, attempt: int = 1) -> None:
        moment = () if event is Event.SERVING else (0.0,)
        fields = (int(event), task_id, attempt, *moment, *content)
        self._tell(name, Kind.EVENTS, ("clock", 0.0, [fields]))

    def ready(self, task_id: int, *names: str) -> None:
        """Let shares be ready for the launcher."""
        for name in names:
            self.tell(name, Event.SERVING, task_id, ("", "", f"{name}:77"))

    def end(self, task_id: int, *names: str) -> None:
        """Let shares end that were told to."""
        for name in names:
            self.tell(name, Event.CANCELLED, task_id)

    def submit(self, spec: TaskSpec, task_id: int = 0, attempt: int = 1) -> int:
        number = task_id or next(self._ids)
        command = Command(("prog",)) if spec.kind is TaskKind.EXECUTABLE else None
        args = () if command else (1,)
        self.router.submit([TaskRequest(number, attempt, spec, args, command=command)])
        return number

    def shares(self, task_id: int) -> dict[str, Share]:
        return {
            peer: content[1]
            for peer, kind, content in self.sent
            if kind is Kind.SHARE and content[1].task_id == task_id
        }

    def cancels(self, task_id: int) -> list[str]:
        return sorted(
            peer for peer, kind, ids in self.sent if kind is Kind.CANCEL and task_id in ids
        )

    def given(self) -> list[str]:
        """Return the nodes that were given ordinary tasks, once for each."""
        return [peer for peer, kind, content in self.sent if kind is Kind.TASKS for _ in content[2]]


def used(nodes: Sequence[Node]) -> list[int]:
    return [node.used_slots for node in nodes]


def result() -> bytes:
    return pickle.dumps(ExecutableResult(0, "out"))


def test_a_wide_task_begins_when_all_its_nodes_are_ready_and_ends_with_its_last_share() -> None:
    program = Program()
    nodes = program.nodes("abc")
    task = program.submit(spec_of(ranks=10))
    assert {name: (each.first, each.ranks) for name, each in program.shares(task).items()} == {
        "b": (4, 4),
        "c": (8, 2),
    }
    assert used(nodes) == [4, 4, 2]
    program.ready(task, "c")
    assert "a" not in program.shares(task)
    program.ready(task, "b")
    lead = program.shares(task)["a"]
    assert [(each.host, each.ranks, each.port) for each in lead.nodes] == [
        ("a", 4, 0),
        ("b", 4, 77),
        ("c", 2, 77),
    ]
    assert (lead.first, lead.total) == (0, 10)
    for name in "bac":
        program.tell(name, Event.RUNNING, task, "slot-1")
    assert program.states() == [(task, RUNNING)]
    assert program.router.running() == [task]
    program.tell("a", Event.RESULT, task, result())
    assert program.cancels(task) == ["b", "c"]
    assert used(nodes) == [0, 4, 2]
    program.end(task, "b")
    assert program.states() == [(task, RUNNING)]
    program.end(task, "c")
    assert program.states() == [(task, RUNNING), (task, DONE)]
    assert used(nodes) == [0, 0, 0]
    assert program.router.wait(0)


def test_a_task_that_fits_on_a_node_stays_on_one() -> None:
    program = Program()
    nodes = program.nodes("abc")
    task = program.submit(spec_of(ranks=4))
    assert not program.shares(task)
    assert sorted(used(nodes)) == [0, 0, 4]


def test_no_slot_is_taken_twice_and_the_fewest_nodes_are_used() -> None:
    program = Program()
    nodes = program.nodes("abc")
    program.submit(spec_of())  # on a
    first = program.submit(spec_of(ranks=5))
    assert {"b", "c"} >= set(program.shares(first))
    assert used(nodes) == [1, 4, 1]
    second = program.submit(spec_of(ranks=6))
    assert used(nodes) == [4, 4, 4]
    third = program.submit(spec_of(ranks=5))
    assert not program.shares(third)
    program.ready(first, "c")
    program.tell("b", Event.RESULT, first, result())
    program.end(first, "c")
    assert set(program.shares(third)) == {"c"}
    assert used(nodes) == [4, 4, 4]
    assert program.router.demand() == 12
    assert second not in program.router.unsent()


def test_ranks_stay_whole_and_count_what_each_needs() -> None:
    program = Program()
    nodes = [program.node(name, gpus=2) for name in "abc"]
    task = program.submit(spec_of(ranks=3, cores=3, gpus=1, memory=600))
    assert [(node.used_slots, node.used_gpus, node.used_memory) for node in nodes] == [
        (3, 1.0, 600)
    ] * 3
    other = program.submit(spec_of(ranks=2, cores=1, gpus=2))
    assert not program.shares(other)
    program.ready(task, "b", "c")
    program.tell("a", Event.RESULT, task, result())
    program.end(task, "b", "c")
    assert [node.used_gpus for node in nodes] == [2.0, 2.0, 0.0]


def test_nodes_of_two_blocks_run_no_task_together() -> None:
    program = Program()
    program.nodes("ab", "0")
    program.nodes("cd", "1")
    task = program.submit(spec_of(ranks=12))
    assert program.router.unsent() == [task]
    assert program.router.lacks_block()
    program.node("e", "1")
    assert set(program.shares(task)) == {"d", "e"}
    assert not program.router.lacks_block()


def test_later_tasks_leave_the_nodes_alone_that_a_wide_task_waits_for() -> None:
    program = Program()
    nodes = program.nodes("abc")
    small = [program.submit(spec_of()) for _ in range(9)]
    wide = program.submit(spec_of(ranks=12))
    later = [program.submit(spec_of()) for _ in range(9)]
    assert used(nodes) == [3, 3, 3]
    assert program.router.unsent() == [wide, *later]
    for node in nodes:
        for task in [task for task in small if task in node.sent]:
            program.tell(node.facts.host, Event.RESULT, task, result())
    assert set(program.shares(wide)) == {"b", "c"}
    program.ready(wide, "b", "c")
    program.tell("a", Event.RESULT, wide, result())
    assert len(program.given()) == 9 + 4  # on the node of the launcher, which is free now
    program.end(wide, "b", "c")
    assert len(program.given()) == 18


def test_a_small_wide_task_reserves_no_more_nodes_than_it_needs() -> None:
    program = Program()
    program.nodes("abc")
    for _ in range(3):
        program.submit(spec_of(cores=3))
    wide = program.submit(spec_of(ranks=5))
    program.submit(spec_of())
    assert program.router.unsent() == [wide]
    assert len(program.given()) == 4


def test_a_cancel_reaches_all_nodes_and_is_over_when_they_are() -> None:
    program = Program()
    nodes = program.nodes("abc")
    task = program.submit(spec_of(ranks=12))
    program.ready(task, "b", "c")
    program.tell("a", Event.RUNNING, task, "slot-1")
    program.router.cancel([task])
    program.router.cancel([task])
    assert program.cancels(task) == ["a", "b", "c"]
    program.end(task, "a", "b")
    assert (task, CANCELLED) not in program.states()
    program.end(task, "c")
    assert program.states()[-1] == (task, CANCELLED)
    assert used(nodes) == [0, 0, 0]


def test_a_cancel_after_the_end_of_the_launcher_comes_too_late() -> None:
    program = Program()
    program.nodes("abc")
    task = program.submit(spec_of(ranks=12))
    program.ready(task, "b", "c")
    program.tell("a", Event.RESULT, task, result())
    program.router.cancel([task])
    program.end(task, "b", "c")
    assert program.states() == [(task, DONE)]


def test_a_cancel_before_the_launcher_is_started_needs_no_word_of_its_node() -> None:
    program = Program()
    nodes = program.nodes("abc")
    task = program.submit(spec_of(ranks=12))
    program.router.cancel([task])
    assert program.cancels(task) == ["b", "c"]
    assert used(nodes) == [0, 4, 4]
    program.ready(task, "b", "c")
    assert "a" not in program.shares(task)
    program.end(task, "b", "c")
    assert program.states() == [(task, CANCELLED)]


@pytest.mark.parametrize("gone", ["a", "b", "c"])
def test_a_lost_node_ends_the_ranks_on_the_others_and_the_task_runs_again(gone: str) -> None:
    program = Program()
    program.nodes("abc")
    task = program.submit(spec_of(ranks=12))
    program.ready(task, "b", "c")
    program.tell("a", Event.RUNNING, task, "slot-1")
    others = sorted({"a", "b", "c"} - {gone})
    program.router.lose(gone.encode(), "cut")
    assert program.cancels(task) == others
    (sent,) = program.lost
    error = WorkerLostError("wide", gone, attempt=1, detail="cut")
    program.end(task, others[0])
    program.router.give_up([sent], lambda _: error)
    assert (task, FAILED) not in program.states()
    program.end(task, others[1])
    assert program.reports[-1] == (task, 1, FAILED, error, None)
    assert program.router.wait(0)
    program.submit(spec_of(ranks=12), task, attempt=2)
    assert program.router.lacks_block()
    program.nodes("def", "1")
    assert program.shares(task)["f"].attempt == 2


def test_several_lost_nodes_are_one_failure() -> None:
    program = Program()
    program.nodes("abc")
    task = program.submit(spec_of(ranks=12))
    for name in "bac":
        program.router.lose(name.encode(), "")
    (sent,) = program.lost
    assert not program.router.wait(0)
    program.router.give_up([sent], lambda _: WorkerLostError("wide", "b"))
    assert program.states() == [(task, FAILED)]
    assert program.router.wait(0)


def test_a_node_that_is_lost_after_the_end_of_the_launcher_costs_nothing() -> None:
    program = Program()
    program.nodes("abc")
    task = program.submit(spec_of(ranks=12))
    program.ready(task, "b", "c")
    program.tell("a", Event.RESULT, task, result())
    program.end(task, "b")
    program.router.lose(b"c", "")
    assert program.states() == [(task, DONE)]
    assert not program.lost


def test_a_node_that_takes_no_more_gives_the_task_back() -> None:
    program = Program()
    program.nodes("abc")
    task = program.submit(spec_of(ranks=12))
    program.tell("b", Event.REFUSED, task)
    assert program.cancels(task) == ["c"]
    program.router.drain([program.router.nodes[b"b"]])
    program.end(task, "c")
    assert program.router.unsent() == [task]
    assert not program.reports


def test_a_share_that_cannot_begin_fails_the_task_with_its_error() -> None:
    program = Program()
    program.nodes("abc")
    task = program.submit(spec_of(ranks=12))
    failure = pickle.dumps(Failure.pack(OSError("no room")))
    program.tell("b", Event.FAILED, task, failure)
    program.end(task, "c")
    (report,) = program.reports
    assert report[2] is FAILED
    assert "no room" in str(report[3])


def test_a_share_that_ends_by_itself_is_a_lost_worker() -> None:
    program = Program()
    program.nodes("abc")
    task = program.submit(spec_of(ranks=12))
    program.ready(task, "b", "c")
    program.end(task, "c")
    assert program.cancels(task) == ["a", "b"]
    program.end(task, "a", "b")
    (report,) = program.reports
    assert isinstance(report[3], WorkerLostError)
    assert "node c" in str(report[3])


def test_what_no_block_can_hold_is_refused_as_soon_as_that_is_known() -> None:
    program = Program()
    check = program.router.check
    check(spec_of(ranks=100), "slurm", None)
    early = program.submit(spec_of(ranks=13))
    program.nodes("abc")
    assert program.states() == [(early, FAILED)]
    with pytest.raises(ResourceError, match=r"'slurm' asks a block for 13 ranks, .* 4 each"):
        check(spec_of(ranks=13), "slurm", None)
    with pytest.raises(ResourceError, match="asks a node for 10 cores, and it has 4"):
        check(spec_of(ranks=2, cores=5), "slurm", None)
    check(spec_of(ranks=12), "slurm", None)
    late = program.submit(spec_of(ranks=13))
    assert program.states() == [(early, FAILED), (late, FAILED)]


def test_what_cannot_have_several_nodes_is_refused_with_what_works() -> None:
    program = Program()
    check = program.router.check
    early = program.submit(spec_of(TaskKind.FUNCTION, ranks=5))
    program.nodes("abc")
    assert program.states() == [(early, FAILED)]
    with pytest.raises(UnsupportedOptionError, match=r"command.*radical_pilot"):
        check(spec_of(TaskKind.FUNCTION, ranks=5), "slurm", None)
    with pytest.raises(UnsupportedOptionError, match=r"add \{hosts\}"):
        check(spec_of(ranks=5), "slurm", "mpirun -n {ranks}")
    for launcher in (None, "mpirun -q", "mpirun -n {ranks} -H {hosts}"):
        check(spec_of(ranks=5), "slurm", launcher)


def test_nodes_on_one_machine_are_no_several_nodes() -> None:
    program = Program()
    task = program.submit(spec_of(ranks=5))
    program.node("a", host="here")
    program.node("b", host="here")
    assert program.states() == [(task, FAILED)]
    with pytest.raises(ResourceError, match="asks a node for 5 cores"):
        program.router.check(spec_of(ranks=5), "parsl", None)


def test_the_demand_counts_what_ranks_leave_unused() -> None:
    program = Program()
    program.nodes("ab")
    program.submit(spec_of(ranks=3, cores=3))
    assert program.router.demand() == 12
    program.submit(spec_of(ranks=6))
    assert program.router.demand() == 12 + 6


def test_a_block_that_has_lost_a_node_is_replaced_when_a_task_needs_all() -> None:
    orders: list[Any] = []
    drained: list[Node] = []
    site = SiteOrder("slurm", {}, "srun", Workers(), 3, 1, 0, 1, None, True)
    blocks = Blocks(
        site,
        backend="slurm",
        idle_seconds=1000.0,
        connect_timeout=1000.0,
        send=orders.append,
        lose_hope=pytest.fail,
        retire=lambda nodes: not any(node.sent for node in nodes),
        drain=drained.extend,
    )
    now = monotonic()
    blocks.adjust(12, [], now)
    assert orders[0] == AddBlock(1)
    blocks.add(BlockAdded(1, "77"))
    program = Program()
    nodes = program.nodes("ab", "1")
    program.submit(spec_of())
    for node in nodes:
        blocks.connect(node)
    blocks.adjust(12, nodes, now, needs_whole=True)
    assert not drained  # the third node may still come
    blocks.take_node_end(NodeEnded(1, "", "c:1", "1"))
    blocks.adjust(12, nodes, now, needs_whole=True)
    assert drained == nodes
    assert EndBlocks([1]) not in orders  # a task runs there
    program.tell("a", Event.RESULT, 1, result())
    blocks.adjust(12, nodes, now, needs_whole=True)
    assert EndBlocks([1]) in orders
