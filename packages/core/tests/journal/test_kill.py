"""Whenever a program is killed, its journal has everything that it had seen written."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from radical.asyncflow.journal import read

from .journals import key_of, recalled, writing

WRITE = """
import os, sys, time
from hashlib import blake2b
from radical.asyncflow.journal import FunctionRecord, Journal
from radical.asyncflow.journal._format import function_used, run_begun, task_ended
from radical.asyncflow.journal._writer import JournalWriter
writer = JournalWriter(Journal(sys.argv[1], inline_limit=2000, sync_seconds=0.01), run=sys.argv[2])
first = int(sys.argv[3])
ends = {}

def tell(number):
    os.write(1, b"%d\\n" % ends[number])

writer.on_written = tell
writer.open()
number = writer.append([run_begun(sys.argv[2], 1.0, "h", 1, "3", []),
    function_used(FunctionRecord(1, "f", "function", ""))])
ends[number] = first - 1
task, number = first, number + 1
while True:
    batch = []
    for _ in range(1 + task % 7):
        key = blake2b(str(task).encode(), digest_size=16).hexdigest()
        value = writer.store({"task": task, "text": "x" * (task * 37 % 4000)})
        batch.append(task_ended(task, 1, "DONE", (0.0, 0.0, 0.0, 0.0), key=key, result=value))
        task += 1
    ends[number] = task - 1
    assert writer.append(batch) == number
    number += 1
    time.sleep(0.0002)
"""


def seen_before_death(path: Path, run: str, first: int, delay: float) -> int:
    """Return the last task that the killed program saw written; less than *first* if none."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITE, path, run, str(first)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        told = process.stdout.readline()  # it has begun
        time.sleep(delay)  # the moment is random: nothing is ordered by it
        process.send_signal(signal.SIGKILL)
        told += process.stdout.read()
        process.wait()
    return int(told.split(b"\n")[-2])


@pytest.mark.slow
def test_fifty_kills_lose_nothing_that_was_seen_and_nothing_half_is_read(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    choose = random.Random(20261124)
    expected = 0
    last = 0
    for number in range(50):
        run = f"run.{number}"
        seen = seen_before_death(path, run, last + 1, choose.uniform(0, 0.05))
        tasks = read(path)[-1]
        assert tasks.uid == run
        assert list(tasks.tasks) == list(range(last + 1, last + 1 + len(tasks.tasks)))
        last += len(tasks.tasks)
        assert last >= seen
        expected = max(expected, seen)
    assert expected > 100
    with writing(path, "later") as writer:
        for task in range(1, last + 1):
            found = writer.recall(key_of(task))
            assert found is not None, task
            assert found.load() == {"task": task, "text": "x" * (task * 37 % 4000)}
    assert recalled(path, 0) == {}
    left = {file.name for file in tmp_path.iterdir()}
    assert left <= {"journal", "journal.results"}
    assert not list((tmp_path / "journal.results").glob("*.part"))
