"""The follower: whatever was read when, the model says what the record says in the end."""

from __future__ import annotations

import gc
import itertools
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from polling import wait_until
from radical.asyncflow._live import EventFeed, Follower, LiveRun
from radical.asyncflow._live._run import RunHeader
from radical.asyncflow.errors import JournalFormatError
from radical.asyncflow.events import BackendEvent, TaskEvent
from radical.asyncflow.journal import FunctionRecord, RunRecord, read, repair
from radical.asyncflow.journal._format import HEADER, seal
from radical.asyncflow.model import Resources, TaskKind, TaskState
from radical.asyncflow.report import Facts, busy_seconds
from radical.asyncflow.report._lanes import BLOCKS

from ..journal.journals import begin, done, make, writing
from ..report.synthetic import synthetic, write_journal

PATIENCE_S = 30.0


_opened: list[Follower] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


def opened(path: Path, uid: str | None = None) -> Follower:
    _opened.append(Follower(path, uid))
    return _opened[-1]


def whole(path: Path, uid: str | None = None) -> Follower:
    follower = opened(path, uid)
    follower.poll(PATIENCE_S)
    return follower


def followed(path: Path, uid: str | None = None) -> LiveRun:
    run = whole(path, uid).run
    assert run is not None
    return run


def in_order_of_ends(path: Path) -> Path:
    """Put the tasks of a journal of one run in the order in which they ended, as a run does."""
    lines = path.read_bytes().splitlines(keepends=True)
    run = read(path)[0]
    ends = {number: task.ended for number, task in run.tasks.items() if task.ended is not None}

    def place(line: bytes) -> tuple[int, float]:
        kind = line[9:10]
        if kind not in b"RDES":
            return (3 if kind in b"NX" else 0), 0.0
        number = int(line.split(b'"task":', 1)[1].split(b",", 1)[0])
        if number not in ends:
            return 2, number
        if kind != b"R":
            return 1, ends[number]
        attempts = {failed.attempt: failed.ended for failed in run.tasks[number].failed}
        words = line.split(b'"attempt":', 1)
        return 1, attempts[int(words[1].split(b",", 1)[0]) if len(words) > 1 else 1]

    path.write_bytes(b"".join(sorted(lines, key=place)))
    return path


def assert_same(run: LiveRun, record: RunRecord) -> None:
    """Hold every figure of the model against those of the record."""
    facts = Facts(record)
    states = dict(
        zip(
            ("DONE", "FAILED", "CANCELLED", "RUNNING", "SUBMITTED", "PENDING"),
            run.states,
            strict=True,
        )
    )
    assert states == {state: facts.states[state] for state in states}
    assert (run.tasks, run.reused) == (len(record.tasks), facts.reused)
    assert (run.retries, run.retried) == (facts.retries, len(facts.retried))
    assert (run.ended, run.outcome) == (record.ended, record.outcome)
    ours = {(each.name, each.kind): each for each in run.functions if each.tasks}
    assert set(ours) == {(each.name, each.kind) for each in facts.functions}
    for theirs in facts.functions:
        each = ours[theirs.name, theirs.kind]
        assert (each.tasks, each.reused, each.retries) == (
            theirs.tasks,
            theirs.reused,
            theirs.retries,
        )
        assert (each.ended, each.failed) == (
            sum(theirs.states[state] for state in ("DONE", "FAILED", "CANCELLED")),
            theirs.states["FAILED"],
        )
        assert each.seconds == pytest.approx(theirs.seconds, abs=1e-5)
    assert [number for number, _ in run.slowest] == [task.number for task, _ in facts.slowest()]
    causes = [(each.name, each.error.text, each.size) for each in run.failures]
    assert sorted(causes) == sorted(
        (each.name, each.error.text, len(each.tasks)) for each in facts.failures
    )
    assert run.consequences == len(facts.consequences)
    assert sorted(run.running) == [n for n, t in record.tasks.items() if t.state == "RUNNING"]
    for number, task in record.tasks.items():
        seen = run.record(number)
        assert (seen.state, seen.name, seen.after) == (task.state, task.name, task.after)
        assert (seen.added, seen.ready, seen.ended) == (task.added, task.ready, task.ended)
        assert (seen.worker, seen.workflow) == (task.worker, task.workflow)


