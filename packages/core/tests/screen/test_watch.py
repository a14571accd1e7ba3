"""``asyncflow watch`` as a user sees it: driven by keys, against journals of real runs."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("textual", reason="the extra watch is not installed")

from click.testing import CliRunner
from radical.asyncflow import WorkflowEngine
from radical.asyncflow._live import Follower
from radical.asyncflow._resume import running_output
from radical.asyncflow._screen._app import WatchApp
from radical.asyncflow._screen._list import RowList, widths_of
from radical.asyncflow._screen._tables import Column
from radical.asyncflow.cli._command import command

PATIENCE_S = 20

PROGRAM = """
import asyncio, pathlib, sys, time
from radical.asyncflow import WorkflowEngine

journal, gate = sys.argv[1:]

def simulate(number):
    while not pathlib.Path(gate).exists():
        time.sleep(0.01)
    if number == 2:
        raise ValueError("does not converge")
    return number

async def main():
    async with WorkflowEngine.create("concurrent", {"max_workers": 1}, journal=journal) as flow:
        task = flow.function_task(simulate)
        parts = [task(number) for number in range(3)]
        merged = flow.function_task(len, name="merge")(parts)
        await asyncio.gather(*parts, merged, return_exceptions=True)

asyncio.run(main())
"""


@asynccontextmanager
async def watching(journal: Path, size: tuple[int, int] = (80, 24)) -> AsyncIterator[Any]:
    """Give the pilot of the program that watches *journal*."""
    with Follower(journal) as follower:
        async with WatchApp(follower).run_test(size=size, notifications=True) as pilot:
            yield pilot


def screen(pilot: Any) -> str:
    """Return the text of the whole screen."""
    lines = pilot.app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in lines)


async def shows(pilot: Any, *words: str) -> str:
    """Wait until the screen shows all *words*, and return it."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not all(word in screen(pilot) for word in words):
                await pilot.pause(0.02)
    except TimeoutError:
        missing = [word for word in words if word not in screen(pilot)]
        pytest.fail(f"{missing} did not come to this screen:\n{screen(pilot)}")
    return screen(pilot)


async def record(journal: Path, number: int = 40) -> None:
    """Record a run of *number* tasks, of which every tenth failed."""

    def work(at: int) -> int:
        if at % 10 == 3:
            raise ValueError(f"case {at % 20}")
        return at

    async with WorkflowEngine.create("concurrent", journal=journal) as flow:
        task = flow.function_task(work, cache=False)
        other = flow.function_task(work, name="other", cache=False)
        futures = [(task if at % 2 else other)(at) for at in range(number)]
        await asyncio.gather(*futures, return_exceptions=True)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


