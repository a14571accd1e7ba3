"""The program of a job on its node: it takes one task from a file, and leaves its answer in one."""

from __future__ import annotations

import os
import pickle
import platform
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from radical.asyncflow.worker import TaskContext, answer, answer_pickled, read_clock

LOOK_S = 0.1  # between two looks for what a command left behind


def main(stem: Path) -> None:
    """Run the task of ``STEM.task``; write ``STEM.began`` and ``STEM.answer``."""
    sys.path[:], context, kind, call = pickle.loads(stem.with_suffix(".task").read_bytes())
    write(stem.with_suffix(".began"), (platform.node(), read_clock()))
    if kind == "command":
        run_command(stem, *call)
        return
    me = os.getpid()
    with TaskContext(*context):
        outcome = answer_pickled(*call)
    if os.getpid() != me:
        os._exit(0)  # a fork of the function, which returned as well
    write(stem.with_suffix(".answer"), (outcome, read_clock()))


def run_command(stem: Path, command: bytes, name: str, folder: str, capture_stdio: bool) -> None:
    """Run a command; the job goes on while something runs that the command left behind."""
    from radical.asyncflow.worker import Execution, guard, marked_processes

    execution = Execution(
        pickle.loads(command), name=name, work_dir=lambda: Path(folder), capture_stdio=capture_stdio
    )
    ended = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal ended
        ended = True
        execution.cancel()

    signal.signal(signal.SIGTERM, end)
    guard().acquire()
    outcome = answer(execution.run, (), {})
    write(stem.with_suffix(".answer"), (outcome, read_clock()))
    while not ended and marked_processes(guard().token):
        time.sleep(LOOK_S)
    guard().release()  # it ends what is left


def write(path: Path, value: Any) -> None:
    """Write a file so that whoever sees it sees the whole of it."""
    new = path.with_suffix(".new")
    new.write_bytes(pickle.dumps(value))
    new.replace(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
