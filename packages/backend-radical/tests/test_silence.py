"""A pilot whose job runs on a node that cannot reach this machine."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from asyncflow_backend_radical import RadicalExecutionBackend
from polling import HANG_S, until
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.errors import BackendStartError
from radical.asyncflow.testing import LeakGuard
from slurm_cluster import Node, Slurm, cut_off_node, demand_slurm, serve_slurm

from .slurm import CONFIG, use_slurm

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """Make the node; skip the tests where that is not allowed, as in most containers."""
    with ExitStack() as stack:
        try:
            node = stack.enter_context(cut_off_node())
        except RuntimeError as error:
            pytest.skip(str(error))
        yield node


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, node: Node) -> Iterator[Slurm]:
    demand_slurm()
    with serve_slurm(tmp_path_factory.mktemp("slurm"), node) as slurm:
        yield slurm


async def test_an_agent_that_cannot_answer_is_a_failed_start(
    cluster: Slurm, node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_slurm(cluster, tmp_path, monkeypatch)
    async with LeakGuard():
        backend = RadicalExecutionBackend(**CONFIG, agent_timeout=3, restart_pilot=1)
        async with WorkflowEngine.create(backend, work_dir=tmp_path) as flow:
            run = flow.executable_task(lambda: "echo never")
            waiting = run()
            (job,) = cluster.jobs("PD", "R")
            with pytest.raises(BackendStartError) as caught:
                await asyncio.wait_for(waiting, HANG_S)
            with pytest.raises(BackendStartError) as later:
                await run()
            await until(lambda: cluster.jobs("PD", "R", "CG") == set())
    assert type(caught.value) is BackendStartError
    assert later.value is caught.value
    text = str(caught.value)
    assert f"job {job} runs on node {node.name!r}, but its agent did not answer" in text
    assert re.search(
        r"reach this machine at tcp://[\d.]+:\d+, and at other ports of [\d.]+\. ", text
    )
    assert "firewall" in text
    assert "RADICAL_DEFAULT_IFACE" in text
