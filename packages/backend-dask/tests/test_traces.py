"""What functions print, log and use on Dask workers comes to the program and its journal."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from pathlib import Path

import pytest
from radical.asyncflow import WorkflowEngine
from radical.asyncflow._resume import running_output
from radical.asyncflow.journal import read
from radical.asyncflow.journal._output import read_output, tails

PATIENCE_S = 60.0


def speak(number: int) -> int:
    import logging
    import sys
    import time

    end = time.thread_time() + 0.02
    while time.thread_time() < end:
        pass
    print("number", number)
    print("aside", file=sys.stderr)
    logging.getLogger("lab").warning("measured %d", number)
    logging.getLogger("lab").info("in detail")
    logging.getLogger("quiet").warning("not wanted")
    if number < 0:
        raise ValueError(number)
    return number


@pytest.mark.parametrize("processes", [True, False])
async def test_the_record_has_what_a_function_prints_logs_and_uses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, processes: bool
) -> None:
    caplog.set_level(logging.ERROR, "quiet")
    caplog.set_level(logging.INFO, "lab")  # the last one holds for what is captured, too
    settings = {"n_workers": 2, "processes": processes, "dashboard_address": None}
    path = tmp_path / "journal"
    async with WorkflowEngine.create(backend="dask", config=settings, journal=path) as flow:
        task = flow.function_task(speak)
        futures = [task(number) for number in (1, -2, 3)]
        assert await futures[0] == 1
        with pytest.raises(ValueError, match="-2"):
            await futures[1]
        assert await futures[2] == 3
    for number, record in zip((1, -2, 3), read(path)[0].tasks.values(), strict=True):
        assert (record.stdout, record.stderr) == (f"number {number}\n", "aside\n")
        assert [(line.level, line.text) for line in record.logs] == [
            (logging.WARNING, f"measured {number}"),
            (logging.INFO, "in detail"),
        ]
        assert record.usage is not None
        assert record.usage.cpu_seconds is not None
        assert record.usage.cpu_seconds >= 0.02
        known = processes and sys.platform == "linux"
        assert (record.usage.peak_memory is not None) == known
    arrived = sorted((one.levelno, one.getMessage()) for one in caplog.records if one.name == "lab")
    # A cluster in the program keeps the handlers of the program to warnings.
    details = [(logging.INFO, "in detail")] * 3 if processes else []
    assert arrived == sorted(
        details + [(logging.WARNING, f"measured {number}") for number in (1, -2, 3)]
    )


async def test_records_stay_on_the_workers_if_they_are_not_wanted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = {"n_workers": 1, "forward_logs": False, "dashboard_address": None}
    async with WorkflowEngine.create(backend="dask", config=settings) as flow:
        assert await flow.function_task(speak)(1) == 1
    assert not [record for record in caplog.records if record.name == "lab"]


@pytest.mark.parametrize("processes", [True, False])
async def test_what_a_command_has_written_is_seen_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, processes: bool
) -> None:
    monkeypatch.setattr(running_output, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(running_output, "LEAST_S", 0.0)
    settings = {"n_workers": 2, "processes": processes, "dashboard_address": None}
    path, gate = tmp_path / "journal", tmp_path / "gate"
    async with WorkflowEngine.create(backend="dask", config=settings, journal=path) as flow:

        def script() -> str:
            return f"echo words; echo aside >&2; while test ! -e '{gate}'; do sleep 0.02; done"

        plain = flow.executable_task(script, name="plain")
        captured = flow.executable_task(script, name="captured", capture_stdio=True)
        futures = [plain(), captured()]
        deadline = time.monotonic() + PATIENCE_S
        while True:
            run = read(path)[-1]
            seen = [tails(task, run.uid, str(path)) for task in run.tasks.values()]
            if len(seen) == 2 and all(len(each) == 2 for each in seen):
                break
            assert time.monotonic() < deadline, seen
            await asyncio.sleep(0.05)
        for each in seen:
            assert [tail.text for tail in each] == ["words\n", "aside\n"]
        futures[1].cancel()
        gate.touch()
        assert await futures[0] == "words\n"
    assert read_output(str(path), read(path)[-1].uid) is None


async def test_what_a_cancelled_command_wrote_is_kept(tmp_path: Path) -> None:
    settings = {"n_workers": 1, "dashboard_address": None}
    path, begun = tmp_path / "journal", tmp_path / "begun"
    async with WorkflowEngine.create(backend="dask", config=settings, journal=path) as flow:
        future = flow.executable_task(lambda: f"echo words; touch '{begun}'; sleep 600")()
        deadline = time.monotonic() + PATIENCE_S
        while True:
            if begun.exists():
                break
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        future.cancel()
        await asyncio.wait([future])
    (task,) = read(path)[0].tasks.values()
    assert (task.state, task.stdout) == ("CANCELLED", "words\n")
