"""The leak guard names whatever outlives the code in it, and nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from radical.asyncflow.testing import LeakError, LeakGuard


def test_nothing_is_no_leak() -> None:
    with LeakGuard(grace=0):
        pass


def test_an_open_file_is_a_leak(tmp_path: Path) -> None:
    path = tmp_path / "held"
    with pytest.raises(LeakError, match=r"descriptors: .*held"), LeakGuard(grace=0):
        file = path.open("w")
    file.close()


def test_a_file_that_was_open_before_is_no_leak(tmp_path: Path) -> None:
    with (tmp_path / "held").open("w") as file, LeakGuard(grace=0):
        file.write("opened before")


def test_a_running_thread_is_a_leak() -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="left-behind")
    with pytest.raises(LeakError, match=r"threads: .*left-behind"), LeakGuard(grace=0):
        thread.start()
    end.set()
    thread.join()


def test_a_child_process_is_a_leak() -> None:
    command = [sys.executable, "-c", "input()  # left-behind"]
    with pytest.raises(LeakError, match=r"processes: .*left-behind"), LeakGuard(grace=0):
        child = subprocess.Popen(command, stdin=subprocess.PIPE)
    child.communicate(b"\n")


def test_what_an_earlier_child_starts_is_no_leak() -> None:
    script = "read line; sleep 30 & echo $!; wait"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(["sh", "-c", script], **pipes, text=True) as earlier:
        assert earlier.stdin is not None
        assert earlier.stdout is not None
        with LeakGuard(grace=0.0):
            earlier.stdin.write("go\n")
            earlier.stdin.flush()
            started = int(earlier.stdout.readline())
        os.kill(started, signal.SIGKILL)


def test_a_child_that_nobody_waited_for_is_a_leak() -> None:
    with pytest.raises(LeakError, match=r"processes: .*zombie"), LeakGuard(grace=0.5):
        child = subprocess.Popen(["true"])
    child.wait()


def test_a_file_in_the_current_folder_is_a_leak() -> None:
    file = Path("left-behind")
    with pytest.raises(LeakError, match=r"files: .*left-behind"), LeakGuard(grace=0):
        file.touch()
    file.unlink()


async def test_a_pending_task_is_a_leak() -> None:
    with pytest.raises(LeakError, match=r"tasks: .*left-behind"):
        async with LeakGuard(grace=0):
            task = asyncio.create_task(asyncio.Event().wait(), name="left-behind")
    task.cancel()
    await asyncio.wait([task])


async def test_what_ends_within_the_grace_is_no_leak() -> None:
    async with LeakGuard(grace=10):
        task = asyncio.create_task(asyncio.sleep(0.05))
        thread = threading.Timer(0.05, task.get_name)
        thread.start()


def test_an_error_of_the_guarded_code_is_not_hidden() -> None:
    file = Path("made-before-the-error")

    def leak_and_raise() -> None:
        file.touch()
        raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"), LeakGuard(grace=0):
        leak_and_raise()
    file.unlink()


def test_leaving_what_was_not_entered_is_refused() -> None:
    with pytest.raises(RuntimeError, match="not entered"):
        LeakGuard().__exit__(None, None, None)