@pytest.mark.parametrize("seed", range(4))
def test_a_followed_run_has_the_figures_of_its_record(tmp_path: Path, seed: int) -> None:
    record = synthetic(
        400,
        seed=seed,
        reused="run.00c0ffee" if seed % 2 else None,
        killed=0.6 if seed > 1 else None,
    )
    path = in_order_of_ends(write_journal(tmp_path / "journal", record))
    run = followed(path)
    assert_same(run, read(path)[0])
    facts = Facts(read(path)[0])
    if seed < 2:
        lanes = Counter(lane.backend for lane in facts.lanes if lane.backend != BLOCKS)
        most = {each.name: each.slots for each in facts.backends}
        # How many cores were taken at once is known of what runs while it is followed.
        assert all(lanes[name] <= run.backends[name].slots <= most[name] for name in most)
        assert all(not each.busy for each in run.backends.values())
        assert [(each.name, each.tasks) for each in run.backends.values()] == [
            (each.name, each.tasks) for each in facts.backends
        ]


def test_a_task_of_several_cores_takes_as_many_slots() -> None:
    run = LiveRun(RunHeader("run.1", 1.0))
    run.backend_up("b", "", 0.0)
    run.function(FunctionRecord(1, "wide", "function", "", resources={"cores": 2, "ranks": 2}))
    run.function(FunctionRecord(2, "narrow", "function", ""))
    run.started(1, 1, (0.0, 0.0, 0.0), backend="b")
    run.started(2, 2, (0.0, 0.0, 0.0), backend="b")
    assert (run.backends["b"].busy, run.backends["b"].slots) == (5, 5)
    run.task_ended(1, 1, "DONE", (0.0, 0.0, 0.0, 1.0), backend="b")
    run.started(3, 2, (0.0, 1.0, 1.0), backend="b")
    assert (run.backends["b"].busy, run.backends["b"].slots) == (2, 5)
    for number in (2, 3):
        run.task_ended(number, 2, "DONE", (0.0, 0.0, 1.0, 2.0), backend="b")
    assert run.backends["b"].busy == 0


def test_a_page_without_a_journal_knows_the_cores_of_tasks() -> None:
    run = LiveRun(RunHeader("run.1", 1.0))
    feed = EventFeed(run, 0.0)
    wide = Resources(cores=3)
    states = (TaskState.PENDING, TaskState.SUBMITTED, TaskState.RUNNING)
    feed.take([BackendEvent(0.0, "b", "up")])
    feed.take(
        TaskEvent(1.0, 1, "t", TaskKind.FUNCTION, state, backend="b", resources=wide)
        for state in states
    )
    assert run.backends["b"].busy == 3


def test_what_is_left_is_unknown_while_a_name_runs_of_which_nothing_has_ended() -> None:
    run = LiveRun(RunHeader("run.1", 1.0))
    for number, name in enumerate(("quick", "slow"), 1):
        run.function(FunctionRecord(number, name, "function", ""))
    run.called(1, 4, 1, 0.0)
    for number in (1, 2):
        run.task_ended(number, 1, "DONE", (0.0, 0.0, 0.0, float(number)))
    assert run.eta(2.0) == pytest.approx(2.0)
    run.called(5, 1, 2, 0.0)
    assert run.eta(2.0) is None


def test_no_two_attempts_overlap_on_a_lane(tmp_path: Path) -> None:
    path = in_order_of_ends(write_journal(tmp_path / "journal", synthetic(600, seed=5)))
    run = followed(path)
    lanes: dict[int, list[tuple[float, float]]] = {}
    for number in run.numbers():
        if (lane := run.columns.lane[number]) >= 0:
            span = run.columns.started[number], run.columns.ended[number]
            lanes.setdefault(lane, []).append(span)
    for _, lane, failed in run.failed_attempts:
        assert failed.started is not None
        lanes.setdefault(lane, []).append((failed.started, failed.ended))
    assert len(lanes) == len(run.lanes.listed)
    for spans in lanes.values():
        spans.sort()
        for (_, end), (start, _) in itertools.pairwise(spans):
            assert start >= end - 1e-5


