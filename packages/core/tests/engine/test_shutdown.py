"""The end of an engine: asked for, twice, within work, and forgotten."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from radical.asyncflow import BackendError, EngineClosedError, WorkflowEngine
from radical.asyncflow.testing import ScriptedBackend

from .waiting import in_virtual_time, turns, until


def identity(value: Any = None) -> Any:
    return value


async def test_a_shutdown_cancels_what_is_unfinished(backend: ScriptedBackend) -> None:
    flow = await WorkflowEngine.create(backend)
    backend.hold()
    task = flow.function_task(identity)
    futures = [task(), task()]
    futures.append(task(futures))
    await until(backend.waiting)
    await flow.shutdown()
    assert all(future.cancelled() for future in futures)


async def test_a_shutdown_may_wait_for_the_tasks(backend: ScriptedBackend) -> None:
    flow = await WorkflowEngine.create(backend)
    task = flow.function_task(identity)
    future = task(task(7))
    await flow.shutdown(cancel=False)
    assert future.result() == 7


async def test_tasks_that_run_may_call_others_while_a_shutdown_waits(
    backend: ScriptedBackend,
) -> None:
    flow = await WorkflowEngine.create(backend)

    @flow.block
    async def body() -> int:
        await turns()
        return int(await flow.function_task(identity)(7))

    future = body()
    await flow.shutdown(cancel=False)
    assert future.result() == 7


async def test_a_second_shutdown_cancels_what_the_first_waits_for(
    backend: ScriptedBackend,
) -> None:
    flow = await WorkflowEngine.create(backend)
    backend.hold()
    future = flow.function_task(identity)()
    patient = asyncio.create_task(flow.shutdown(cancel=False))
    await until(backend.waiting)
    await flow.shutdown()
    await patient
    assert future.cancelled()


async def test_a_shutdown_can_be_repeated(flow: WorkflowEngine) -> None:
    await flow.shutdown()
    await flow.shutdown()
    assert flow.closed


async def test_a_shutdown_can_be_called_twice_at_once(flow: WorkflowEngine) -> None:
    await asyncio.gather(flow.shutdown(), flow.shutdown(cancel=False), flow.shutdown())
    assert flow.closed


async def test_a_cancelled_shutdown_goes_on(backend: ScriptedBackend) -> None:
    flow = await WorkflowEngine.create(backend)
    closing = asyncio.create_task(flow.shutdown())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await flow.shutdown()
    with pytest.raises(EngineClosedError):
        backend.submit([])


async def test_leaving_the_engine_waits_for_its_tasks(backend: ScriptedBackend) -> None:
    async with WorkflowEngine.create(backend) as flow:
        future = flow.function_task(identity)(7)
    assert future.result() == 7


async def test_leaving_the_engine_by_an_error_cancels_its_tasks(backend: ScriptedBackend) -> None:
    backend.hold()
    futures = []

    async def use() -> None:
        async with WorkflowEngine.create(backend) as flow:
            futures.append(flow.function_task(identity)())
            raise ValueError("as planned")

    with pytest.raises(ValueError, match="as planned"):
        await use()
    assert futures[0].cancelled()


async def test_an_engine_that_was_awaited_can_be_entered(backend: ScriptedBackend) -> None:
    async with await WorkflowEngine.create(backend) as flow:
        assert not flow.closed
    assert flow.closed


async def test_a_body_under_way_is_ended(backend: ScriptedBackend) -> None:
    flow = await WorkflowEngine.create(backend)
    ended: list[bool] = []

    async def body() -> str:
        try:
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]
        finally:
            ended.append(True)

    future = flow.executable_task(body)()
    await turns()
    await flow.shutdown()
    assert (future.cancelled(), ended) == (True, [True])


class Broken(ScriptedBackend):
    async def shutdown(self, *, cancel: bool = True) -> None:
        await super().shutdown(cancel=cancel)
        raise OSError("cannot end")


async def test_a_backend_that_cannot_end_is_told_of_after_the_others_ended() -> None:
    other = ScriptedBackend(name="other")
    flow = await WorkflowEngine.create([Broken(), other])
    with pytest.raises(BackendError, match=r"'scripted' did not shut down: .*cannot end"):
        await flow.shutdown()
    with pytest.raises(EngineClosedError):
        other.submit([])


class Endless(ScriptedBackend):
    """Neither ends its work nor itself."""

    def cancel(self, task_ids: Any) -> None: ...

    async def shutdown(self, *, cancel: bool = True) -> None:  # noqa: ARG002
        await asyncio.get_running_loop().create_future()


def test_a_shutdown_takes_at_most_thirty_seconds(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> float:
        backend = Endless()
        flow = await WorkflowEngine.create(backend)
        backend.hold()
        future = flow.function_task(identity)()
        await until(backend.waiting)
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(BackendError, match="did not shut down"):
            await flow.shutdown()
        assert future.cancelled()
        return loop.time() - began

    assert in_virtual_time(main()) <= 30.0
    assert "did not end in time" in caplog.text


async def test_a_retry_does_not_outlive_the_shutdown(backend: ScriptedBackend) -> None:
    flow = await WorkflowEngine.create(backend)
    backend.hold()
    future = flow.function_task(retries=100)(identity)()
    await until(backend.waiting)
    backend.fail("identity", ValueError())
    await flow.shutdown()
    assert future.done()


# ------------------------------------------------------------- whole programs

PROGRAM = """
import asyncio, logging
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.testing import ScriptedBackend

