"""Functions with ranks on a pilot of this machine."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest
from radical.asyncflow import WorkflowEngine, current_task
from radical.asyncflow.errors import RemoteTraceback, SerializationError, WorkerLostError

from .support import HANG_S

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

TWO: dict[str, Any] = {"resources": {"ranks": 2}, "timeout": HANG_S}


def comm() -> Any:
    task = current_task()
    assert task is not None
    return task.comm


def total(number: int, *, factor: int = 1) -> tuple[int, int]:
    return comm().rank, int(comm().allreduce(number * factor + comm().rank))


def fail_at_last() -> None:
    comm().barrier()
    if comm().rank == 1:
        raise LookupError("of rank 1")
    comm().recv(source=1)


def die_at_last() -> None:
    comm().barrier()
    if comm().rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    comm().recv(source=1)


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
