"""What functions print, log and use stands in the record of their run."""

from __future__ import annotations

import contextlib
import logging
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.journal import Journal, RunRecord, read

PLACES = ["thread", "process", "async"]


async def run(path: Path, place: str, function: Any, *calls: Any, **settings: Any) -> RunRecord:
    """Run *function* with each of *calls*, and return the record."""
    options = settings.pop("options", {})
    async with WorkflowEngine.create(
        backend="concurrent",
        config={"executor_type": place, "max_workers": 2},
        journal=Journal(path, **settings),
    ) as flow:
        task = flow.function_task(function, **options)
        for future in [task(call) for call in calls]:
            with contextlib.suppress(ValueError):
                await future
    return read(path)[-1]


def speak(number: int) -> int:
    print("number", number)
    print("aside", file=sys.stderr)
    logging.getLogger("lab").warning("measured %d", number)
    if number < 0:
        raise ValueError(number)
    return number


async def speak_async(number: int) -> int:
    return speak(number)


@pytest.mark.parametrize("place", PLACES)
async def test_the_record_of_each_task_has_its_output_and_its_log_records(
    tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    function = speak_async if place == "async" else speak
    record = await run(tmp_path / "journal", place, function, 1, -2, 3)
    for number, task in zip((1, -2, 3), record.tasks.values(), strict=True):
        assert (task.stdout, task.stderr) == (f"number {number}\n", "aside\n")
        (line,) = task.logs
        assert (line.level, line.logger) == (logging.WARNING, "lab")
        assert line.text == f"measured {number}"
        assert task.cut == (0, 0, 0)
    messages = {record.getMessage() for record in caplog.records if record.name == "lab"}
    assert messages == {"measured 1", "measured -2", "measured 3"}


@pytest.mark.parametrize("place", ["thread", "process"])
async def test_each_attempt_has_its_own_output(tmp_path: Path, place: str) -> None:
    def try_again(path: str) -> str:
        if not Path(path).exists():
            Path(path).touch()
            print("first")
            raise ValueError
        print("second")
        return path

    record = await run(
        tmp_path / "journal", place, try_again, str(tmp_path / "tried"), options={"retries": 1}
    )
    (task,) = record.tasks.values()
    (failed,) = task.failed
    assert (failed.trace.stdout, task.stdout) == ("first\n", "second\n")
    assert failed.trace.usage is not None


@pytest.mark.parametrize("place", ["thread", "process"])
async def test_what_a_task_uses_is_known_as_far_as_its_place_can_tell(
    tmp_path: Path, place: str
) -> None:
    def work(size: int) -> bytes:
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass
        return bytes(size)  # more than is copied on its way

    record = await run(tmp_path / "journal", place, work, 10, 100_000)
    for task in record.tasks.values():
        assert task.usage is not None
        assert task.usage.cpu_seconds is not None
        assert task.usage.cpu_seconds >= 0.05
        known = place == "process" and sys.platform == "linux"
        assert (task.usage.peak_memory is not None) == known


@pytest.mark.parametrize("place", ["thread", "process"])
async def test_a_journal_that_is_not_to_have_them_has_none(tmp_path: Path, place: str) -> None:
    record = await run(tmp_path / "journal", place, speak, 1, output=False, usage=False)
    (task,) = record.tasks.values()
    assert (task.stdout, task.stderr, task.logs, task.usage) == (None, None, (), None)


async def test_records_of_processes_stay_there_if_they_are_not_wanted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with WorkflowEngine.create(
        backend="concurrent", config={"executor_type": "process", "forward_logs": False}
    ) as flow:
        await flow.function_task(speak)(1)
    assert not [record for record in caplog.records if record.name == "lab"]


async def test_the_logging_functions_of_a_worker_set_up_no_handler_of_their_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def log() -> int:
        logging.warning("without a logger")
        return len(logging.root.handlers)

    async with WorkflowEngine.create(
        backend="concurrent", config={"executor_type": "process"}
    ) as flow:
        handlers = await flow.function_task(log)()
    assert handlers == 0
    assert [one.getMessage() for one in caplog.records if one.name == "root"] == [
        "without a logger"
    ]


COMMANDS = """
import asyncio, sys
from radical.asyncflow import WorkflowEngine

async def main():
    async with WorkflowEngine.create("concurrent", journal=sys.argv[1]) as flow:
        await flow.executable_task(lambda: sys.argv[2], name="large")()
        await flow.executable_task(lambda: "true", name="small")()

asyncio.run(main())
"""

LARGE = """
import subprocess, sys
held = b"1" * 500_000_000
subprocess.run(sys.argv[1:], check=True)
"""


def test_what_a_command_uses_is_known_with_the_processes_that_it_waited_for(
    tmp_path: Path,
) -> None:
    """The program is one of its own, because only what is above its own memory is known.

    What starts that program has more: the kernel counts it to the program, but it is not its.
    """
    work = "import time\nwhile time.process_time() < 0.1: pass\nmemory = bytearray(400_000_000)"
    lines = [
        f"{shlex.quote(sys.executable)} -c {shlex.quote(work)}",
        f"head -c 3000000 /dev/zero > {shlex.quote(str(tmp_path / 'zeros'))}",
        "true",
    ]
    journal = tmp_path / "journal"
    command = [sys.executable, "-c", COMMANDS, str(journal), "\n".join(lines)]
    large = (
        "import subprocess, sys; m = b'1' * 500_000_000; subprocess.run(sys.argv[1:], check=True)"
    )
    subprocess.run([sys.executable, "-c", large, *command], check=True, timeout=300)
    first, second = read(journal)[0].tasks.values()
    assert first.usage is not None
    assert first.usage.cpu_seconds is not None
    assert first.usage.cpu_seconds >= 0.1
    assert first.usage.peak_memory is not None
    assert first.usage.peak_memory >= 400_000_000
    if sys.platform == "linux":
        assert first.usage.written_bytes is not None
        assert first.usage.written_bytes >= 3_000_000
    # The kernel counts what the program had to a process that has less.
    assert second.usage is not None
    assert second.usage.peak_memory is None
    assert second.stdout == ""
