"""The backend on objects of RHAPSODY: how they are found, taken, used and lost."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import rhapsody
from asyncflow_backend_rhapsody import RhapsodyExecutionBackend
from polling import until
from radical.asyncflow import (
    BackendLostError,
    BackendNotFoundError,
    ConfigurationError,
    UnsupportedOptionError,
    WorkerLostError,
    WorkflowEngine,
)
from radical.asyncflow.testing import LeakGuard
from rhapsody.backends import ConcurrentExecutionBackend
from rhapsody.backends.base import BaseBackend
from rhapsody.backends.constants import StateMapper


def double(number: int) -> int:
    return 2 * number


def fail() -> None:
    raise LookupError("no such thing")


def end_worker() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def thread_name() -> str:
    return threading.current_thread().name


# ------------------------------------------------------------------------ by name


async def test_a_name_that_rhapsody_does_not_have_is_named_with_those_that_it_has() -> None:
    with pytest.raises(BackendNotFoundError, match=r"no backend 'daks'; did you mean 'dask'\?"):
        await WorkflowEngine.create("rhapsody", config={"backend": "daks"})


@pytest.mark.parametrize(
    ("name", "needed", "extra"),
    [("dragon", "dragon", "dragon"), ("orbit", "radical.orbit", "orbit")],
)
async def test_what_a_backend_needs_is_named_with_how_to_get_it(
    name: str, needed: str, extra: str
) -> None:
    with pytest.raises(BackendNotFoundError) as caught:
        await WorkflowEngine.create("rhapsody", config={"backend": name})
    assert f"needs {needed}, which is not installed" in str(caught.value)
    assert f"pip install 'rhapsody-py[{extra}]'" in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"backend": "dask", "options": {"n_workers": 2}}, "takes no 'n_workers'; it takes: res"),
        ({"backend": "dask", "executor_type": "thread"}, "executor_type is about backend='conc"),
        ({"options": {"name": "mine"}}, "the name of the backend is that of the engine"),
        ({"backend": "ai"}, "have the backend 'inference' ask that"),
        ({"bakend": "dask"}, "backend"),
    ],
)
async def test_wrong_settings_are_refused_at_once(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await WorkflowEngine.create("rhapsody", config=settings)
    assert text in str(caught.value)


@pytest.mark.parametrize("option", [{"cores": 2}, {"gpus": 1}, {"memory": "1GB"}, {"ranks": 2}])
async def test_resources_are_refused_at_the_call(option: dict[str, Any]) -> None:
    async with WorkflowEngine.create("rhapsody") as flow:
        with pytest.raises(UnsupportedOptionError, match=next(iter(option))):
            flow.function_task(resources=option)(double)(1)


async def test_the_default_runs_functions_in_threads_of_rhapsody() -> None:
    async with WorkflowEngine.create("rhapsody", config={"max_workers": 2}) as flow:
        assert (await flow.function_task(thread_name)()).startswith("rhapsody")
        assert flow.backend.capacity() == 2


async def test_a_pool_of_processes_that_broke_is_lost_with_all_that_comes_later() -> None:
    config = {"executor_type": "process", "max_workers": 1}
    async with LeakGuard(), WorkflowEngine.create("rhapsody", config=config) as flow:
        with pytest.raises((WorkerLostError, BackendLostError)):
            await flow.function_task(end_worker)()
        with pytest.raises(BackendLostError, match="concurrent"):
            await flow.function_task(double)(1)


# ----------------------------------------------------------------------- as objects


async def test_an_object_of_rhapsody_is_a_backend_and_ends_with_the_engine() -> None:
    async with LeakGuard():
        theirs = await ConcurrentExecutionBackend(ThreadPoolExecutor(2, "mine"))
        async with WorkflowEngine.create(theirs) as flow:
            assert flow.backend.name == "concurrent"
            assert (await flow.function_task(thread_name)()).startswith("mine")
            assert await flow.executable_task(lambda: ["echo", "here"])() == "here\n"
            with pytest.raises(LookupError, match="no such thing"):
                await flow.function_task(fail)()
        assert await theirs.state() == "SHUTDOWN"


async def test_an_object_that_was_not_awaited_is_started_with_the_engine() -> None:
    async with WorkflowEngine.create(ConcurrentExecutionBackend(ThreadPoolExecutor(1))) as flow:
        assert await flow.function_task(double)(4) == 8


async def test_several_engines_use_one_object_of_rhapsody() -> None:
    async def work(number: int) -> list[Any]:
        async with WorkflowEngine.create(theirs) as flow:
            task = flow.function_task(double)
            return [await task(task(number)), await flow.executable_task(lambda: ["echo", "a"])()]

    async with LeakGuard():
        theirs = await ConcurrentExecutionBackend(ThreadPoolExecutor(2))
        async with WorkflowEngine.create(theirs) as flow:
            assert await asyncio.gather(work(1), work(2)) == [[4, "a\n"], [8, "a\n"]]
            assert await flow.function_task(double)(4) == 8
        assert await theirs.state() == "SHUTDOWN"


async def test_what_rhapsody_makes_by_name_is_a_backend_too() -> None:
    theirs = await rhapsody.get_backend("concurrent")
    async with LeakGuard(), WorkflowEngine.create([theirs, "noop"]) as flow:
        assert await flow.function_task(double)(4) == 8


async def test_rhapsody_keeps_nothing_of_tasks_that_have_ended() -> None:
    theirs = await ConcurrentExecutionBackend(ThreadPoolExecutor(2))
    async with WorkflowEngine.create(theirs) as flow:
        task = flow.function_task(double)
        assert await asyncio.gather(*map(task, range(100))) == [*range(0, 200, 2)]
        await until(lambda: not theirs.tasks)


async def test_a_function_that_does_not_return_holds_up_no_shutdown() -> None:
    begun, ends = threading.Event(), threading.Event()

    def stay() -> None:
        begun.set()
        ends.wait(60)

    backend = RhapsodyExecutionBackend(max_workers=1, grace=0.1)
    flow = await WorkflowEngine.create(backend)
    future = flow.function_task(stay)()
    await until(begun.is_set)
    async with asyncio.timeout(30):
        await flow.shutdown()
    assert future.cancelled()
    ends.set()


class Refusing(BaseBackend):
    """A backend of somebody else, which does with tasks what a test says."""

    def __init__(self, outcome: str, exception: BaseException | None = None) -> None:
        super().__init__("theirs")
        StateMapper.register_backend_tasks_states_with_defaults(self)
        self.outcome = outcome
        self.exception = exception

    async def submit_tasks(self, tasks: list[Any]) -> None:
        if self.outcome == "refuse":
            raise OSError("the line is cut")
        for task in tasks:
            task["exception"] = self.exception
            if self.outcome == "DONE":
                task["return_value"] = task["function"](*task["args"], **task["kwargs"])
            self._callback_func(task, self.outcome)

    async def cancel_task(self, uid: str) -> bool:  # noqa: ARG002
        return False

    async def shutdown(self) -> None:
        pass

    def state(self) -> str:
        return "RUNNING"

    def task_state_cb(self, task: Any, state: str) -> None:
        pass

    def get_task_states_map(self) -> StateMapper:
        return StateMapper(self)

    def build_task(self, task: Any) -> None:
        pass


async def test_a_backend_of_anybody_runs_functions_and_commands() -> None:
    async with WorkflowEngine.create(Refusing("DONE")) as flow:
        assert flow.backend.capabilities.pickles
        assert await flow.function_task(double)(4) == 8
        assert await flow.executable_task(lambda: ["echo", "here"])() == "here\n"
        with pytest.raises(LookupError, match="no such thing"):
            await flow.function_task(fail)()


async def test_what_is_cancelled_without_having_been_asked_for_counts_as_lost() -> None:
    async with WorkflowEngine.create(Refusing("CANCELED")) as flow:
        with pytest.raises(WorkerLostError, match="RHAPSODY says CANCELED"):
            await flow.function_task(double)(4)


async def test_an_error_of_rhapsody_itself_is_the_error_of_the_task() -> None:
    error = RuntimeError("No worker can satisfy this")
    async with WorkflowEngine.create(Refusing("FAILED", error)) as flow:
        with pytest.raises(RuntimeError, match="No worker can satisfy this"):
            await flow.function_task(double)(4)


async def test_a_backend_that_takes_no_tasks_is_lost() -> None:
    async with WorkflowEngine.create(Refusing("refuse")) as flow:
        with pytest.raises(BackendLostError, match=r"takes no tasks: .*the line is cut"):
            await flow.function_task(double)(4)


# ---------------------------------------------------------------------------- Dask


DASK = {
    "backend": "dask",
    "options": {"resources": {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}},
}


async def test_dask_of_rhapsody_runs_functions_and_commands_and_ends_commands(
    tmp_path: Path,
) -> None:
    async with LeakGuard(), WorkflowEngine.create("rhapsody", config=DASK) as flow:
        assert flow.backend.capacity() == 1
        assert await flow.function_task(os.getpid)() != os.getpid()
        with pytest.raises(LookupError, match="no such thing") as caught:
            await flow.function_task(fail)()
        assert "raise LookupError" in str(caught.value.__cause__)
        long = flow.executable_task(lambda: f"touch {tmp_path / 'begun'}; sleep 600")()
        await until((tmp_path / "begun").exists)
        long.cancel()
        async with asyncio.timeout(30):
            assert await flow.executable_task(lambda: ["echo", "here"])() == "here\n"


async def test_an_attempt_begins_once_though_dask_would_run_it_again(tmp_path: Path) -> None:
    def die() -> None:
        with (tmp_path / "begun").open("a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)

    async with WorkflowEngine.create("rhapsody", config=DASK) as flow:
        with pytest.raises(WorkerLostError, match="dask"):
            await flow.function_task(die)()
        assert (tmp_path / "begun").read_text() == "x"
        assert await flow.function_task(double)(4) == 8


# ------------------------------------------------------------------------ the plugin


def test_the_plugin_imports_neither_rhapsody_nor_the_backend(tmp_path: Path) -> None:
    code = (
        "import sys, asyncflow_backend_rhapsody.plugin as plugin\n"
        "assert plugin.asyncflow_adopt_backend(object()) is None\n"
        "assert not [name for name in sys.modules if name.split('.')[0] == 'rhapsody']\n"
        "assert 'asyncflow_backend_rhapsody.backend' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