@pytest.mark.parametrize("seed", range(3))
def test_a_journal_may_grow_by_any_number_of_bytes(tmp_path: Path, seed: int) -> None:
    data = write_journal(tmp_path / "whole", synthetic(80, seed=seed)).read_bytes()
    path = tmp_path / "journal"
    follower = opened(path)
    chance = random.Random(seed)
    done_bytes = 0
    tasks = 0
    assert not follower.poll()
    while done_bytes < len(data):
        more = data[done_bytes : done_bytes + chance.randrange(1, 700)]
        done_bytes += len(more)
        with path.open("ab") as file:
            file.write(more)
        follower.poll()
        now = 0 if follower.run is None else follower.run.tasks
        assert now >= tasks
        tasks = now
    assert follower.run is not None
    assert follower.damaged == 0
    assert_same(follower.run, read(path)[0])


def test_it_tells_what_changed_since_a_moment(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with writing(path) as writer:
        writer.commit([*begin(), *map(done, range(1, 4))])
        follower = whole(path)
        run = follower.run
        assert run is not None
        cursor = run.cursor
        assert run.changed_since(0) == [1, 2, 3]
        assert run.changed_since(cursor) == []
        writer.commit([done(7), done(5)])
        assert follower.poll()
        assert run.changed_since(cursor) == [5, 7]
        assert run.changed_since(run.cursor + 1) is None
        assert not follower.poll()


def test_what_changed_too_long_ago_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("radical.asyncflow._live._run.KEPT_CHANGES", 10)
    follower = whole(make(tmp_path / "journal", 50))
    assert follower.run is not None
    assert follower.run.changed_since(0) is None
    assert follower.run.changed_since(45) == [46, 47, 48, 49, 50]


def test_it_follows_the_last_run_and_each_one_that_begins(tmp_path: Path) -> None:
    path = make(tmp_path / "journal", 3, "run.1")
    make(path, 4, "run.2")
    follower = whole(path)
    first = whole(path, "run.1")
    assert follower.run is not None
    assert (follower.run.uid, follower.run.tasks) == ("run.2", 4)
    make(path, 5, "run.3")
    follower.poll()
    first.poll()
    assert (follower.run.uid, follower.run.tasks) == ("run.3", 5)
    assert first.run is not None
    assert (first.run.uid, first.run.tasks) == ("run.1", 3)


def test_earlier_runs_are_not_read(tmp_path: Path) -> None:
    path = make(tmp_path / "journal", 3, "run.1")
    data = bytearray(path.read_bytes())
    data[len(HEADER) + 20] ^= 1
    path.write_bytes(data)
    with path.open("ab") as file:
        file.writelines([*begin("run.2"), done(1)])
    follower = whole(path)
    assert follower.run is not None
    assert (follower.run.uid, follower.damaged) == ("run.2", 0)


def test_damaged_lines_are_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    bad = bytearray(done(2))
    bad[40] ^= 1
    lines = [HEADER, *begin(), done(1), bytes(bad), done(3), seal("D - [1]"), done(4)]
    path.write_bytes(b"".join(lines))
    follower = whole(path)
    assert follower.run is not None
    assert (follower.run.tasks, follower.damaged) == (3, 2)


def test_a_damaged_beginning_of_a_run_does_not_mix_two(tmp_path: Path) -> None:
    path = make(tmp_path / "journal", 3, "run.1")
    follower = whole(path)
    bad = bytearray(begin("run.2")[0])
    bad[-3] ^= 1
    with path.open("ab") as file:
        file.writelines([bytes(bad), begin()[1], done(1)])
    follower.poll()
    assert follower.run is not None
    assert (follower.run.uid, follower.run.tasks) == ("unknown", 1)


def test_half_a_line_that_the_next_run_cuts_off_is_forgotten(tmp_path: Path) -> None:
    path = make(tmp_path / "journal", 3, "run.1")
    with path.open("ab") as file:
        file.write(done(4)[:-20])
    follower = whole(path)
    make(path, 2, "run.2")
    follower.poll()
    assert follower.run is not None
    assert (follower.run.uid, follower.run.tasks, follower.damaged) == ("run.2", 2, 0)


def test_a_repaired_journal_is_read_anew(tmp_path: Path) -> None:
    path = make(tmp_path / "journal", 5)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    follower = whole(path)
    assert follower.damaged == 1
    before = follower.run
    repair(path)
    assert follower.poll()
    assert follower.run is not None
    assert follower.run is not before
    assert (follower.run.tasks, follower.damaged) == (4, 0)


def test_a_journal_that_is_overwritten_in_place_is_read_anew(tmp_path: Path) -> None:
    path = make(tmp_path / "journal", 5, "run.1")
    other = make(tmp_path / "other", 50, "run.2")
    follower = whole(path)
    path.write_bytes(other.read_bytes())
    follower.poll()
    assert follower.run is not None
    assert (follower.run.uid, follower.run.tasks) == ("run.2", 50)


def test_a_journal_that_is_deleted_stays_as_it_was_read(tmp_path: Path) -> None:
    path = make(tmp_path / "journal", 5)
    follower = whole(path)
    path.unlink()
    assert not follower.poll()
    assert follower.run is not None
    assert follower.run.tasks == 5


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text("Dear diary, today I computed a great deal of things.\n" * 3)
    with pytest.raises(JournalFormatError, match="not a journal of asyncflow"):
        Follower(path).poll()


def test_the_whole_record_of_a_task_is_read_where_it_is_asked_for(tmp_path: Path) -> None:
    path = in_order_of_ends(write_journal(tmp_path / "journal", synthetic(400, seed=3)))
    follower = whole(path)
    for number, task in read(path)[0].tasks.items():
        assert follower.task(number) == task
    assert follower.task(401) is None


def test_no_object_is_kept_for_a_task_that_is_done(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    lines = [HEADER, *begin(), *(done(number, key="0" * 32) for number in range(1, 5_001))]
    path.write_bytes(b"".join(lines))
    follower = opened(path)
    gc.collect()
    before = len(gc.get_objects())
    follower.poll(PATIENCE_S)
    gc.collect()
    assert follower.run is not None
    assert follower.run.tasks == 5_000
    assert len(gc.get_objects()) - before < 1_000
    columns = follower.run.columns
    size = sum(sys.getsizeof(getattr(columns, name)) for name in type(columns).__slots__)
    assert size < 120 * 8_192


PROGRAM = """
import asyncio, sys
from radical.asyncflow import WorkflowEngine

async def main():
    async with WorkflowEngine.create("concurrent", journal=sys.argv[1]) as flow:
        @flow.function_task
        async def quick(n):
            return n
        @flow.function_task
        async def endless():
            await asyncio.Event().wait()
        held = endless()
        await asyncio.gather(*(quick(n) for n in range(20)))
        await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_killed_program_is_told_from_one_that_runs(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with subprocess.Popen([sys.executable, "-c", PROGRAM, path]) as process:
        try:
            follower = opened(path)
            wait_until(
                lambda: (
                    follower.poll() and follower.run is not None and follower.run.states[0] == 20
                )
            )
            assert follower.state == "running"
            assert follower.run is not None
            assert follower.run.pid == process.pid
            wait_until(lambda: bool(follower.poll() or True) and len(follower.run.running) == 1)
            assert follower.now >= follower.run.latest
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    wait_until(lambda: bool(follower.poll() or True) and follower.state == "killed")
    assert follower.run.outcome == ""
    assert follower.now == follower.run.latest


def test_the_end_of_a_run_is_its_outcome(tmp_path: Path) -> None:
    path = write_journal(tmp_path / "journal", synthetic(30, seed=2))
    follower = whole(path)
    assert follower.state == read(path)[0].outcome
    assert follower.now == read(path)[0].ended


def test_a_failure_comes_with_its_output(tmp_path: Path) -> None:
    run = followed(write_journal(tmp_path / "journal", synthetic(4_000, seed=1)))
    first = next(each for each in run.failures if each.name == "simulate").tasks[0]
    assert first.exit_code == 3
    assert first.stderr == "fatal: the grid does not converge\n"
    assert busy_seconds(first) > 0
