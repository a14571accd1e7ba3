"""What a plugin sends along with tasks, and that it arrives where they run."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow import Command, TaskError, WorkflowEngine, current_task
from radical.asyncflow.testing import ScriptedBackend
from radical.asyncflow.worker import Carried, Codes, carried

Install = Callable[[str], Any]

GUEST = """
import contextlib, contextvars
from radical.asyncflow.worker import current_task

caller = contextvars.ContextVar("caller", default="nobody")
here = contextvars.ContextVar("here", default=None)
asked = []

@contextlib.contextmanager
def enter(headers):
    token = here.set(headers)
    try:
        yield
    finally:
        here.reset(token)

def show(value):
    return here.get(), value

async def show_async(value):
    return show(value)

class Guest(Carrier):
    enter = "guest_plugin:enter"
    def carry(self, spec, task_id):
        return f"{spec.name} {task_id} of {caller.get()}"
    def environment(self, headers):
        return {"GUEST": headers, "OTHER": "guest"}

@hookimpl
def asyncflow_carrier(run):
    asked.append(run)
    return Guest()
"""


def arrived(value: Any = None) -> Any:
    import guest_plugin  # type: ignore[import-not-found]

    return guest_plugin.here.get(), value, os.getpid()


async def arrived_async(value: Any = None) -> Any:
    await asyncio.sleep(0)
    return arrived(value)


class Caller:
    def method(self, value: Any) -> Any:
        return arrived(value)

    async def __call__(self, value: Any) -> Any:
        return arrived(value)


@pytest.fixture
def guest(install: Install) -> Any:
    return install(GUEST)


@pytest.fixture(params=["thread", "process", "async"])
async def flow(request: pytest.FixtureRequest, guest: Any) -> AsyncIterator[WorkflowEngine]:
    config = {"executor_type": request.param, "max_workers": 1}
    async with WorkflowEngine.create("concurrent", config) as engine:
        yield engine


async def test_a_plugin_is_asked_once_for_each_engine(guest: Any, flow: WorkflowEngine) -> None:
    await flow.function_task(arrived)()
    assert guest.asked == [flow.uid]


@pytest.mark.parametrize("function", [arrived, arrived_async])
async def test_headers_arrive_where_a_function_runs(
    flow: WorkflowEngine, guest: Any, function: Any
) -> None:
    guest.caller.set("somebody")
    headers, value, _ = await flow.function_task(function)(7)
    assert (headers, value) == (f"{function.__name__} 1 of somebody", 7)


@pytest.mark.parametrize(
    "function",
    [
        lambda value: arrived(value),
        lambda value: arrived_async(value),
        Caller().method,
        Caller(),
    ],
)
async def test_headers_arrive_in_any_callable(flow: WorkflowEngine, function: Any) -> None:
    headers, value, _ = await flow.function_task(name="any")(function)(7)
    assert (headers, value) == ("any 1 of nobody", 7)


@pytest.mark.parametrize("name", ["show", "show_async"])
async def test_headers_arrive_in_a_partial(flow: WorkflowEngine, guest: Any, name: str) -> None:
    function = functools.partial(getattr(guest, name), 7)
    assert await flow.function_task(function)() == (f"{name} 1 of nobody", 7)


async def test_dependencies_and_keywords_go_along(flow: WorkflowEngine) -> None:
    task = flow.function_task(arrived)
    first = task(1)
    nested = task(value=[first, 3])
    assert (await nested)[1][0] == await first


async def test_nothing_is_left_entered(flow: WorkflowEngine, guest: Any) -> None:
    await flow.function_task(arrived)()
    guest.Guest.carry = lambda *_: None
    assert (await flow.function_task(arrived)())[0] is None


async def test_a_retry_has_the_headers_of_its_call(flow: WorkflowEngine, tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    def second() -> Any:
        if not mark.exists():
            mark.touch()
            raise OSError
        task = current_task()
        assert task is not None
        return task.attempt, arrived()[0]

    assert await flow.function_task(retries=1)(second)() == (2, "second 1 of nobody")


async def test_a_failure_is_the_functions_own(flow: WorkflowEngine) -> None:
    def broken() -> None:
        raise LookupError("as planned")

    with pytest.raises(LookupError, match="as planned") as caught:
        await flow.function_task(broken)()
    notes = [str(caught.getrepr()), str(caught.value.__cause__)]
    assert any("in broken" in text or "broken()" in text for text in notes)


async def test_the_users_function_is_what_is_shown(flow: WorkflowEngine) -> None:
    task = flow.function_task(arrived)
    await task()
    assert task.spec.function is arrived
    assert [task.name for task in flow.plan().tasks] == ["arrived"]


async def test_a_command_has_the_variables(flow: WorkflowEngine) -> None:
    @flow.executable_task
    async def show() -> Command:
        return Command('echo "$GUEST, $OTHER"', env={"OTHER": "mine"})

    assert await show() == "show 1 of nobody, mine\n"


async def test_headers_arrive_in_bodies_that_run_here(flow: WorkflowEngine) -> None:
    @flow.executable_task
    def line() -> list[str]:
        return ["echo", arrived()[0]]

    @flow.block
    async def outer() -> Any:
        return arrived()[0], await line(), arrived()[0]

    here = "outer 1 of nobody"
    assert await outer() == (here, "line 2 of nobody\n", here)


async def test_a_function_is_wrapped_once(guest: Any) -> None:
    backend = ScriptedBackend()
    async with WorkflowEngine.create(backend) as flow:
        task = flow.function_task(arrived)
        await asyncio.gather(task(1), task(2), task.options(name="other")(3))
    first, second, third = (request.spec for request in backend.submitted)
    assert first is second
    assert first.function is third.function
    assert isinstance(first.function, Carried)


async def test_a_dry_run_carries_nothing(guest: Any) -> None:
    async with WorkflowEngine.create(dry_run=True) as flow:
        result: Any = await flow.function_task(arrived)()
    assert result.name == "arrived"


async def test_a_carrier_that_raises_harms_no_task(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install(
        "class Bad(Carrier):\n"
        "    def carry(self, spec, task_id): raise OSError('no')\n"
        "@hookimpl\ndef asyncflow_carrier(run): return Bad()\n"
    )
    with caplog.at_level(logging.ERROR, "radical.asyncflow"):
        async with WorkflowEngine.create(ScriptedBackend()) as flow:
            task = flow.function_task(len)
            assert [await task("abc") for _ in range(5)] == [3] * 5
    assert caplog.text.count("raised in carry()") == 1


@pytest.mark.parametrize(
    "enter",
    [
        "guest_plugin:missing",
        "not_there_at_all:enter",
        "guest_plugin:raises",
        "guest_plugin:raises_at_the_end",
    ],
)
async def test_what_cannot_be_entered_harms_no_task(
    install: Install, caplog: pytest.LogCaptureFixture, enter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("radical.asyncflow.worker._carried._broken", set())
    install(
        "import contextlib\n"
        "def raises(headers): raise OSError('no')\n"
        "@contextlib.contextmanager\n"
        "def raises_at_the_end(headers):\n    yield\n    raise OSError('no')\n"
        "class Bad(Carrier):\n"
        f"    enter = {enter!r}\n"
        "    def carry(self, spec, task_id): return 1\n"
        "@hookimpl\ndef asyncflow_carrier(run): return Bad()\n"
    )
    with caplog.at_level(logging.WARNING, "radical.asyncflow"):
        async with WorkflowEngine.create(ScriptedBackend()) as flow:
            task = flow.function_task(len)
            assert [await task("abc") for _ in range(5)] == [3] * 5
    assert caplog.text.count(f"{enter} raised an error around a task") == 1


@pytest.mark.parametrize("value", ["'text'", "1 / 0"])
async def test_a_plugin_without_a_carrier_harms_no_engine(
    install: Install, caplog: pytest.LogCaptureFixture, value: str
) -> None:
    install(f"@hookimpl\ndef asyncflow_carrier(run): return {value}\n")
    async with WorkflowEngine.create(ScriptedBackend()) as flow:
        assert await flow.function_task(len)("abc") == 3
    assert "plugin guest of guest 1 raised on a new engine" in caplog.text


async def test_a_carrier_may_hear_the_events_of_its_run(install: Install) -> None:
    guest = install(
        "heard = {}\n"
        "class Ear(Carrier):\n"
        "    def __init__(self, run): self.run = run\n"
        "    def events(self, events): heard.setdefault(self.run, []).extend(events)\n"
        "@hookimpl\ndef asyncflow_carrier(run): return Ear(run)\n"
    )
    for uid in ("one", "two"):
        async with WorkflowEngine.create(ScriptedBackend(), uid=uid) as flow:
            await flow.function_task(len)("abc")
    assert {uid: {event.run for event in heard} for uid, heard in guest.heard.items()} == {
        "one": {"one"},
        "two": {"two"},
    }


def test_a_change_of_what_the_function_refers_to_is_seen() -> None:
    factor = 1

    def scaled(value: int) -> int:
        return value * factor

    codes, wrapped = Codes(), carried(scaled, ())
    before = codes.code_of(wrapped)
    assert codes.code_of(wrapped) is before
    factor = 2
    assert codes.code_of(wrapped) is not before


def test_a_function_of_a_script_is_sent_with_it(guest: Any, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import asyncio\n"
        "from radical.asyncflow import WorkflowEngine\n"
        "class Point:\n    x = 3\n"
        "def here(point):\n"
        "    import guest_plugin\n"
        "    return guest_plugin.here.get(), point.x, type(point) is Point\n"
        "async def main():\n"
        "    config = {'executor_type': 'process', 'max_workers': 1}\n"
        "    async with WorkflowEngine.create('concurrent', config) as flow:\n"
        "        print(await flow.function_task(here)(Point()))\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("('here 1 of nobody', 3, True)\n", "")


async def test_what_cannot_be_sent_is_named_as_before(guest: Any) -> None:
    config = {"executor_type": "process", "max_workers": 1}
    async with WorkflowEngine.create("concurrent", config) as flow:
        with pytest.raises(TaskError, match="arguments"):
            await flow.function_task(arrived)(threading.Lock())
