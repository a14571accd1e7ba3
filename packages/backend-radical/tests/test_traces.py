"""What functions print, log and use on a pilot comes to the program and its journal."""

from __future__ import annotations

import asyncio
import logging
import shlex
import sys
import time
from pathlib import Path

import pytest
from asyncflow_backend_radical import RadicalExecutionBackend
from radical.asyncflow import WorkflowEngine
from radical.asyncflow._resume import running_output
from radical.asyncflow.journal import read
from radical.asyncflow.journal._format import parse
from radical.asyncflow.journal._output import tails
from service_figures import check_service_figures

PATIENCE_S = 120.0
BURN = """
import time
print(time.monotonic())
end = time.process_time() + 0.1
while time.process_time() < end: pass
print(time.monotonic())
"""


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
    if number < 0:
        raise ValueError(number)
    return number


async def test_the_record_has_what_a_function_prints_logs_and_uses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "journal"
    backend = RadicalExecutionBackend(walltime=20)
    async with WorkflowEngine.create(backend, journal=path) as flow:
        task = flow.function_task(speak)
        good, bad = task(1), task(-2)
        assert await good == 1
        with pytest.raises(ValueError, match="-2"):
            await bad
    for number, record in zip((1, -2), read(path)[0].tasks.values(), strict=True):
        assert (record.stdout, record.stderr) == (f"number {number}\n", "aside\n")
        assert [(line.level, line.text) for line in record.logs] == [
            (logging.WARNING, f"measured {number}")
        ]
        assert record.usage is not None
        assert record.usage.cpu_seconds is not None
        assert record.usage.cpu_seconds >= 0.02
        assert record.usage.peak_memory is not None
    arrived = {one.getMessage() for one in caplog.records if one.name == "lab"}
    assert arrived == {"measured 1", "measured -2"}


async def test_the_record_has_what_commands_write_and_use_and_when_they_ran(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running_output, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(running_output, "LEAST_S", 0.0)
    path, gate, begun = (tmp_path / name for name in ("journal", "gate", "begun"))
    backend = RadicalExecutionBackend(walltime=20)
    async with WorkflowEngine.create(backend, journal=path) as flow:

        @flow.executable_task(service=True, info_pattern="stdout:at (.*)")
        def serve() -> str:
            return "echo at home; exec sleep 600"

        service = serve()
        assert await flow.executable_task(lambda place: f"echo {place}")(service) == "home\n"

        def clock() -> str:
            python = f"{shlex.quote(sys.executable)} -c {shlex.quote(BURN)}"
            return f"{python}; head -c 100000 /dev/zero >&2"

        first = flow.executable_task(clock, name="clock")()
        waits = f"while test ! -e '{gate}'; do sleep 0.02; done"
        second = flow.executable_task(lambda: f"echo words; {waits}", name="waits")()
        third = flow.executable_task(
            lambda: f"echo gone; touch '{begun}'; sleep 600", name="cancelled"
        )()
        deadline = time.monotonic() + PATIENCE_S
        while True:
            run = read(path)[-1]
            seen = [tail for task in run.running for tail in tails(task, run.uid, str(path))]
            if begun.exists() and any(tail.text == "words\n" for tail in seen):
                break
            assert time.monotonic() < deadline, seen
            await asyncio.sleep(0.05)
        third.cancel()
        gate.touch()
        assert await second == "words\n"
        began, ended = map(float, (await first).split())
        await asyncio.wait([third])
        await service.stop()
    run = read(path)[-1]
    check_service_figures(run)
    tasks = {task.name: task for task in run.tasks.values()}
    # The pilot says it some tenths of a second later.
    lines = map(parse, path.read_bytes().splitlines())
    clock_of_run = next(float(line.fields["clock"]) for line in lines if line.kind == "B")
    begun_s, ended_s = tasks["clock"].started, tasks["clock"].ended
    assert begun_s <= began - clock_of_run + 0.001
    assert ended_s >= ended - clock_of_run - 0.001
    usage = tasks["clock"].usage
    assert usage.cpu_seconds >= 0.1
    assert usage.peak_memory is None
    if sys.platform == "linux":
        assert usage.written_bytes >= 100_000
    assert (tasks["cancelled"].state, tasks["cancelled"].stdout) == ("CANCELLED", "gone\n")