logging.basicConfig(format="%(message)s")

def identity(value=None):
    print("ran", value, flush=True)
    return value

async def later(value):
    await asyncio.sleep(0.2)
    print("ran", value, flush=True)

begun = asyncio.Event()

async def forever():
    print("started", flush=True)
    begun.set()
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        print("ended", flush=True)
"""


@contextmanager
def program(body: str) -> Iterator[subprocess.Popen[str]]:
    """A Python program that has the names of PROGRAM."""
    text = PROGRAM + textwrap.dedent(body)
    with subprocess.Popen(
        [sys.executable, "-c", text],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONASYNCIODEBUG": "0"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_program_that_forgets_the_shutdown_ends_once_its_tasks_are_done() -> None:
    with program("""
        async def main():
            flow = await WorkflowEngine.create(ScriptedBackend())
            later_task = flow.function_task(later)
            flow.function_task(identity)(later_task(1))

        asyncio.run(main())
    """) as process:
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert out.splitlines()[-1].startswith("ran")
    assert "was not shut down; use 'async with' or flow.shutdown()" in err
    assert "Traceback" not in err


def test_a_program_that_fails_ends_with_its_own_error() -> None:
    with program("""
        async def main():
            flow = await WorkflowEngine.create(ScriptedBackend())
            flow.function_task(forever)()
            await begun.wait()
            raise ValueError("my own error")

        asyncio.run(main())
    """) as process:
        out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err.rstrip().endswith("ValueError: my own error")
    assert out == "started\nended\n"


def interrupted(number: signal.Signals, body: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a program that got *number* once a task ran."""
    with program(body) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    return process.returncode, out, err


ENTERED = """
    async def main():
        async with WorkflowEngine.create(ScriptedBackend()) as flow:
            await flow.function_task(forever)()

    asyncio.run(main())
"""
FORGOTTEN = """
    async def main():
        flow = await WorkflowEngine.create(ScriptedBackend())
        await flow.function_task(forever)()

    asyncio.run(main())
"""


@pytest.mark.parametrize("body", [ENTERED, FORGOTTEN], ids=["entered", "forgotten"])
def test_ctrl_c_ends_the_program_as_asyncio_does(body: str) -> None:
    code, out, err = interrupted(signal.SIGINT, body)
    assert code in (130, -signal.SIGINT)
    assert out == "ended\n"
    assert err.rstrip().endswith("KeyboardInterrupt")


def test_sigterm_ends_the_program_as_it_ends_any() -> None:
    code, _, _ = interrupted(signal.SIGTERM, ENTERED)
    assert code == -signal.SIGTERM


async def test_no_signal_handler_is_installed(flow: WorkflowEngine) -> None:
    await flow.function_task(identity)()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


async def test_a_shutdown_is_quiet(flow: WorkflowEngine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "radical.asyncflow")
    await flow.function_task(identity)()
    await flow.shutdown()
    assert [record for record in caplog.records if record.name.startswith("radical")] == []
