"""The rows of ``asyncflow watch``, without a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow import Command, WorkflowEngine
from radical.asyncflow._live import Follower
from radical.asyncflow._screen._details import TaskLines, task_lines
from radical.asyncflow._screen._tables import (
    FailureTable,
    FunctionTable,
    RunningTable,
    Table,
    TaskFilter,
    TaskTable,
    WaitTable,
    bar,
    short,
    waiting_of,
)
from radical.asyncflow.journal._waits import RunWaits, TaskGroup
from radical.asyncflow.testing import ScriptedBackend


def texts(table: Table) -> list[list[str]]:
    table.update()
    return [[cell.text for cell in table.row(at)] for at in range(len(table))]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


async def recorded(journal: Path) -> None:
    """Run some tasks that succeed, fail and print, and leave others unfinished."""

    def double(number: int) -> int:
        if number == 2:
            raise ValueError("no twos\nat all")
        return 2 * number

    async with WorkflowEngine.create("concurrent", journal=journal) as flow:

        @flow.executable_task
        async def say() -> Command:
            return Command(["sh", "-c", "echo one; echo two; echo wrong >&2; exit 3"])

        task = flow.function_task(double, cache=False)
        futures: list[Any] = [task(number) for number in range(4)]
        futures += [task(futures[2]), say()]
        for future in futures:
            try:
                await future
            except Exception:
                continue


def followed(journal: Path) -> Follower:
    follower = Follower(journal)
    while follower.poll() or follower.behind:
        pass
    return follower


def test_bars_and_rates_have_a_fixed_width() -> None:
    assert [bar(share, 4) for share in (0, 0.5, 0.53, 1, 2)] == [
        "····",
        "██··",
        "██▏·",
        "████",
        "████",
    ]
    assert [short(number) for number in (0.04, 12.34, 1234, 54_321)] == [
        "0.0",
        "12.3",
        "1234",
        "54k",
    ]


async def test_an_ended_run_in_all_tables(journal: Path) -> None:
    await recorded(journal)
    with followed(journal) as follower:
        functions = texts(FunctionTable(follower))
        assert [row[0] for row in functions] == ["double", "say"]
        assert [row[2] for row in functions] == ["5/5", "1/1"]
        assert [row[4] for row in functions] == ["2", "1"]
        failures = texts(FailureTable(follower))
        assert [(row[0], row[1], row[2]) for row in failures] == [
            ("1", "double", "3"),
            ("1", "say", "6"),
        ]
        assert "no twos at all" in failures[0][3]
        tasks = texts(TaskTable(follower))
        assert [row[0] for row in tasks] == list("123456")
        assert [row[1] for row in tasks].count("FAILED") == 3
        assert texts(TaskTable(follower, TaskFilter(function=1)))[0][2] == "say"
        failed = TaskTable(follower, TaskFilter(states=frozenset({"FAILED"}), text="DOU"))
        assert [failed.number(at) for at in range(len(failed))] == [3, 5]
        assert (failed.place(4), failed.place(5)) == (1, 1)
        assert texts(TaskTable(follower, TaskFilter(backend="elsewhere"))) == []
        assert len(texts(TaskTable(follower, TaskFilter(backend="concurrent")))) == 6
        assert texts(RunningTable(follower)) == texts(WaitTable(follower)) == []


async def test_all_about_a_task_ends_with_its_output(journal: Path) -> None:
    await recorded(journal)
    with followed(journal) as follower:
        lines = [cell.text for cell in task_lines(follower, 6, None)]
        assert lines[0] == "task.000006  say"
        assert lines[1].startswith("FAILED after ")
        assert "exit code 3" in lines
        assert lines[lines.index("Output") :][:3] == ["Output", "one", "two"]
        assert lines[lines.index("Error output") :][:2] == ["Error output", "wrong"]
        lines = [cell.text for cell in task_lines(follower, 3, None)]
        assert lines[lines.index("Error") :][:3] == ["Error", "ValueError: no twos", "at all"]
        assert "Traceback" in lines
        assert task_lines(follower, 99, None)[0].text == "task 99 was not heard of"


async def test_a_run_that_goes_on_shows_what_runs_and_what_waits(journal: Path) -> None:
    backend = ScriptedBackend()
    backend.hold()
    async with WorkflowEngine.create(backend, journal=journal) as flow:
        task = flow.function_task(len, cache=False)
        futures = [task([]) for _ in range(3)]
        last = task([futures[1]])
        while not backend.waiting():
            await asyncio_turn()
        backend.start_task(1)
        with followed(journal) as follower:
            while follower.run is None or not follower.run.running:
                follower.poll()
                await asyncio_turn()
            assert follower.life == "running"
            assert [row[0] for row in texts(RunningTable(follower))] == ["1"]
            waits = WaitTable(follower)
            assert texts(waits) == [["2", "their backends, which have them"], ["1", "other tasks"]]
            assert waits.chosen(1) == TaskFilter(states=frozenset({"PENDING"}))
            group = TaskGroup("slot", "a slot", backend.name, [(2, 3)], 2, holders=[1])
            waits.told = RunWaits(flow.uid, 0.0, (group,))
            rows = texts(waits)
            assert rows[0][0] == "2"
            assert rows[0][1].startswith("a slot (task.000001 'len' for ")
            assert rows[1] == ["1", "other tasks"]
            answer = waiting_of(follower, last._number, waits.told)
            assert str(answer).splitlines()[0] == "task.000004 'len' waits for task.000002 'len':"
            lines = TaskLines(follower, 2)
            assert "Waits" in [cell.text for cell in task_lines(follower, 2, waits.told)]
            assert len(lines) > 2
            assert waiting_of(follower, 99, None) is None
        backend.finish(1, 0)
        backend.release()
        assert await last == 1


async def asyncio_turn() -> None:
    import asyncio

    await asyncio.sleep(0.005)


async def test_nothing_to_show_is_said(journal: Path) -> None:
    with Follower(journal) as follower:
        follower.poll()
        for table in (
            FunctionTable(follower),
            TaskTable(follower),
            RunningTable(follower),
            FailureTable(follower),
            WaitTable(follower),
        ):
            assert texts(table) == []
            assert table.empty
