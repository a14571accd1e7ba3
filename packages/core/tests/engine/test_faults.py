"""Programs that end by a fault of a task."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from radical.asyncflow.journal import read

_PROGRAM = """
    import asyncio, ctypes, faulthandler, sys
    from radical.asyncflow import WorkflowEngine

    def broken_simulation():
        ctypes.string_at(0)

    async def main():
        settings = {"executor_type": sys.argv[1], "max_workers": 1}
        async with WorkflowEngine.create("concurrent", settings) as flow:
            await flow.function_task(broken_simulation)()

    asyncio.run(main())
"""


def run(kind: str, code: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code + textwrap.dedent(_PROGRAM), kind],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_segmentation_fault_of_a_task_says_where_it_was(kind: str) -> None:
    done = run(kind)
    assert "Segmentation fault" in done.stderr
    assert "in broken_simulation" in done.stderr
    if kind == "thread":
        assert done.returncode == -signal.SIGSEGV
    else:
        assert "WorkerLostError" in done.stderr


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_the_setting_keeps_it_silent(kind: str) -> None:
    assert "in broken_simulation" not in run(kind, ASYNCFLOW_FAULTHANDLER="0").stderr


_JOURNALED = """
    import asyncio, ctypes, sys, time
    from pathlib import Path
    from radical.asyncflow import WorkflowEngine
    from radical.asyncflow.journal import read

    path = Path(sys.argv[1])

    def good(after=None):
        return 1

    def broken_simulation(after):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            tasks = {task.name: task.state for task in read(path)[0].tasks.values()}
            if tasks.get("broken_simulation") == "RUNNING" and len(tasks) == 3:
                ctypes.string_at(0)
            time.sleep(0.005)

    async def main():
        settings = {"executor_type": "thread", "max_workers": 1}
        async with WorkflowEngine.create("concurrent", settings, journal=path) as flow:
            first = flow.function_task(good)()
            broken = flow.function_task(broken_simulation)(first)
            await flow.function_task(good, name="later")(after=broken)

    asyncio.run(main())
"""


def test_the_journal_says_what_ran_at_a_segmentation_fault(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_JOURNALED), str(journal)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGSEGV, done.stderr
    assert "in broken_simulation" in done.stderr
    (run,) = read(journal)
    assert [(task.name, task.state) for task in run.tasks.values()] == [
        ("good", "DONE"),
        ("broken_simulation", "RUNNING"),
        ("later", "PENDING"),
    ]
    shown = subprocess.run(
        [sys.executable, "-m", "radical.asyncflow", "show", "--journal", str(journal)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    about, _, unfinished = shown.stdout.partition("Was not finished when the program died")
    assert "1 done, 1 running, 1 pending" in about
    assert "task.000002" in unfinished
    assert "broken_simulation" in unfinished


def test_what_the_program_decided_stays() -> None:
    code = "import faulthandler, sys; faulthandler.enable(sys.stdout)"
    done = run("thread", code)
    assert "in broken_simulation" in done.stdout
    assert "in broken_simulation" not in done.stderr


def test_a_program_without_standard_error_runs() -> None:
    code = "import sys; sys.stderr = sys.__stderr__ = None"
    assert run("thread", code).returncode == -signal.SIGSEGV
