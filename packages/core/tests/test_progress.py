"""The live display, its counts, and the watchers of an engine."""

from __future__ import annotations

import asyncio
import io
import logging
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow import TaskEvent, WorkflowEngine
from radical.asyncflow._discovery.registry import registry
from radical.asyncflow._display.board import Board
from radical.asyncflow._display.tally import Row, Tally
from radical.asyncflow._text import duration, error_line, printable, shorten
from radical.asyncflow.engine._watchers import watchers
from radical.asyncflow.errors import ConfigurationError
from radical.asyncflow.events import Event
from radical.asyncflow.model import TaskState
from radical.asyncflow.testing import ScriptedBackend
from rich.console import Console

Installer = Callable[[str], None]


def _console(width: int = 100, *, terminal: bool = False) -> Console:
    return Console(
        file=io.StringIO(), width=width, height=30, force_terminal=terminal, color_system=None
    )


def _text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _row(console: Console, name: str) -> dict[str, str]:
    """The numbers of the last row of *name*, by the heads of their columns."""
    lines = _text(console).splitlines()
    heads = [line for line in lines if line.startswith("task ")][-1].split()[1:]
    line = [line for line in lines if line.startswith(f"{name} ")][-1]
    cells = line.removeprefix(f"{name} ").replace(" %", "%").replace(" s", "s").split()
    return dict(zip(heads, cells[-len(heads) :], strict=True))


class _Shown:
    """What a display of *flow* shows that is there from now on."""

    def __init__(self, flow: WorkflowEngine) -> None:
        self.census, self.stop = flow._count(lambda _: None, lambda: None)
        self.tally = Tally()
        self.tally.join(self.census)

    def row(self) -> Row:
        self.census.take_reports()
        self.tally.look(0.0)
        return self.tally.rows.get("t") or Row(0.0)


