"""Deaths of workers that were really brought about, each told with its true cause."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from control_groups import small_group
from radical.asyncflow import ExecutableError, WorkerLostError, WorkflowEngine
from radical.asyncflow.errors import DeathReason

__all__ = ["small_group"]

PROGRAM = """
import asyncio
import shlex
import sys

from radical.asyncflow import ExecutableError, WorkerLostError, WorkflowEngine

def hoard():
    kept = []
    while True:
        kept.append(bytearray(10**7))

async def main():
    async with WorkflowEngine.create(
        "concurrent", {"max_workers": 1, "executor_type": "process"}
    ) as flow:
        try:
            await flow.function_task(hoard)()
        except WorkerLostError as error:
            print(error.reason, error)
        hoarding = [sys.executable, "-c", "x = [bytearray(10**7) for _ in range(100)]"]
        for command in (hoarding, shlex.join(hoarding) + "; exit $?"):
            try:
                await flow.executable_task(lambda: command)()
            except ExecutableError as error:
                print(error.exit_code, error.reason, error.evidence)

asyncio.run(main())
"""


def signals(number: int) -> None:
    os.kill(os.getpid(), number)
    signal.pause()


def exits() -> None:
    os._exit(3)


def burns() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (1, 10))
    while True:
        pass


def reads_nothing() -> None:
    import ctypes

    ctypes.string_at(0)


def closes_everything() -> None:
    os.closerange(3, 256)
    signal.pause()


@pytest.mark.parametrize(
    ("function", "reason", "said"),
    [
        (reads_nothing, DeathReason.CRASH, "signal 11 (SIGSEGV)"),
        (os.abort, DeathReason.CRASH, "signal 6 (SIGABRT)"),
        (lambda: signals(signal.SIGKILL), DeathReason.KILLED, "signal 9 (SIGKILL)"),
        (lambda: signals(signal.SIGUSR1), DeathReason.KILLED, f"signal {int(signal.SIGUSR1)}"),
        (exits, DeathReason.EXIT, "it exited with code 3"),
        (burns, DeathReason.LIMIT, "more processor time than its limit"),
        (closes_everything, DeathReason.EXIT, "it closed its connection"),
    ],
)
async def test_the_cause_is_told(
    function: Callable[[], object], reason: DeathReason, said: str
) -> None:
    settings = {"max_workers": 1, "executor_type": "process"}
    async with WorkflowEngine.create("concurrent", settings) as flow:
        with pytest.raises(WorkerLostError) as caught:
            await flow.function_task(function)()
        assert (caught.value.reason, said in str(caught.value)) == (reason, True), caught.value
        # The next task has a new worker.
        assert await flow.function_task(len)("four") == 4


@pytest.mark.parametrize(
    ("line", "reason", "said"),
    [
        ("kill -9 $$", DeathReason.KILLED, "signal 9 (SIGKILL)"),
        ("kill -SEGV $$", DeathReason.CRASH, "signal 11 (SIGSEGV)"),
        ("kill -TERM $$", DeathReason.KILLED, "signal 15 (SIGTERM)"),
        ("ulimit -S -t 1; while :; do :; done", DeathReason.LIMIT, "more processor time"),
        ("exit 4", DeathReason.EXIT, "exit code 4"),
        ("sh -c 'kill -9 $$'; exit 137", DeathReason.EXIT, "exit code 137"),
    ],
)
async def test_the_cause_of_the_end_of_a_command_is_told(
    line: str, reason: DeathReason, said: str
) -> None:
    async with WorkflowEngine.create("concurrent", {"max_workers": 1}) as flow:
        with pytest.raises(ExecutableError) as caught:
            await flow.executable_task(lambda: line)()
    assert (caught.value.reason, said in str(caught.value)) == (reason, True), caught.value


def test_what_the_kernel_kills_for_memory(small_group: Path, tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    line = 'echo $$ > "$1" && exec "$2" "$3"'
    ended = subprocess.run(
        ["/bin/sh", "-c", line, "sh", str(small_group / "cgroup.procs"), sys.executable, script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert ended.stdout.count("\n") == 3, ended
    worker, program, shell = ended.stdout.splitlines()
    assert worker.startswith("memory worker"), ended
    assert program.startswith("-9 memory the kernel killed"), ended
    assert shell.startswith("137 memory the kernel killed"), ended
