"""What a command has written is seen while it runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import pytest
from asyncflow_backend_concurrent import ConcurrentExecutionBackend
from polling import until
from radical.asyncflow import Command, WorkflowEngine
from radical.asyncflow._resume import running_output
from radical.asyncflow.backend import TaskId, Written
from radical.asyncflow.journal import RunRecord, read
from radical.asyncflow.journal._output import Tail, read_output, tails
from radical.asyncflow.report import Facts, render_csv
from service_figures import check_service_figures

UNTIL_THERE = 'while test ! -e "$1"; do sleep 0.02; done'


@pytest.fixture(autouse=True)
def looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often, and at all commands."""
    monkeypatch.setattr(running_output, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(running_output, "LEAST_S", 0.0)


def shell(script: str, *words: object) -> Command:
    return Command(args=("/bin/sh", "-c", script, "sh", *map(str, words)))


def tails_of(path: Path, number: int) -> list[Tail]:
    """Return the ends of what the task has written, as they are now."""
    runs = read(path) if path.exists() else ()
    known = runs[-1].tasks.get(number) if runs else None
    return [] if known is None else tails(known, runs[-1].uid, str(path))


async def seen(path: Path, number: int, wanted: Callable[[list[Tail]], bool]) -> list[Tail]:
    """Wait until the ends of what the task has written are as *wanted*."""
    return await until(lambda: found if wanted(found := tails_of(path, number)) else None)


def content(path: str) -> str:
    return Path(path).read_text()


def last(path: Path) -> RunRecord:
    return read(path)[-1]


@pytest.mark.parametrize("place", ["thread", "process"])
@pytest.mark.parametrize("captured", [True, False])
async def test_the_end_of_its_output_is_seen_while_it_runs(
    tmp_path: Path, place: str, *, captured: bool
) -> None:
    path, gate = tmp_path / "journal", tmp_path / "gate"
    config = {"executor_type": place, "max_workers": 1}
    async with WorkflowEngine.create("concurrent", config, journal=path) as flow:

        @flow.executable_task(capture_stdio=captured)
        def talk() -> Command:
            return shell(f"echo first; echo aside >&2; {UNTIL_THERE}; echo last", gate)

        future = talk()
        found = await seen(path, 1, lambda found: len(found) == 2)
        assert [(tail.stream, tail.text) for tail in found] == [
            ("stdout", "first\n"),
            ("stderr", "aside\n"),
        ]
        assert all(("in /" in tail.about) == captured for tail in found)
        gate.touch()
        result = await future
    assert (content(result) if captured else result) == "first\nlast\n"
    assert read_output(str(path), read(path)[-1].uid) is None
    task = last(path).tasks[1]
    assert (task.stdout is None) == captured
    if captured:
        assert task.paths is not None
        assert task.paths[0] == result
        assert [tail.text for tail in tails(task, "", str(path))] == ["first\nlast\n", "aside\n"]


async def test_of_a_long_output_the_end_is_seen_and_how_much_came_before(tmp_path: Path) -> None:
    path, gate = tmp_path / "journal", tmp_path / "gate"
    async with WorkflowEngine.create("concurrent", journal=path) as flow:

        @flow.executable_task
        def talk() -> Command:
            letters = "i=0; while test $i -lt 1000; do printf 'äöü€x'; i=$((i+1)); done"
            return shell(f"{letters}; printf end; {UNTIL_THERE}", gate)

        future = talk()
        (tail,) = await seen(path, 1, lambda found: found and found[0].text.endswith("end"))
        gate.touch()
        whole = await future
    assert whole.endswith(tail.text)
    missing = len(whole.encode()) - len(tail.text.encode())
    # The first character is cut in two.
    assert 0 < missing - int(tail.about.split(";")[1].split()[0].replace(",", "")) < 4
    assert len(tail.text.encode()) > 3990


async def test_nobody_asks_about_commands_that_are_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running_output, "LEAST_S", 3600.0)
    asked: list[TaskId] = []
    looks: list[None] = []
    look = running_output.RunningOutput._look
    monkeypatch.setattr(
        running_output.RunningOutput, "_look", lambda self: (looks.append(None), look(self))
    )

    class Asked(ConcurrentExecutionBackend):
        async def written(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, Written]:
            asked.extend(task_ids)
            return await super().written(task_ids)

    gate = tmp_path / "gate"
    async with WorkflowEngine.create(Asked(), journal=tmp_path / "journal") as flow:

        @flow.executable_task
        def wait() -> Command:
            return shell(f"echo words; {UNTIL_THERE}", gate)

        future = wait()
        await until(lambda: future.state == "RUNNING")
        looks.clear()
        await until(lambda: len(looks) > 3)
        gate.touch()
        await future
    assert asked == []


async def test_what_a_command_wrote_before_it_was_cancelled_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with WorkflowEngine.create("concurrent", journal=path) as flow:

        @flow.executable_task
        def talk() -> str:
            return "echo words; sleep 600"

        future = talk()
        await seen(path, 1, bool)
        future.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await future
    task = last(path).tasks[1]
    assert task.state == "CANCELLED"
    assert task.stdout == "words\n"


async def test_a_service_takes_its_slot_until_it_ends_and_its_output_is_seen(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal"
    async with WorkflowEngine.create("concurrent", {"max_workers": 2}, journal=path) as flow:

        @flow.executable_task(service=True, info_pattern="stdout:at (.*)")
        def serve() -> str:
            busy = "i=0; while test $i -lt 20000; do i=$((i+1)); done"
            return f"echo at home; {busy}; echo serving; exec sleep 600"

        @flow.function_task
        def work(place: str) -> str:
            return place

        service = serve()
        assert await work(service) == "home"
        (tail,) = await seen(path, 1, lambda found: found and "serving" in found[0].text)
        assert tail.text == "at home\nserving\n"
        up = last(path)
        assert up.tasks[1].is_serving
        assert Facts(up).backends[0].busy >= up.length - up.tasks[1].started
        await service.stop()
        await until(lambda: last(path).tasks[1].served)
        await work("again")
    run = last(path)
    task = run.tasks[1]
    assert task.paths is not None
    assert content(task.paths[0]) == "at home\nserving\n"
    assert task.usage is not None
    assert task.usage.cpu_seconds > 0.0
    check_service_figures(run)
    (row,) = [row for row in render_csv(run).splitlines() if ",serve," in row]
    assert float(row.split(",")[-1]) == pytest.approx(task.served)


def test_the_texts_of_many_commands_fit_into_the_file() -> None:
    found = {number: (1, Written("ä" * 4000, "b" * 4000, (5, 0))) for number in range(2000)}
    bounded = running_output._bounded(found)
    size = sum(len(each.stdout) + len(each.stderr) for _, each in bounded.values())
    assert size <= running_output.MOST_BYTES
    _, first = bounded[0]
    assert first.before == (5 + 2 * (4000 - len(first.stdout)), 4000 - len(first.stderr))
    assert len(first.stdout) > 50