class TestCensus:
    """The counts that an engine keeps while a display is there."""

    @pytest.fixture
    def backend(self) -> ScriptedBackend:
        return ScriptedBackend()

    @pytest.fixture
    async def flow(self, backend: ScriptedBackend) -> AsyncIterator[WorkflowEngine]:
        flow = await WorkflowEngine.create(backend)
        yield flow
        await flow.shutdown()

    @pytest.fixture
    async def shown(self, flow: WorkflowEngine) -> _Shown:
        return _Shown(flow)

    async def test_a_task_is_counted_in_one_state_at_a_time(
        self, backend: ScriptedBackend, flow: WorkflowEngine, shown: _Shown
    ) -> None:
        backend.hold("t")

        @flow.function_task(name="t", retries=1)
        async def work() -> None:
            pass

        def counts() -> tuple[int, ...]:
            row = shown.row()
            return row.pending, row.running, row.done, row.retried

        assert counts() == (0, 0, 0, 0)
        future = work()
        assert counts() == (1, 0, 0, 0)
        await asyncio.sleep(0)
        backend.start_task("t")
        assert counts() == (0, 1, 0, 0)
        backend.fail("t", ValueError("bad"))
        assert counts() == (1, 0, 0, 1)
        backend.start_task("t")
        assert counts() == (0, 1, 0, 1)
        backend.finish("t")
        await future
        assert counts() == (0, 0, 1, 1)

    async def test_what_is_cancelled_while_it_runs_does_not_run(
        self, backend: ScriptedBackend, flow: WorkflowEngine, shown: _Shown
    ) -> None:
        backend.hold("t")

        @flow.function_task(name="t")
        async def work() -> None:
            pass

        futures = [work() for _ in range(3)]
        await asyncio.sleep(0)
        for number in (1, 2, 3):
            backend.start_task(number)
        assert shown.row().running == 3
        assert shown.tally.busy["scripted"] == 3
        for future in futures:
            future.cancel()
        await asyncio.gather(*futures, return_exceptions=True)
        row = shown.row()
        assert (row.running, row.cancelled, row.unfinished) == (0, 3, 0)
        assert shown.tally.busy["scripted"] == 0

    async def test_an_attempt_with_more_cores_takes_these_instead_of_the_first_ones(self) -> None:
        backend = ScriptedBackend(resources={"cores"})
        flow = await WorkflowEngine.create(backend)
        shown = _Shown(flow)
        backend.hold("t")

        @flow.function_task(name="t", retries=1, resources=lambda attempt: {"cores": 2 * attempt})
        async def work() -> None:
            pass

        future = work()
        await asyncio.sleep(0)
        backend.start_task("t")
        assert (shown.row().running, shown.tally.busy["scripted"]) == (1, 2)
        backend.fail("t", ValueError("bad"))
        assert (shown.row().running, shown.tally.busy["scripted"]) == (0, 0)
        backend.start_task("t")
        assert (shown.row().running, shown.tally.busy["scripted"]) == (1, 4)
        backend.finish("t")
        await future
        assert (shown.row().total, shown.row().done, shown.tally.busy["scripted"]) == (1, 1, 0)
        await flow.shutdown()

    async def test_a_failed_dependency_is_counted_and_not_told(
        self, flow: WorkflowEngine, shown: _Shown
    ) -> None:
        @flow.function_task(name="bad")
        async def bad() -> None:
            raise ValueError

        @flow.function_task(name="t")
        async def work(_: None) -> None:
            pass

        news: list[Event] = []
        _, stop = flow._count(news.extend, lambda: None)
        await asyncio.gather(work(bad()), return_exceptions=True)
        stop()
        assert shown.row().failed == 1
        assert shown.tally.skipped == 1
        assert [event.name for event in news if isinstance(event, TaskEvent)] == ["bad"]

    async def test_tasks_that_go_well_are_no_events(
        self, flow: WorkflowEngine, shown: _Shown
    ) -> None:
        @flow.function_task(name="t")
        async def work() -> None:
            pass

        observers = flow._dispatcher.run.observers
        news: list[Event] = []
        flow._count(news.extend, lambda: None)
        await asyncio.gather(*(work() for _ in range(100)))
        assert observers.events is None
        assert news == []
        assert shown.row().done == 100

    async def test_who_observes_gets_every_event_beside_a_display(
        self, flow: WorkflowEngine, shown: _Shown
    ) -> None:
        @flow.function_task(name="t")
        async def work() -> None:
            pass

        events: list[Event] = []
        stop = flow.observe(events.extend)
        await work()
        stop()
        assert len([event for event in events if isinstance(event, TaskEvent)]) == 5
        assert shown.row().done == 1

    async def test_a_later_display_counts_from_its_own_begin(self, flow: WorkflowEngine) -> None:
        @flow.function_task(name="t")
        async def work() -> None:
            pass

        first, second = _console(), _console()
        with flow.progress(console=first):
            await asyncio.gather(work(), work())
        await work()  # while nobody counts
        with flow.progress(console=second):
            await work()
        assert "2 done in " in _text(first)
        assert "\n1 done in " in _text(second)

    async def test_a_reader_hears_of_the_first_change_until_it_looks(
        self, flow: WorkflowEngine
    ) -> None:
        @flow.function_task(name="t")
        async def work() -> None:
            pass

        heard: list[int] = []
        census, stop = flow._count(lambda _: None, lambda: heard.append(1))
        await asyncio.gather(*(work() for _ in range(10)))
        assert len(heard) == 1
        census.changed = False
        await work()
        stop()
        await work()
        assert len(heard) == 2

    async def test_a_display_that_raises_is_left_out(
        self, flow: WorkflowEngine, caplog: pytest.LogCaptureFixture
    ) -> None:
        @flow.function_task(name="t")
        async def bad() -> None:
            raise ValueError

        def take(events: object) -> None:
            raise OSError("no disk")

        flow._count(take, lambda: None)
        for _ in range(4):
            await asyncio.gather(bad(), return_exceptions=True)
        assert "no disk" in caplog.text
        assert flow._dispatcher.run.observers.census is None


class TestText:
    def test_controls_and_marks_of_direction_become_escapes(self) -> None:
        assert printable("a\x1b[31m\n\u202eb\udc80ü") == "a\\x1b[31m\\n\\u202eb\\udc80ü"

    def test_a_long_text_is_cut(self) -> None:
        assert shorten("x" * 10_000_000, 5) == "xxxx…"

    def test_an_error_is_its_type_and_first_line(self) -> None:
        assert error_line(ValueError("\n one\ntwo")) == "ValueError: one"

    def test_an_error_without_a_text_is_named(self) -> None:
        class BrokenError(Exception):
            def __str__(self) -> str:
                raise KeyError

        assert "BrokenError" in error_line(BrokenError())

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(0, "0.0 s"), (59.94, "59.9 s"), (59.96, "1:00"), (187, "3:07"), (3753, "1:02:33")],
    )
    def test_duration(self, seconds: float, text: str) -> None:
        assert duration(seconds) == text


