"""What a program says beside its journal while something waits for long."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from polling import until
from radical.asyncflow import WorkflowEngine
from radical.asyncflow._resume import standstill
from radical.asyncflow.journal import read
from radical.asyncflow.journal._waits import (
    MOST_RANGES,
    RunWaits,
    TaskGroup,
    ranges_of,
    read_waits,
    remove_waits,
    write_waits,
)
from radical.asyncflow.model import WaitKind
from radical.asyncflow.report import waiting_in
from radical.asyncflow.testing import ScriptedBackend


def group(*ranges: tuple[int, int], backend: str = "concurrent", **more: Any) -> TaskGroup:
    return TaskGroup("slot", "a slot", backend, list(ranges), 10, **more)


def test_numbers_become_ranges() -> None:
    assert ranges_of([]) == []
    assert ranges_of([5, 1, 2, 3, 9, 8]) == [(1, 3), (5, 5), (8, 9)]


def test_the_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    journal = str(tmp_path / "journal")
    assert read_waits(journal, "run") is None
    waits = RunWaits("run", 12.5, (group((1, 3), (7, 7), holders=[4], held_by=2, seconds=1.5),))
    write_waits(journal, waits)
    assert read_waits(journal, "run") == waits
    assert read_waits(journal, "another run") is None
    assert [path.name for path in tmp_path.iterdir()] == ["journal.waits"]
    remove_waits(journal)
    remove_waits(journal)
    assert list(tmp_path.iterdir()) == []


def test_the_file_stays_small_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    journal = str(tmp_path / "journal")
    many = group(*[(number, number) for number in range(0, 10**5, 2)])
    write_waits(journal, RunWaits("run", 0.0, (many,)))
    assert (tmp_path / "journal.waits").stat().st_size < 2_000
    back = read_waits(journal, "run")
    assert back is not None
    assert (len(back.groups[0].tasks), back.groups[0].complete) == (MOST_RANGES, False)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 2}', '{"version": 1, "run": "run", "groups": [{}]}']
)
def test_a_file_that_says_nothing_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "journal.waits").write_text(text)
    assert read_waits(str(tmp_path / "journal"), "run") is None


def test_a_task_that_is_not_listed_waits_for_what_all_others_of_its_backend_do() -> None:
    part = group((1, 3), complete=False)
    alone = RunWaits("run", 0.0, (part, group((9, 9), backend="dask")))
    assert alone.of(2, "concurrent") is part
    assert alone.of(5, "concurrent") is part
    assert alone.of(5, "dask") is None  # it lists all that wait
    assert alone.of(5, "") is None
    two = RunWaits("run", 0.0, (part, group((9, 9), complete=False)))
    assert two.of(5, "concurrent") is None


@pytest.mark.asyncio
async def test_a_run_says_what_waits_for_long_and_takes_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standstill, "LOOK_EVERY_S", 0.02)
    journal = tmp_path / "journal"
    said = tmp_path / "journal.waits"
    gate = threading.Event()
    async with WorkflowEngine.create("concurrent", {"max_workers": 1}, journal=journal) as flow:
        hold = flow.function_task(lambda *_: gate.wait(), name="hold", cache=False)
        first, second = hold(), hold()
        third = hold(second)
        await until(said.exists)
        (run,) = read(journal)
        answer = waiting_in(run, second._number, journal=str(journal))
        (reason,) = answer.reasons
        assert (reason.kind, reason.text) == (
            WaitKind.SLOT,
            "the only slot of backend 'concurrent', which is busy",
        )
        assert [task.number for task in reason.holders] == [first._number]
        assert reason.holders[0].seconds is not None
        follow = waiting_in(run, third._number, journal=str(journal))
        assert [cause.reason.kind for cause in follow.causes] == [WaitKind.SLOT]
        assert str(follow).startswith(f"{third.id} 'hold' waits for {second.id} 'hold':\n")
        everything = waiting_in(run, journal=str(journal))
        assert [(cause.reason.kind, cause.count) for cause in everything.causes] == [
            (WaitKind.RUNNING, 1),
            (WaitKind.SLOT, 1),
            (WaitKind.DEPENDENCY, 1),
        ]
        # Without what the program says, the record knows who has it.
        (reason,) = waiting_in(run, second._number).reasons
        assert (reason.kind, "'concurrent'" in reason.text) == (WaitKind.UNKNOWN, True)
        gate.set()
        await asyncio.gather(first, second, third)
        await until(lambda: not said.exists())
        assert str(waiting_in(read(journal)[0], 1)) == "task.000001 'hold' is DONE"
    assert not said.exists()


@pytest.mark.asyncio
async def test_a_place_that_cannot_be_written_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(standstill, "LOOK_EVERY_S", 0.01)
    backend = ScriptedBackend()
    backend.hold()
    (tmp_path / "journal.waits").mkdir()
    async with WorkflowEngine.create(backend, journal=tmp_path / "journal") as flow:
        future = flow.function_task(len)([])
        await until(lambda: "not written any more" in caplog.text)
        (tmp_path / "journal.waits").rmdir()
        backend.release()
        assert await future == 0
    assert caplog.text.count("not written any more") == 1


@pytest.mark.asyncio
async def test_a_sample_of_many_tasks_stands_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standstill, "LOOK_EVERY_S", 0.02)
    backend = ScriptedBackend()
    backend.hold()
    journal = str(tmp_path / "journal")
    monkeypatch.setattr(standstill, "MOST_LOOKED_AT", 20)
    number = 100
    async with WorkflowEngine.create(backend, journal=journal) as flow:
        task = flow.function_task(len)
        futures = [task([]) for _ in range(number)]
        await until(lambda: read_waits(journal, flow.uid))
        waits = read_waits(journal, flow.uid)
        assert waits is not None
        (one,) = waits.groups
        assert (one.number, one.complete, one.kind) == (number, False, "unknown")
        assert waits.of(number, backend.name) is one
        backend.release()
        await asyncio.gather(*futures)
