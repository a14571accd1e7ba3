"""``asyncflow explain --waiting``, of runs that go on and of such that were killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from radical.asyncflow.cli._command import command
from radical.asyncflow.cli.explain import MAX_EXPLAINED
from radical.asyncflow.journal import read
from radical.asyncflow.journal._waits import RunWaits, TaskGroup, write_waits

from ..report.synthetic import synthetic, write_journal

PROGRAM = """
import asyncio, sys, threading
from radical.asyncflow import WorkflowEngine

def simulate(number):
    print("begun", flush=True)
    threading.Event().wait()

async def run():
    async with WorkflowEngine.create("concurrent", {"max_workers": 1}, journal=sys.argv[1]) as flow:
        task = flow.function_task(simulate)
        parts = [task(number) for number in range(3)]
        await flow.function_task(len, name="merge")(parts)

asyncio.run(run())
"""


@pytest.fixture
def run(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """Give the journal and the process of a run, one of whose tasks runs for ever."""
    journal = tmp_path / "journal"
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(journal)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            while not (begun := read(journal)) or not begun[-1].running:
                pass
            yield journal, process.pid
        finally:
            process.kill()


def explain(*words: object) -> str:
    done = CliRunner().invoke(command, ["explain", "--waiting", *map(str, words)])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_journal_tells_dependencies_and_the_program_what_only_it_knows(
    run: tuple[Path, int],
) -> None:
    journal, _ = run
    told = explain(journal, "merge")
    assert told.startswith("task.000004 'merge' waits for 3 of its 3 inputs:\n")
    assert "task.000001 'simulate' for" in told
    uid = read(journal)[-1].uid
    group = TaskGroup("slot", "the only slot", "concurrent", [(2, 3)], 2, holders=[1])
    write_waits(str(journal), RunWaits(uid, 0.0, (group,)))
    told = explain(journal, "3")
    assert told.startswith("task.000003 'simulate' waits for the only slot (task.000001")
    everything = explain(journal)
    assert everything.startswith("3 tasks of this run wait\n")
    assert "task.000002 'simulate' and task.000003 'simulate' wait for the only slot" in everything
    (answer,) = json.loads(explain(journal, "merge", "--json"))
    assert answer["run"] == uid
    assert [cause["count"] for cause in answer["causes"]] == [1, 2]


def test_of_a_name_those_that_have_ended_come_last(tmp_path: Path) -> None:
    run = synthetic(200, seed=1, uid="run.aaaa0001", killed=0.6)
    states = [task.state for task in run.tasks.values() if task.name == "analyse"]
    assert states[:MAX_EXPLAINED].count("RUNNING") < states.count("RUNNING") == 6
    told = explain(write_journal(tmp_path / "journal", run), "analyse").splitlines()[1:-1]
    assert [" runs for " in line for line in told] == [True] * 6 + [False] * (MAX_EXPLAINED - 6)
    assert all(line.endswith(" is DONE") for line in told[6:])


def test_a_killed_run_tells_what_it_waited_for(run: tuple[Path, int]) -> None:
    journal, pid = run
    os.kill(pid, signal.SIGKILL)
    while read(journal)[-1].life != "killed":
        pass
    told = explain(journal, "merge")
    assert " is killed (" in told.splitlines()[0]
    assert told.splitlines()[1] == "task.000004 'merge' waits for 3 of its 3 inputs:"


def test_too_many_words_are_an_error() -> None:
    done = CliRunner().invoke(command, ["explain", "--waiting", "a", "b", "c"])
    assert done.exit_code == 2
    assert "give one RUN and one TASK, not 3 words" in done.output
