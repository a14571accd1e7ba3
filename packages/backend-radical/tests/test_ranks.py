"""Functions with ranks on a pilot of this machine."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from polling import HANG_S
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.errors import (
    RemoteTraceback,
    SerializationError,
    TaskTimeoutError,
    WorkerLostError,
)
from rank_functions import comm, die_at_last, fail_at_last, gone, meet, read, wait_with

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

TWO: dict[str, Any] = {"resources": {"ranks": 2}, "timeout": HANG_S}


def total(number: int, *, factor: int = 1) -> tuple[int, int]:
    return comm().rank, int(comm().allreduce(number * factor + comm().rank))


async def test_the_result_is_that_of_the_ranks(flow: WorkflowEngine) -> None:
    assert await flow.function_task(**TWO)(total)(5, factor=2) == [(0, 21), (1, 21)]
    assert await flow.function_task(mpi_result="root", **TWO)(total)(5) == (0, 11)


async def test_a_rank_that_raises_is_the_error_of_the_task(flow: WorkflowEngine) -> None:
    with pytest.raises(LookupError, match="of rank 1") as raised:
        await flow.function_task(**TWO)(fail_at_last)()
    assert raised.value.__notes__ == ["raised by rank 1 of 2"]
    assert isinstance(raised.value.__cause__, RemoteTraceback)
    assert "in fail_at_last" in str(raised.value.__cause__)


async def test_a_rank_that_dies_is_named(flow: WorkflowEngine) -> None:
    with pytest.raises(WorkerLostError) as raised:
        await flow.function_task(**TWO)(die_at_last)()
    assert (raised.value.worker, raised.value.signal) == ("rank 1 of 2,", signal.SIGKILL)


async def test_what_cannot_travel_is_named(flow: WorkflowEngine) -> None:
    with pytest.raises(SerializationError, match="the arguments cannot travel"):
        await flow.function_task(**TWO)(total)(threading.Lock())


@pytest.mark.parametrize("kind", ["function", "command"])
async def test_a_cancel_ends_all_ranks(flow: WorkflowEngine, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "pids"
    future = _waiting(flow, kind, file, **TWO)
    ranks = await read(file, 2)
    future.cancel()
    with pytest.raises(asyncio.CancelledError):
        await future
    await gone(ranks)
    assert await flow.function_task(**TWO)(total)(0) == [(0, 1), (1, 1)]


@pytest.mark.parametrize("kind", ["function", "command"])
async def test_a_timeout_ends_all_ranks(flow: WorkflowEngine, tmp_path: Path, kind: str) -> None:
    for seconds in (8, 32, HANG_S):  # a busy machine needs longer until both ranks are there
        file = tmp_path / f"pids {seconds}"
        future = _waiting(flow, kind, file, resources={"ranks": 2}, timeout=seconds)
        with pytest.raises(TaskTimeoutError):
            await future
        if file.exists() and len(ranks := file.read_text().split()) == 2:
            break
    await gone(list(map(int, ranks)))
    assert await flow.function_task(**TWO)(total)(0) == [(0, 1), (1, 1)]


def _waiting(flow: WorkflowEngine, kind: str, file: Path, **options: Any) -> Any:
    """Start a task whose ranks write their processes into *file*, and wait."""
    if kind == "function":
        return flow.function_task(**options)(wait_with)(str(file))
    line = f"echo $$ >>{shlex.quote(str(file))}; exec sleep 600"
    return flow.executable_task(**options)(lambda: line)()


async def test_two_functions_run_at_once(flow: WorkflowEngine, tmp_path: Path) -> None:
    task = flow.function_task(**TWO)(meet)
    one, other = task(str(tmp_path), "one", "other"), task(str(tmp_path), "other", "one")
    assert await asyncio.gather(one, other) == [[2, 2]] * 2


async def test_one_function_runs_after_the_other(flow: WorkflowEngine) -> None:
    calls = int(os.environ.get("ASYNCFLOW_RANK_CALLS", "5"))
    task = flow.function_task(**TWO)(total)
    for number in range(calls):
        assert await task(number) == [(0, 2 * number + 1), (1, 2 * number + 1)]
