"""A run that has no end: whether it goes on, was killed, or cannot be known, and what it does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from radical.asyncflow.journal import RunRecord, TaskRecord, _reader, read
from radical.asyncflow.journal._format import (
    Calls,
    function_used,
    run_begun,
    run_ended,
    task_started,
    tasks_called,
)
from radical.asyncflow.journal._process import Process

from .journals import FUNCTION, writing

PROGRAM = """
import os, sys, time
from radical.asyncflow.journal._format import run_begun
from radical.asyncflow.journal._process import Process
from radical.asyncflow.journal._writer import Journal, JournalWriter
writer = JournalWriter(Journal(sys.argv[1]), run="run.1")
writer.open()
me = Process.own()
line = run_begun(
    "run.1", time.time(), me.host, me.pid, "3", [], process=me, clock=time.monotonic()
)
writer.on_written = lambda number: print("written", flush=True)
writer.append([line])
sys.stdin.read()
"""


def begun(process: Process, *, wall: float = 1000.0) -> bytes:
    """Make the first line of a run that *process* runs."""
    return run_begun("run.1", wall, process.host, process.pid, "3", [], process=process)


def life(path: Path, process: Process, *, locked: bool = True) -> RunRecord:
    """Return a run that *process* began, with its lock or without, as the record has it."""
    with writing(path) as writer:
        writer.commit([begun(process)])
        if not locked:
            Path(f"{path}.lock").unlink()
        return read(path)[0]


def test_a_run_of_a_living_process_that_holds_the_lock_runs(tmp_path: Path) -> None:
    run = life(tmp_path / "journal", Process.own())
    assert (run.state, run.life_reason) == ("running", f"process {os.getpid()} runs")


def test_a_run_is_as_long_as_now_while_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    me = Process.own()
    with writing(path) as writer:
        before = time.monotonic()
        # The wall clock may be set at any time, so it does not count.
        line = run_begun("run.1", 5.0, me.host, me.pid, "3", [], process=me, clock=before - 100)
        writer.commit([line])
        length = read(path)[0].length
        assert 100 <= length <= 100 + time.monotonic() - before


def test_a_run_that_lets_go_of_the_lock_is_not_said_to_run(tmp_path: Path) -> None:
    run = life(tmp_path / "journal", Process.own(), locked=False)
    assert run.state == "unknown"
    assert run.life_reason.endswith("runs, but it does not write this journal any more")


def test_a_number_that_another_process_has_now_is_no_life(tmp_path: Path) -> None:
    run = life(tmp_path / "journal", Process.own()._replace(born="1"))
    assert (run.state, run.life_reason) == (
        "killed",
        f"process {os.getpid()} is gone; another one has its number now",
    )


def test_a_process_whose_birth_is_not_known_may_be_another_one(tmp_path: Path) -> None:
    assert life(tmp_path / "journal", Process.own()._replace(born="")).state == "unknown"


def test_only_its_own_host_knows_a_run(tmp_path: Path) -> None:
    far = Process(4, "elsewhere", "1", "another boot", "another machine", "pid:[1]")
    run = life(tmp_path / "journal", far)
    assert (run.state, run.life_reason) == (
        "unknown",
        "process 4 is or was on host elsewhere; ask there",
    )
    assert run.seen is not None


def test_only_its_own_container_knows_a_run(tmp_path: Path) -> None:
    inside = Process.own()._replace(space="pid:[1]")
    if not inside.boot:
        pytest.skip("this system does not tell boots and namespaces")
    run = life(tmp_path / "journal", inside)
    assert (run.state, "another container" in run.life_reason) == ("unknown", True)


def test_a_machine_that_was_started_again_has_no_run_of_before(tmp_path: Path) -> None:
    before = Process.own()._replace(boot="the boot before", machine="this one")
    if not Process.own().boot:
        pytest.skip("this system does not tell boots")
    same = before._replace(machine=Process.own().machine)
    if same.machine:
        assert life(tmp_path / "same", same).state == "killed"
    assert life(tmp_path / "other", before).state == "unknown"


def test_a_record_without_a_process_is_not_guessed_at(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with writing(path) as writer:
        writer.commit([run_begun("run.1", 1.0, "", 0, "3", [])])
        assert read(path)[0].state == "unknown"


def test_a_run_with_an_end_has_its_outcome(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with writing(path) as writer:
        writer.commit([begun(Process.own()), run_ended(2.0, "failed")])
        run = read(path)[0]
    assert (run.state, run.life, run.life_reason, run.length) == ("failed", "", "", 2.0)


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """The journal of a program that a signal ended; its parent has not waited for it."""
    path = tmp_path / "journal"
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"written\n"
        assert read(path)[0].state == "running"
        program.send_signal(signal.SIGKILL)
        program.stdout.read()
        os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)
        assert read(path)[0].state == "killed"
    return path


def test_a_killed_run_is_said_to_be_killed(killed: Path) -> None:
    run = read(killed)[0]
    assert (run.state, run.life_reason) == ("killed", f"process {run.pid} is gone")
    assert run.seen == pytest.approx(run.length)


def test_the_next_run_keeps_the_last_sign_of_life_of_a_killed_one(killed: Path) -> None:
    lock = Path(f"{killed}.lock")
    begun_at = read(killed)[0].begun
    os.utime(lock, (begun_at + 77, begun_at + 77))
    assert read(killed)[0].length == pytest.approx(77, abs=1e-3)
    with writing(killed, "run.2") as writer:
        writer.commit([run_begun("run.2", 2000.0, "", 0, "3", [])])
    first, _ = read(killed)
    assert first.length == pytest.approx(77, abs=1e-3)
    assert (first.state, first.life_reason) == ("killed", "another run began in its journal later")


def test_a_run_that_ends_while_it_is_read_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"
    with writing(path) as writer:
        writer.commit([begun(Process.own())])

        asked: list[Process] = []

        def end_meanwhile(process: Process) -> tuple[bool | None, str]:
            if not asked:
                writer.commit([run_ended(3.0, "done")])
            asked.append(process)
            return False, "it is gone"

        monkeypatch.setattr(_reader.Process, "runs", end_meanwhile)
        assert read(path)[0].state == "done"


def test_what_runs_and_what_waits_is_listed_with_its_age(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    me = Process.own()
    with writing(path) as writer:
        writer.commit(
            [
                begun(me),
                function_used(FUNCTION),
                tasks_called([Calls(1, 1, 0.5, 2)]),
                task_started(1, 1, (0.5, 0.6, 2.0), worker="w"),
            ]
        )
        run = read(path)[0]
    assert [task.number for task in run.running] == [1]
    assert [task.number for task in run.pending] == [2]
    assert run.submitted == ()
    assert [task.age(10.0) for task in run.tasks.values()] == [8.0, 9.5]
    assert run.running[0].age(1.0) == 0.0  # the clock of a worker may be ahead


def test_what_has_ended_has_no_age() -> None:
    assert TaskRecord(1, FUNCTION, "DONE", added=0.0, started=1.0, ended=2.0).age(9.0) is None
    assert TaskRecord(1, FUNCTION, "RUNNING").age(9.0) is None