async def test_a_run_that_goes_on_in_another_process_is_followed_to_its_end(
    journal: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    arguments = [sys.executable, "-c", PROGRAM, str(journal), str(gate)]
    with subprocess.Popen(arguments) as process:  # noqa: ASYNC220
        try:
            async with watching(journal) as pilot:
                await shows(pilot, "runs for", "0/4", "1 run", "2 queued", "simulate", "merge")
                await pilot.press("r")
                await shows(pilot, "task", "1            RUNNING")
                await pilot.press("w")
                await shows(pilot, "wait for", "other tasks")
                await pilot.press("slash", *"merge", "enter")
                await shows(pilot, "> /merge", "4            PENDING")
                await pilot.press("enter")
                await shows(pilot, "> task 4", "takes the results of 1, 2, 3", "waits for 3 of its")
                gate.touch()
                await shows(pilot, "FAILED", "DependencyFailureError")
                await pilot.press("f")
                await shows(pilot, "1 simulate", "does not converge")
                await pilot.press("enter")
                await shows(pilot, "> task 3", "ValueError: does not converge", "Traceback")
        finally:
            gate.touch()
            process.wait(30)


async def test_the_output_of_a_command_is_seen_while_it_runs(
    journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running_output, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(running_output, "LEAST_S", 0.0)
    gates = [tmp_path / "1", tmp_path / "2"]
    steps = [
        f"echo step {number}; while test ! -e {shlex.quote(str(gate))}; do sleep 0.02; done"
        for number, gate in enumerate(gates)
    ]
    async with (
        WorkflowEngine.create("concurrent", journal=journal) as flow,
        watching(journal) as pilot,
    ):
        future = flow.executable_task(lambda: "; ".join(steps), name="talk")()
        await shows(pilot, "talk", "1 run")
        await pilot.press("r", "enter")
        await shows(pilot, "RUNNING", "Output (so far)", "step 0")
        gates[0].touch()
        await shows(pilot, "step 1")
        gates[1].touch()
        await future
        assert "so far" not in await shows(pilot, "DONE", "Output", "step 1")


async def test_keys_lead_through_all_views_and_back(journal: Path) -> None:
    await record(journal)
    async with watching(journal) as pilot:
        await shows(pilot, "40/40", "4 failed", "work", "other", "q quit")
        await pilot.press("down", "enter")
        await shows(pilot, "> work", "2            DONE")
        rows = pilot.app.query_one(RowList)
        assert len(rows.table) == 20
        await pilot.press("end", "up", "home", "pagedown", "enter")
        assert rows.cursor == 0
        await shows(pilot, "> work > task ")
        await pilot.press("escape")
        assert len(rows.table) == 20
        assert rows.cursor > 0
        await pilot.press("escape", "escape")
        await shows(pilot, "mean", "40/40")
        for key, word in (("2", "no task runs"), ("4", "no task waits"), ("5", "state")):
            await pilot.press(key)
            await shows(pilot, word)
        await pilot.press("tab")
        await shows(pilot, "ended", "mean")
        await pilot.press("shift+tab")
        await shows(pilot, "state", "backend")
        await pilot.press("question_mark")
        await shows(pilot, "Any key closes this")
        await pilot.press("x")
        assert "Any key closes this" not in screen(pilot)
        await pilot.press("q")
    assert pilot.app.error is None
    assert not pilot.app.is_running


async def test_finding_by_state_by_number_and_in_vain(journal: Path) -> None:
    await record(journal)
    async with watching(journal) as pilot:
        await shows(pilot, "40/40")
        await pilot.press("slash", *"failed", "enter")
        await shows(pilot, "> /failed", "FAILED")
        assert len(pilot.app.query_one(RowList).table) == 4
        await pilot.press("slash", *"task.000004", "enter")
        await shows(pilot, "> task 4", "ValueError: case 3")
        await pilot.press("slash", *"99", "enter")
        await shows(pilot, "task 99 was not heard of")
        await pilot.press("slash", *"none", "enter")
        await shows(pilot, "no task is like that")
        await pilot.press("slash", "escape")
        await shows(pilot, "> /none")


async def test_following_stays_at_the_end_until_a_move(journal: Path) -> None:
    await record(journal, 200)
    async with watching(journal) as pilot:
        await shows(pilot, "200/200")
        await pilot.press("t", "F")
        await shows(pilot, "following", "\n 200 ")
        rows = pilot.app.query_one(RowList)
        assert (rows.follows, rows.cursor) == (True, 199)
        await pilot.press("up")
        assert (rows.follows, rows.cursor) == (False, 198)
        await pilot.click(RowList, offset=(5, 3))
        await pilot.click(RowList, offset=(5, 3))
        await shows(pilot, "> task ")


@pytest.mark.parametrize("size", [(40, 10), (80, 24), (200, 60)])
async def test_no_line_is_wider_than_the_terminal(journal: Path, size: tuple[int, int]) -> None:
    await record(journal)
    async with watching(journal, size) as pilot:
        await shows(pilot, "work", "other")
        for key in "fwrt?x":
            await pilot.press("question_mark" if key == "?" else key)
            lines = screen(pilot).splitlines()
            assert len(lines) <= size[1]
            assert max(map(len, lines)) <= size[0]


async def test_a_journal_that_is_none_ends_it_with_the_reason(tmp_path: Path) -> None:
    journal = tmp_path / "notes.txt"
    journal.write_text("this is\nno journal\n")
    with Follower(journal) as follower:
        app = WatchApp(follower)
        async with app.run_test() as pilot:
            async with asyncio.timeout(30):
                while app.error is None:
                    await pilot.pause(0.02)
    assert "is not a journal" in str(app.error)


async def test_a_journal_without_a_run_is_waited_for(journal: Path) -> None:
    async with watching(journal) as pilot:
        await shows(pilot, "no run has begun in this journal yet")
        await record(journal)
        await shows(pilot, "40/40")


def test_columns_share_the_width_and_those_without_room_are_left_out() -> None:
    columns = [Column("a", 10), Column("b", 0), Column("c", 20), Column("d", 5)]
    assert widths_of(columns, 80) == [10, 40, 20, 5]
    assert widths_of(columns, 40) == [10, 21, 0, 5]
    assert widths_of(columns, 15) == [0, 13, 0, 0]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    def run(**environment: str) -> str:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        done = CliRunner().invoke(command, ["watch"])
        assert done.exit_code == 2
        return done.output

    return run


def test_what_is_no_terminal_gets_another_way(terminal: Callable[..., str]) -> None:
    assert "asyncflow watch needs a terminal; without one use asyncflow show" in terminal()


def test_a_dumb_terminal_gets_another_way(
    terminal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("radical.asyncflow.cli.watch._has_terminal", lambda: True)
    assert "this terminal (TERM=dumb) cannot show a full screen" in terminal(TERM="dumb")


def test_a_journal_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("radical.asyncflow.cli.watch._has_terminal", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    done = CliRunner().invoke(command, ["watch", str(tmp_path / "missing")])
    assert done.exit_code == 2
    assert f"there is no journal {tmp_path / 'missing'}" in done.output


def test_without_textual_it_says_what_to_install(
    terminal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("radical.asyncflow.cli.watch.find_spec", lambda _: None)
    assert "pip install 'radical.asyncflow[watch]'" in terminal()