class TestProgress:
    async def test_every_end_is_counted(self) -> None:
        console = _console()
        backend = ScriptedBackend()
        async with WorkflowEngine.create(backend) as flow:
            tries: list[int] = []

            @flow.function_task(name="work", retries=1)
            async def work(number: int) -> None:
                tries.append(number)
                if number == 1 or (number == 2 and tries.count(2) == 1):
                    raise ValueError(number)
                if number == 3:
                    await asyncio.Event().wait()

            async with flow.progress(console=console):
                futures = [work(number) for number in range(4)]
                await asyncio.wait(futures[:3])
                futures[3].cancel()
                await asyncio.gather(*futures, return_exceptions=True)
        row = _row(console, "work")
        assert [row[state] for state in ("pending", "running", "done", "failed", "cancelled")] == [
            *("0", "0", "2", "1", "1")
        ]
        assert (row["retried"], row["%"]) == ("2", "100%")
        assert "2 done, 1 failed, 1 cancelled, 2 retried in " in _text(console)

    async def test_tasks_from_before_the_display_are_counted(self) -> None:
        console = _console()
        backend = ScriptedBackend()
        backend.hold("early")
        async with WorkflowEngine.create(backend) as flow:

            @flow.function_task
            async def early() -> None:
                pass

            future = early()
            await asyncio.sleep(0)
            with flow.progress(console=console):
                backend.release("early")
                await future
        row = _row(console, "early")
        assert [row[state] for state in ("pending", "running", "done")] == ["0", "0", "1"]

    async def test_markup_in_names_and_errors_is_text(self) -> None:
        console = _console(terminal=True)
        async with WorkflowEngine.create(ScriptedBackend()) as flow:

            @flow.function_task(name="[red]x\x1b[2J")
            async def bad() -> None:
                raise ValueError("[bold]y[/bold]\x07")

            with flow.progress(console=console):
                await asyncio.gather(bad(), return_exceptions=True)
        text = _text(console)
        assert "failed [red]x\\x1b[2J (task.000001): ValueError: [bold]y[/bold]\\x07" in text
        assert "\x1b[2J" not in text

    async def test_drawings_are_few_however_many_the_events(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        console = _console(terminal=True)
        now = 100.0
        monkeypatch.setattr("radical.asyncflow._display.board.time.monotonic", lambda: now)
        async with WorkflowEngine.create(ScriptedBackend()) as flow:

            @flow.function_task
            async def quick() -> None:
                pass

            with flow.progress(console=console):
                for _ in range(200):
                    await quick()
        # The first, and those of leaving the block.
        assert 1 <= _text(console).count("pending") <= 4

    async def test_nothing_happens_where_it_is_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ASYNCFLOW_PROGRESS", "off")
        async with WorkflowEngine.create(ScriptedBackend()) as flow:
            with flow.progress():
                assert not flow._dispatcher.run.observers.watched

    async def test_force_shows_it_without_a_terminal(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        async with WorkflowEngine.create(ScriptedBackend()) as flow:

            @flow.function_task
            async def task() -> None:
                pass

            with flow.progress(force=True):
                await task()
        assert re.search(r"^1 done in \d", capsys.readouterr().err, re.MULTILINE)

    async def test_an_exception_ends_the_display_and_its_observer(self) -> None:
        console = _console(terminal=True)
        stdout = sys.stdout
        async with WorkflowEngine.create(ScriptedBackend()) as flow:

            @flow.function_task
            async def task() -> None:
                pass

            async def body() -> None:
                with flow.progress(console=console):
                    await task()
                    raise KeyError("mine")

            with pytest.raises(KeyError, match="mine"):
                await body()
            assert not flow._dispatcher.run.observers.watched
        assert sys.stdout is stdout
        assert "\x1b[?25l" not in _text(console)  # nobody would show the cursor of a killed program

    async def test_two_displays_on_one_terminal_share_a_table(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        async with (
            WorkflowEngine.create(ScriptedBackend()) as one,
            WorkflowEngine.create(ScriptedBackend()) as two,
        ):

            async def body() -> None:
                pass

            with one.progress(force=True), two.progress(force=True):
                await one.function_task(name="first")(body)()
                await two.function_task(name="second")(body)()
        assert "\n2 done in " in capsys.readouterr().err
        assert Board._shared is None

    async def test_entering_twice_is_refused(self) -> None:
        async with WorkflowEngine.create(ScriptedBackend()) as flow:
            progress = flow.progress(console=_console())
            with progress, pytest.raises(ConfigurationError, match="already shown"):
                progress.__enter__()

    async def test_a_run_without_tasks_shows_nothing(self) -> None:
        console = _console()
        async with WorkflowEngine.create(ScriptedBackend()) as flow:
            with flow.progress(console=console):
                await asyncio.sleep(0)
        assert _text(console) == ""

    @pytest.mark.parametrize("width", [40, 60, 80])
    async def test_no_line_is_wider_than_the_console(self, width: int) -> None:
        console = _console(width, terminal=True)
        async with WorkflowEngine.create(ScriptedBackend()) as flow:

            async def bad() -> None:
                raise ValueError("word " * 100)

            with flow.progress(console=console):
                tasks = [flow.function_task(name=f"{n}名" * 50)(bad) for n in range(50)]
                await asyncio.gather(*(task() for task in tasks), return_exceptions=True)
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", _text(console)).replace("\r", "\n")
        assert max(map(len, plain.splitlines())) <= width


class TestWatchers:
    @pytest.fixture
    def install(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installer]:
        """Install a plugin with this hook."""
        monkeypatch.syspath_prepend(tmp_path)

        def write(code: str) -> None:
            info = tmp_path / "watch.dist-info"
            info.mkdir()
            (info / "METADATA").write_text("Metadata-Version: 2.1\nName: watch\nVersion: 1\n")
            (info / "entry_points.txt").write_text(
                "[radical.asyncflow.plugins]\nwatch = watch_plugin\n"
            )
            (tmp_path / "watch_plugin.py").write_text(
                "from radical.asyncflow import hookimpl\nseen = []\n"
                "@hookimpl\ndef asyncflow_events(events):\n    " + code
            )
            registry.refresh()

        yield write
        sys.modules.pop("watch_plugin", None)
        registry.refresh()

    async def test_a_plugin_observes_every_engine(self, install: Installer) -> None:
        install("seen.extend(events)")

        async def body() -> None:
            pass

        async with WorkflowEngine.create(ScriptedBackend()) as flow:
            await flow.function_task(name="seen")(body)()
        import watch_plugin  # type: ignore[import-not-found]

        states = [event.state for event in watch_plugin.seen]
        assert states[:3] == ["begun", "up", TaskState.PENDING]
        assert states[-3:] == [TaskState.DONE, "down", "ended"]

    async def test_a_plugin_that_raises_is_named_and_harms_nobody(
        self, install: Installer, caplog: pytest.LogCaptureFixture
    ) -> None:
        install("raise OSError('no disk')")

        async def body() -> int:
            return 1

        with caplog.at_level(logging.ERROR, "radical.asyncflow"):
            async with WorkflowEngine.create(ScriptedBackend()) as flow:
                assert await flow.function_task(body)() == 1
        assert "plugin watch of watch 1 raised" in caplog.text

    async def test_nobody_observes_where_no_plugin_is_installed(self) -> None:
        async with WorkflowEngine.create(ScriptedBackend()) as flow:
            assert flow._dispatcher.run.observers.events is None

    async def test_a_watcher_that_raises_does_not_harm_the_engine(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def bad(engine: Any) -> None:
            raise OSError("no disk")

        monkeypatch.setattr("radical.asyncflow.engine._watchers.watchers", [*watchers, bad])
        async with WorkflowEngine.create(ScriptedBackend()) as flow:
            assert not flow.closed
        assert "no disk" in caplog.text


def test_lines_do_not_import_rich() -> None:
    code = (
        "import asyncio, sys\n"
        "from radical.asyncflow import WorkflowEngine\n"
        "async def main():\n"
        "    async with WorkflowEngine.create('noop') as flow:\n"
        "        with flow.progress():\n"
        "            await flow.function_task(len)([])\n"
        "asyncio.run(main())\n"
        "print('rich' in sys.modules)\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout == "False\n"
