"""Fixtures of the tests of these backends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from radical.asyncflow import WorkflowEngine
from slurm_cluster import Node, Slurm, demand_slurm, separate_nodes, serve_slurm
from time_limits import give_time

_TEST_TIMEOUT_S = 300  # on a busy machine Parsl takes half a minute to start


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    give_time(items, Path(__file__).parent, _TEST_TIMEOUT_S)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local_flow() -> AsyncIterator[WorkflowEngine]:
    """Run an engine with two workers on a block of this machine, for all tests of a module."""
    config = {"max_workers_per_node": 2, "grace": 1.0}
    async with WorkflowEngine.create("parsl", config=config) as flow:
        yield flow


@pytest.fixture(scope="module")
def own_nodes() -> Iterator[list[Node]]:
    """Make three nodes with networks of their own; none where that is not allowed."""
    demand_slurm()
    with ExitStack() as stack:
        try:
            made = stack.enter_context(separate_nodes(3))
        except RuntimeError:
            made = []
        yield made


@pytest.fixture
def nodes(own_nodes: list[Node]) -> list[Node]:
    """Return the three nodes; skip the test if Slurm has this machine alone."""
    if not own_nodes:
        pytest.skip("it needs several nodes, and this process may not make networks for them")
    return own_nodes


@pytest.fixture(scope="module")
def slurm(own_nodes: list[Node], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """Run a Slurm on the three nodes, or on this machine; the programs of this process find it."""
    with (
        serve_slurm(tmp_path_factory.mktemp("slurm"), own_nodes or None) as cluster,
        pytest.MonkeyPatch.context() as patch,
    ):
        for key, value in cluster.environment.items():
            patch.setenv(key, value)
        yield cluster
