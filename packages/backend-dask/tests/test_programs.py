"""Whole programs: whatever their ``__main__`` is, workers never run it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

# No `if __name__ == "__main__"`: a spawned worker that imported this would start it anew.
PROGRAM = """
import asyncio
from radical.asyncflow import WorkflowEngine

print("main is run", flush=True)
OFFSET = 40

def plus(number):
    return number + OFFSET

class Pair:
    def __init__(self, left, right):
        self.left, self.right = left, right

async def main():
    config = {"n_workers": 1, "dashboard_address": None}
    async with WorkflowEngine.create("dask", config=config) as flow:
        pair = flow.function_task(lambda: Pair(plus(1), plus(2)))
        total = flow.function_task(lambda pair: pair.left + pair.right)
        print(await total(pair()), flush=True)
        END

asyncio.run(main())
"""


def program(end: str = "") -> str:
    return PROGRAM.replace("END", end)


@pytest.mark.parametrize("how", ["script", "stdin", "command"])
def test_main_is_run_once_however_it_is_started(how: str, tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(program())
    arguments = {"script": [str(script)], "stdin": ["-"], "command": ["-c", program()]}[how]
    done = subprocess.run(
        [sys.executable, *arguments],
        input=program() if how == "stdin" else None,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        check=False,
    )
    assert done.stdout == "main is run\n83\n", done.stderr
    assert done.stderr == ""


def test_a_program_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(program("await flow.function_task(__import__('time').sleep)(60)"))
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "main is run\n"
        assert process.stdout.readline() == "83\n"
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 2
        process.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(children, timeout=8)
    assert alive == []


def test_ctrl_c_ends_the_program_and_its_cluster(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(program("await flow.function_task(__import__('time').sleep)(60)"))
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline()
        children = psutil.Process(process.pid).children(recursive=True)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) != 0
        assert time.monotonic() - begun < 20
    _, alive = psutil.wait_procs(children, timeout=8)
    assert alive == []
