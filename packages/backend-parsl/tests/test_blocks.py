"""How many blocks are asked for, and when hope is lost."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from asyncflow_backend_parsl import config
from asyncflow_backend_parsl._host.messages import (
    AddBlock,
    BlockAdded,
    BlockRefused,
    BlockStates,
    BlockTold,
    EndBlocks,
    Order,
)
from asyncflow_backend_parsl._program import blocks as module
from asyncflow_backend_parsl._program.blocks import Blocks
from asyncflow_backend_parsl._program.nodes import Node
from asyncflow_backend_parsl._site.reading import read_site
from asyncflow_backend_parsl._wire.messages import NodeFacts
from radical.asyncflow.errors import DeathReason
from radical.asyncflow.worker import Death

_MUCH = 1000


class _World:
    """Blocks, and what they order; the clock stands until it is moved."""

    def __init__(
        self, patch: pytest.MonkeyPatch, max_blocks: int, *, system: str = "slurm"
    ) -> None:
        self.now = 1000.0
        self.orders: list[Order] = []
        self.lost: list[str] = []
        patch.setattr(module, "monotonic", lambda: self.now)
        site = read_site(config.ParslConfig(provider=system, max_blocks=max_blocks), "parsl")
        self.blocks = Blocks(
            site,
            backend="slurm",
            idle_seconds=120.0,
            connect_timeout=120.0,
            send=self.orders.append,
            lose_hope=self.lost.append,
            retire=bool,
            drain=lambda _nodes: None,
        )

    def ask(self, *, after: float = 0.0, nodes: Sequence[Node] = ()) -> list[int]:
        """Return the numbers of the blocks that are asked for now."""
        self.now += after
        self.orders.clear()
        self.blocks.adjust(_MUCH, nodes, self.now)
        return [order.number for order in self.orders if isinstance(order, AddBlock)]

    def add(self, number: int) -> None:
        self.blocks.add(BlockAdded(number, str(number)))

    def refuse(self, *numbers: int) -> None:
        for number in numbers:
            self.blocks.refuse(BlockRefused(number, "too many jobs"))

    def connect(self, number: int) -> Node:
        facts = NodeFacts("host", str(number), str(number), 4, 0, 0, ("3", "1"), number)
        node = Node(b"%d" % number, facts, 1, is_ready=True)
        self.blocks.connect(node)
        return node


def test_a_refused_block_costs_no_hope_while_another_one_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = _World(monkeypatch, max_blocks=4)
    assert world.ask() == [1, 2, 3, 4]
    world.add(1)
    world.refuse(2, 3, 4)
    assert world.ask(after=1) == []
    asked = []
    for _ in range(3600):
        for number in world.ask(after=1):
            world.refuse(number)
            asked.append(number)
    assert world.lost == []
    assert 10 < len(asked) < 22  # in an hour
    (number,) = world.ask(after=300)
    assert world.ask(after=300) == []  # until this one is answered
    world.add(number)
    assert len(world.ask()) == 1


def test_refusals_end_all_hope_where_no_other_block_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = _World(monkeypatch, max_blocks=2)
    assert world.ask() == [1, 2]
    world.add(1)
    world.refuse(2)
    world.blocks.take_states(BlockStates({1: BlockTold("TIMEOUT", True, "")}))
    began = world.now
    while not world.lost:
        world.refuse(*world.ask(after=1))
    assert world.lost == ["too many jobs"]
    assert 20 < world.now - began < 50


def test_a_job_that_never_starts_costs_those_that_run_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "slurm_facts", lambda _job: {"Reason": "PartitionInactive"})
    world = _World(monkeypatch, max_blocks=2)
    world.ask()
    world.add(1)
    node = world.connect(1)
    world.add(2)
    world.blocks.take_states(BlockStates({2: BlockTold("PENDING", False, "")}))
    assert world.lost == []
    assert EndBlocks([2]) in world.orders
    assert world.ask(after=1, nodes=[node]) == []
    assert world.ask(after=60, nodes=[node]) == []  # the second one still counts
    assert not world.blocks.expects("2")
    ends = {1: BlockTold("TIMEOUT", True, ""), 2: BlockTold("CANCELLED", True, "")}
    world.blocks.take_states(BlockStates(ends))
    assert world.ask() == [3, 4]
    world.add(3)
    world.blocks.take_states(BlockStates({3: BlockTold("PENDING", False, "")}))
    assert world.lost == ["job 3 will never start: Slurm says PartitionInactive"]


def test_the_batch_system_is_asked_once_for_all_nodes_of_a_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def explain(job: str, *, ended: bool) -> Death:
        asked.append(job)
        return Death(DeathReason.WALLTIME, "TIMEOUT")

    monkeypatch.setattr(module, "explain_slurm_job", explain)
    world = _World(monkeypatch, max_blocks=1)
    world.ask()
    world.add(1)
    nodes = [world.connect(1) for _ in range(3)]
    found = {world.blocks.explain(node, "") for node in nodes}
    assert found == {Death(DeathReason.WALLTIME, "TIMEOUT")}
    assert asked == ["1"]


def test_what_slurm_says_mostly_for_ever_ends_hope_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "slurm_facts", lambda _job: {"Reason": "PartitionConfig"})
    world = _World(monkeypatch, max_blocks=1)
    world.ask()
    world.add(1)
    began = world.now
    while not world.lost:
        world.now += 5
        world.blocks.take_states(BlockStates({1: BlockTold("PENDING", False, "")}))
    assert world.lost == ["job 1 will never start: Slurm says PartitionConfig"]
    assert 30 <= world.now - began <= 40


def test_a_job_that_ended_at_once_is_told_in_the_words_of_slurm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = Death(DeathReason.EXIT, "FAILED, exit code 3:0")
    monkeypatch.setattr(module, "explain_slurm_job", lambda _job, **_ended: told)
    world = _World(monkeypatch, max_blocks=1)
    for number in (1, 2, 3):
        assert world.ask(after=60) == [number]
        world.add(number)
        ends = {number: BlockTold("COMPLETED", True, "no module python")}
        world.blocks.take_states(BlockStates(ends))
    (reason,) = world.lost
    words = "FAILED, exit code 3:0\nno module python"
    assert reason == f"job 3 ended before a node of it had connected: {words}"


def test_a_block_whose_nodes_do_not_connect_is_told_with_what_it_wrote(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = _World(monkeypatch, max_blocks=1)
    world.ask()
    world.add(1)
    runs = BlockTold("RUNNING", False, "module: command not found")
    world.blocks.take_states(BlockStates({1: runs}))
    world.ask(after=121)
    assert EndBlocks([1]) in world.orders
    assert "connect_timeout=120 s\nmodule: command not found" in caplog.text


def test_a_job_that_left_the_queue_without_a_word_is_not_told_to_be_completed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = _World(monkeypatch, max_blocks=1, system="pbspro")
    world.ask()
    world.add(1)
    node = world.connect(1)
    world.blocks.take_states(BlockStates({1: BlockTold("COMPLETED", True, "")}))
    evidence = "job 1 has ended: the batch system does not say why"
    assert world.blocks.explain(node, "") == Death(DeathReason.UNKNOWN, evidence)
