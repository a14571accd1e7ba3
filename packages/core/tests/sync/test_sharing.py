"""Flows of a program without an event loop share one started backend."""

from __future__ import annotations

import concurrent.futures
import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow import BackendStartError, EngineClosedError, WorkflowEngine
from radical.asyncflow.backend import ReportSink
from radical.asyncflow.sync import Flow
from radical.asyncflow.testing import ScriptedBackend


class Counted(ScriptedBackend):
    """A backend that counts its starts and its ends."""

    starts = ends = 0

    def __init__(self, *, fails: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._fails = fails

    async def start(self, sink: ReportSink) -> None:
        await super().start(sink)
        self.starts += 1
        if self._fails:
            raise BackendStartError("no machine is free")

    async def shutdown(self, *, cancel: bool = True) -> None:
        self.ends += not self.is_shut_down
        await super().shutdown(cancel=cancel)


def double(number: int) -> int:
    return 2 * number


def running() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "asyncflow"}


@pytest.fixture(autouse=True)
def threads() -> Iterator[Callable[[], int]]:
    """The number of the threads of flows that this test has; none is left at its end."""
    before = running()
    yield lambda: len(running() - before)
    assert running() - before == set()


def test_flows_with_one_backend_share_it(threads: Callable[[], int]) -> None:
    backend = Counted()
    with Flow(backend) as first, Flow([backend]) as second:
        assert first.uid != second.uid
        assert threads() == 1
        twice = second.function_task(double)
        futures = [twice(first.function_task(double)(number)) for number in range(20)]
        assert [future.result() for future in futures] == [4 * number for number in range(20)]
    assert (backend.starts, backend.ends) == (1, 1)


def test_the_last_flow_ends_the_backend() -> None:
    backend = Counted()
    with Flow(backend) as outer:
        for number in range(3):
            with Flow(backend) as inner:
                assert inner.function_task(double)(number).result() == 2 * number
        assert outer.function_task(double)(5).result() == 10
        assert (backend.starts, backend.ends) == (1, 0)
    first, second = Flow(other := Counted()), Flow(other)
    first.shutdown()
    with pytest.raises(EngineClosedError):
        first.function_task(double)(1)
    assert second.function_task(double)(1).result() == 2
    second.shutdown()
    assert other.ends == 1
    with pytest.raises(EngineClosedError, match="was shut down; make a new one"):
        Flow(other)


def test_the_backend_of_a_flow_can_be_given_to_another() -> None:
    with Flow("concurrent", {"max_workers": 1}) as first, Flow(first.backend) as second:
        assert second.function_task(threading.get_ident)().result() == (
            first.function_task(threading.get_ident)().result()
        )


def test_flows_of_many_threads_begin_at_once() -> None:
    backend = Counted()
    all_there = threading.Barrier(8, timeout=60)

    def campaign(number: int) -> int:
        all_there.wait()
        with Flow(backend) as flow:
            all_there.wait()  # so that none ends the backend before all are there
            return flow.function_task(double)(number).result()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert [*pool.map(campaign, range(8))] == [2 * number for number in range(8)]
    assert (backend.starts, backend.ends) == (1, 1)


def test_flows_with_backends_of_their_own_have_threads_of_their_own(
    threads: Callable[[], int],
) -> None:
    with Flow(ScriptedBackend()) as one, Flow(ScriptedBackend()) as other:
        assert threads() == 2
        assert one.run(_thread()) != other.run(_thread())


async def _thread() -> int:
    return threading.get_ident()


def test_a_backend_that_does_not_start_keeps_no_thread(threads: Callable[[], int]) -> None:
    with pytest.raises(BackendStartError, match="no machine"):
        Flow(Counted(fails=True))
    assert threads() == 0
    with Flow(good := Counted()) as flow:
        with pytest.raises(BackendStartError, match="no machine"):
            Flow([good, Counted(fails=True, name="bad")])
        assert flow.function_task(double)(1).result() == 2
    assert good.ends == 1


def test_a_block_cannot_wait_for_a_flow_in_its_own_thread() -> None:
    with Flow(backend := Counted()) as flow:

        @flow.block
        async def study() -> int:
            with pytest.raises(RuntimeError, match=r"await WorkflowEngine.create\(backend\) there"):
                Flow(backend)
            async with WorkflowEngine.create(backend) as inner:
                return await inner.function_task(double)(2)

        assert study().result() == 4


def test_a_forgotten_flow_leaves_the_backend_to_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Flow(backend := Counted()) as flow:
        uid = Flow(backend).uid
        gc.collect()
        assert f"flow {uid} was not shut down" in caplog.text
        assert flow.function_task(double)(1).result() == 2
    assert backend.ends == 1


async def test_an_engine_and_a_flow_cannot_share_one() -> None:
    async with WorkflowEngine.create(ScriptedBackend()) as engine:
        with pytest.raises(BackendStartError, match="was started in another event loop"):
            Flow(engine.backend)


def test_each_has_its_own_files_and_journal(tmp_path: Path) -> None:
    backend = ScriptedBackend()
    with (
        Flow(backend, journal=tmp_path / "one") as one,
        Flow(backend, journal=tmp_path / "two") as two,
    ):
        assert one.work_dir != two.work_dir
        assert (one.function_task(double)(1).result(), two.function_task(double)(2).result()) == (
            2,
            4,
        )
    assert (tmp_path / "one").exists()
    assert (tmp_path / "two").exists()
