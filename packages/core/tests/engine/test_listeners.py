"""Plugins that observe: what they hear, and that nothing they do harms a run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from radical.asyncflow import WorkflowEngine
from radical.asyncflow._watch import listener as _listener
from radical.asyncflow._watch.listener import MAX_ERRORS, Listener
from radical.asyncflow.events import RunEvent, TaskEvent
from radical.asyncflow.model import TaskKind, TaskState
from radical.asyncflow.testing import ScriptedBackend

from .waiting import until

Install = Callable[[str], Any]


def identity(value: Any = None) -> Any:
    return value


def task_events(count: int) -> list[TaskEvent]:
    return [TaskEvent(0.0, n, "t", TaskKind.FUNCTION, TaskState.PENDING) for n in range(count)]


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Holds back a hook; a thread that was left behind ends with the test."""
    event = threading.Event()
    before = set(threading.enumerate())
    yield event
    event.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(20)


async def test_a_plugin_hears_the_whole_run(install: Install) -> None:
    guest = install(
        "seen = []\n@hookimpl\ndef asyncflow_events(events):\n    seen.extend(events)\n"
    )
    async with WorkflowEngine.create(ScriptedBackend(), uid="mine") as flow:
        await flow.function_task(identity)()
    assert [event.state for event in guest.seen] == [
        *("begun", "up"),
        *(TaskState.PENDING, TaskState.READY, TaskState.SUBMITTED, TaskState.RUNNING),
        *(TaskState.DONE, "down", "ended"),
    ]
    assert {event.run for event in guest.seen} == {"mine"}
    times = [event.time for event in guest.seen]
    assert times == sorted(times)
    assert guest.seen[-1].outcome == "done"


async def test_a_plugin_is_called_in_a_thread_of_its_own(install: Install) -> None:
    guest = install(
        "import threading\nseen = set()\n"
        "@hookimpl\ndef asyncflow_events(events):\n    seen.add(threading.get_ident())\n"
    )
    async with WorkflowEngine.create(ScriptedBackend()) as flow:
        await flow.function_task(identity)()
    assert len(guest.seen) == 1
    assert threading.get_ident() not in guest.seen


async def test_a_plugin_that_raises_is_told_of_once_and_not_called_for_ever(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    guest = install(
        "calls = []\n@hookimpl\ndef asyncflow_events(events):\n"
        "    calls.append(len(events))\n    raise SystemExit('as planned')\n"
    )
    with caplog.at_level(logging.WARNING, "radical.asyncflow"):
        async with WorkflowEngine.create(ScriptedBackend()) as flow:
            for number in range(100):
                assert await flow.function_task(identity)(number) == number
                await until(lambda: len(guest.calls) > min(number, MAX_ERRORS - 1))  # noqa: B023
    assert len(guest.calls) == MAX_ERRORS
    assert caplog.text.count("raised; the run goes on") == 1
    assert "plugin guest of guest 1" in caplog.text


async def test_a_plugin_that_never_returns_costs_the_shutdown_two_seconds(
    install: Install,
    gate: threading.Event,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert _listener.END_GRACE_S == 2.0
    monkeypatch.setattr(_listener, "END_GRACE_S", 0.05)
    guest = install("gate = None\n@hookimpl\ndef asyncflow_events(events):\n    gate.wait()\n")
    guest.gate = gate
    with caplog.at_level(logging.WARNING, "radical.asyncflow"):
        async with WorkflowEngine.create(ScriptedBackend()) as flow:
            task = flow.function_task(identity)
            assert [await task(number) for number in range(100)] == list(range(100))
    assert not gate.is_set()
    assert caplog.text.count("is left behind") == 1
    assert "plugin guest of guest 1" in caplog.text


async def test_a_plugin_that_lags_hopelessly_misses_events_but_not_the_end(
    gate: threading.Event, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("radical.asyncflow._watch.listener.MAX_WAITING_EVENTS", 1000)
    seen: list[Any] = []

    def hook(events: Any) -> None:
        gate.wait()
        seen.extend(events)

    listener = Listener("slow", hook)
    with caplog.at_level(logging.WARNING, "radical.asyncflow"):
        for _ in range(30):
            listener(task_events(100))
        listener([*task_events(100), RunEvent(0.0, "ended", "done")])
        gate.set()
        await listener.close()
    assert listener.dropped == 2100
    assert len(seen) == 1001
    assert isinstance(seen[-1], RunEvent)
    assert caplog.text.count("events behind") == 1
    assert "missed 2100 events" in caplog.text


async def test_what_waits_at_the_end_is_handled(gate: threading.Event) -> None:
    seen: list[Any] = []
    listener = Listener("busy", seen.extend)
    for _ in range(100):
        listener(task_events(500))
    await listener.close()
    assert len(seen) == 50_000


async def test_nothing_of_a_plugin_is_left_after_the_run(install: Install) -> None:
    install("@hookimpl\ndef asyncflow_events(events):\n    pass\n")
    async with WorkflowEngine.create(ScriptedBackend()):
        assert any("guest" in thread.name for thread in threading.enumerate())
    assert not any("guest" in thread.name for thread in threading.enumerate())
