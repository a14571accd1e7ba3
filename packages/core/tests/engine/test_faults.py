"""Programs that end by a fault of a task."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

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


def test_what_the_program_decided_stays() -> None:
    code = "import faulthandler, sys; faulthandler.enable(sys.stdout)"
    done = run("thread", code)
    assert "in broken_simulation" in done.stdout
    assert "in broken_simulation" not in done.stderr


def test_a_program_without_standard_error_runs() -> None:
    code = "import sys; sys.stderr = sys.__stderr__ = None"
    assert run("thread", code).returncode == -signal.SIGSEGV
