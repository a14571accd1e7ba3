"""The parts of the display: lines of a log, the table, the pace, the lines of a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from polling import until
from radical.asyncflow import WorkflowEngine
from radical.asyncflow._display import lines as lines_module
from radical.asyncflow._display.census import COLUMNS, MAX_NAMES, Census
from radical.asyncflow._display.choice import choose
from radical.asyncflow._display.lines import Lines
from radical.asyncflow._display.pace import MAX_SAMPLES, Pace, rate_text
from radical.asyncflow._display.region import Region
from radical.asyncflow._display.table import ASCII_SIGNS, render
from radical.asyncflow._display.tally import Row, Tally
from radical.asyncflow._text import shorten_middle
from radical.asyncflow.errors import ConfigurationError, ExecutableError
from radical.asyncflow.events import TaskEvent
from radical.asyncflow.model import TaskKind, TaskState
from radical.asyncflow.testing import ScriptedBackend
from rich.console import Console
from rich.text import Text


def _census() -> Census:
    return Census(lambda: None)


def _failed(number: int, error: Exception, name: str = "t", **fields: Any) -> TaskEvent:
    kind = fields.pop("kind", TaskKind.FUNCTION)
    return TaskEvent(0.0, number, name, kind, TaskState.FAILED, error=error, **fields)


class TestChoice:
    @pytest.mark.parametrize("kind", ["table", "lines", "off"])
    def test_the_variable_decides(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ASYNCFLOW_PROGRESS", kind)
        assert choose() == kind

    def test_another_value_is_refused_with_those_there_are(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ASYNCFLOW_PROGRESS", "tables")
        with pytest.raises(ConfigurationError, match=r"table, lines, off.*mean 'table'"):
            choose()

    def test_a_file_gets_lines(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stderr", io.StringIO())
        assert choose() == "lines"

    def test_nothing_is_shown_where_there_is_no_stderr(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "stderr", None)
        assert choose() == "off"

    @pytest.mark.parametrize(
        ("variable", "value", "kind"),
        [("TERM", "dumb", "lines"), ("CI", "1", "lines"), ("CI", "false", "table")],
    )
    def test_a_terminal_that_cannot_move_its_cursor_gets_lines(
        self, variable: str, value: str, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.delenv("CI", raising=False)
        monkeypatch.setenv(variable, value)
        monkeypatch.setattr(sys, "stderr", _Stream(io.StringIO()))
        assert choose() == kind


class TestPace:
    def test_the_rate_is_that_of_the_last_part(self) -> None:
        pace = Pace(0.0)
        for second in range(1, 101):
            pace.note(float(second), second if second <= 60 else 60 + 10 * (second - 60))
        rate = pace.rate(100.0, 460)
        assert rate is not None
        assert 9 <= rate <= 11

    def test_tasks_that_end_seldom_have_the_rate_of_the_whole_run(self) -> None:
        pace = Pace(0.0)
        pace.note(3600.0, 1)
        assert pace.rate(7200.0, 1) == pytest.approx(1 / 7200)

    def test_nothing_is_known_before_the_first_end(self) -> None:
        assert Pace(0.0).rate(50.0, 0) is None

    def test_the_samples_are_few_however_long_the_run(self) -> None:
        pace = Pace(0.0)
        for moment in range(100_000):
            pace.note(moment * 0.5, moment)
        assert len(pace._times) <= MAX_SAMPLES

    @pytest.mark.parametrize(
        ("rate", "text"),
        [(None, "-"), (1234.5, "1,234/s"), (2.5, "2.5/s"), (0.5, "30/min"), (0.001, "3.6/h")],
    )
    def test_a_rate_has_the_unit_that_fits(self, rate: float | None, text: str) -> None:
        assert rate_text(rate) == text


class TestCounts:
    def test_running_tasks_occupy_their_cores(self) -> None:
        census, tally = _census(), Tally()
        tally.join(census)
        wide, narrow = census.find("t", False, "b", 3), census.find("t", False, "b", 1)
        wide.total = narrow.total = wide.running = narrow.running = 1
        tally.look(0.0)
        assert tally.busy["b"] == 4
        assert (tally.rows["t"].total, tally.rows["t"].running) == (2, 2)
        wide.running = 0
        tally.look(0.0)
        assert tally.busy["b"] == 1

    def test_blocks_are_not_in_the_total(self) -> None:
        census, tally = _census(), Tally()
        tally.join(census)
        outer, inner = census.find("outer", True, "", 1), census.find("inner", False, "b", 1)
        outer.total = outer.running = 1
        inner.total = inner.done = 4
        tally.look(0.0)
        total, blocks = tally.total(0.0), tally.blocks()
        assert (total.total, total.unfinished) == (4, 0)
        assert blocks is not None
        assert blocks.running == 1

    def test_a_display_shows_what_is_unfinished_when_it_comes_and_later(self) -> None:
        census, tally = _census(), Tally()
        old, new = census.find("old", False, "b", 1), census.find("new", False, "b", 1)
        old.total, old.done, old.failed = 9, 4, 2
        census.skipped = 1
        tally.join(census)
        old.done, new.total = 6, 1
        tally.look(0.0)
        assert (tally.rows["old"].total, tally.rows["old"].done) == (3, 2)
        assert (tally.rows["old"].failed, tally.skipped) == (0, 0)
        assert tally.rows["new"].total == 1

    def test_a_display_that_has_gone_keeps_its_sums(self) -> None:
        census, tally = _census(), Tally()
        share = tally.join(census)
        counts = census.find("t", False, "b", 1)
        counts.total = counts.done = 3
        share.freeze()
        census.clear()
        counts.total = 7
        tally.look(0.0)
        assert (tally.rows["t"].total, tally.rows["t"].done) == (3, 3)

    async def test_a_task_whose_record_is_being_written_runs_no_more(self, tmp_path: Path) -> None:
        backend = ScriptedBackend()
        async with WorkflowEngine.create(backend, journal=tmp_path / "journal") as flow:
            backend.hold("work")
            census, _ = flow._count(lambda _: None, lambda: None)

            def sums() -> dict[str, int]:
                census.take_reports()
                (counts,) = census.all()
                return {name: n for name, n in zip(COLUMNS, counts.sums, strict=True) if n}

            futures = [flow.function_task(int, name="work")() for _ in range(3)]
            await until(lambda: len(backend.waiting()) == 3)
            backend.start_task(1)
            assert sums() == {"total": 3, "running": 1}
            backend.finish(1, 0)  # nothing is written in this turn of the loop
            backend.start_task(2)
            assert sums() == {"total": 3, "running": 1, "done": 1}
            assert not futures[0].done()
            backend.finish(2, 0)
            assert sums() == {"total": 3, "done": 2}
            futures[1].cancel()
            assert sums() == {"total": 3, "done": 1, "cancelled": 1}
            backend.finish(3, 0)
            await asyncio.wait(futures)
            assert sums() == {"total": 3, "done": 2, "cancelled": 1}
            assert [counts.writing for counts in census.all()] == [0]

    def test_engines_share_the_row_of_a_name(self) -> None:
        tally = Tally()
        for _ in range(2):
            census = _census()
            tally.join(census)
            census.find("t", False, "b", 1).total = 2
        tally.look(0.0)
        assert tally.rows["t"].total == 4

    def test_names_beyond_the_bound_share_a_row(self) -> None:
        census, tally = _census(), Tally()
        tally.join(census)
        for number in range(MAX_NAMES + 5):
            census.find(f"t{number}", False, "b", 1).total += 1
        tally.look(0.0)
        assert len(tally.rows) == MAX_NAMES
        assert tally.others is not None
        assert tally.others.total == 5

    def test_the_time_of_a_run_counts_up_to_an_orderly_stop(self) -> None:
        census, tally = _census(), Tally()
        tally.join(census)
        counts = census.find("t", False, "b", 1)
        counts.total = 1
        census.note_change()
        tally.look(counts.began + 1)
        counts.failed = 1
        census.note_change()
        tally.look(counts.began + 60)
        assert tally.total(counts.began + 90).elapsed(counts.began + 90) > 59

    def test_the_time_of_a_run_that_is_idle_ends_with_its_last_task(self) -> None:
        census, tally = _census(), Tally()
        tally.join(census)
        counts = census.find("t", False, "b", 1)
        counts.total = counts.done = 1
        census.idle_at = counts.began + 2
        tally.look(counts.began + 60)
        assert tally.rows["t"].elapsed(counts.began + 70) == pytest.approx(2)

    def test_what_is_left_is_unknown_while_a_name_runs_of_which_nothing_has_ended(self) -> None:
        tally = Tally()
        quick = tally.rows["quick"] = Row(0.0)
        quick.total, quick.done = 100, 90
        assert tally.total(10.0).left(10.0) == pytest.approx(10 / 9)
        slow = tally.rows["slow"] = Row(0.0)
        slow.total = slow.running = 1
        assert tally.total(10.0).left(10.0) is None
        slow.done, slow.running, slow.total = 1, 1, 2
        assert tally.total(10.0).left(10.0) is not None

    def test_the_error_of_a_task_is_not_told_again_of_its_block(self) -> None:
        tally = Tally()
        error = ValueError("bad")
        told = tally.take(
            [
                _failed(2, error, "inner"),
                _failed(1, error, "outer", kind=TaskKind.BLOCK),
            ]
        )
        assert [line.name for line in told] == ["inner"]

    def test_ten_thousand_equal_failures_are_few_lines(self) -> None:
        tally = Tally()
        told = tally.take([_failed(n, ValueError(f"point {n} is bad")) for n in range(10_000)])
        assert len(told) == 5
        assert tally.failures.largest() == [("t", "ValueError: point # is bad", 10_000)]

    def test_colours_and_escapes_are_no_numbers_of_a_failure(self) -> None:
        tally = Tally()
        errors = [ValueError(f"\x1b[31mpoint {n} is\x1b[0m bad\x07") for n in range(6)]
        told = tally.take([_failed(n, error) for n, error in enumerate(errors)])
        assert told[0].text == "ValueError: point 0 is bad\\x07"
        assert tally.failures.largest() == [("t", "ValueError: point # is bad\\x07", 6)]

    def test_a_failed_command_is_told_without_its_secrets(self) -> None:
        error = ExecutableError("train --token abcdef --steps 3", 3)
        (line,) = Tally().take([_failed(1, error)])
        assert line.text == "ExecutableError: command ended with exit code 3"
        assert line.detail == "command: train --token *** --steps 3"


class TestTable:
    def _text(self, tally: Tally, width: int, height: int = 24) -> list[str]:
        console = Console(file=io.StringIO(), width=width, color_system=None)
        console.print(render(tally, {"b": 8}, (width, height), 10.0, ASCII_SIGNS))
        assert isinstance(console.file, io.StringIO)
        return [line.rstrip() for line in console.file.getvalue().splitlines()]

    def test_it_has_a_bar_a_share_a_rate_what_is_left_and_the_slots(self) -> None:
        tally = Tally()
        row = tally.rows["simulate"] = Row(0.0)
        row.total, row.done, row.failed, row.running = 100, 40, 10, 8
        tally.busy["b"] = 8
        head, line, slots = self._text(tally, 100)
        assert head.split() == [
            *("task", "%", "pending", "running", "done", "failed", "rate", "time", "left")
        ]
        assert "  ##########-----------  50 %" in line
        assert line.split()[-5:] == ["5/s", "10.0", "s", "10.0", "s"]
        assert slots == "busy slots: b 8 of 8"

    def test_long_names_are_cut_in_the_middle(self) -> None:
        tally = Tally()
        for end in ("first", "second"):
            tally.rows["a_name_that_is_much_too_long_" * 4 + end] = Row(0.0)
        lines = self._text(tally, 60)
        assert lines[1].split()[0].endswith("first")
        assert lines[2].split()[0].endswith("second")
        assert all("~" in line for line in lines[1:3])

    @pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 120, 200])
    def test_every_line_fits(self, width: int) -> None:
        tally = Tally()
        for number in range(30):
            row = tally.rows[f"名前{number}" * 9] = Row(0.0)
            row.total = row.done = 10**number
            row.failed = row.cancelled = row.retried = number
        assert max(map(len, self._text(tally, width))) <= width

    def test_of_many_names_those_that_run_are_shown_and_the_others_summed_up(self) -> None:
        tally = Tally()
        for number in range(100):
            row = tally.rows[f"name{number}"] = Row(0.0)
            row.total = 1
            row.done = number != 99
            row.running = number == 99
        lines = self._text(tally, 80, height=12)
        assert lines[1].startswith("name99 ")
        assert lines[-3].startswith("(95 other names) ")
        assert lines[-2].split()[0] == "total"

    def test_a_share_is_whole_only_if_everything_has_ended(self) -> None:
        tally = Tally()
        row = tally.rows["t"] = Row(0.0)
        row.total, row.done = 1000, 999
        assert " 99 %" in self._text(tally, 80)[1]

    def test_the_end_of_a_name_is_kept(self) -> None:
        assert shorten_middle("simulate_all_of_it_final", 11) == "simul…final"


class TestLines:
    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        now = [1000.0]

        class Clock:
            monotonic = staticmethod(lambda: now[0])
            strftime = staticmethod(lambda _: "12:00:00")

        monkeypatch.setattr(lines_module, "time", Clock)
        return now

    async def test_a_run_is_told_from_its_begin_to_its_end(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ASYNCFLOW_PROGRESS", "lines")
        async with WorkflowEngine.create(ScriptedBackend(), uid="run.x") as flow:

            @flow.function_task
            async def work(number: int) -> int:
                if number == 0:
                    raise ValueError("bad")
                return number

            with flow.progress():
                await asyncio.gather(work(1), work(0), return_exceptions=True)
        told = [line.partition(" ")[2] for line in capsys.readouterr().err.splitlines()]
        assert told[0].startswith("run run.x begins on ")
        assert told[0].endswith("no record is kept (--journal keeps one)")
        assert told[1] == "backend scripted is up"
        assert told[2] == "failed: task.000002 work: ValueError: bad"
        assert re.fullmatch(r"  raised at .*test_display\.py:\d+ in work", told[3])
        assert re.match(r"run run\.x so far: 1 done, 1 failed in ", told[4])
        assert len(told) == 5

    def _lines(self, flow: WorkflowEngine) -> tuple[Lines, io.StringIO]:
        stream = io.StringIO()
        return Lines(flow, stream), stream

    async def test_a_line_comes_each_half_minute_or_with_a_tenth(self, clock: list[float]) -> None:
        async with WorkflowEngine.create(ScriptedBackend()) as flow:
            lines, stream = self._lines(flow)
            census = _census()
            lines.join(census)
            counts = census.find("t", False, "b", 1)
            counts.total = 100
            lines.draw()
            assert stream.getvalue() == ""
            clock[0] += 29.8
            assert lines.draw() == pytest.approx(0.2)
            clock[0] += 0.2
            lines.draw()
            assert stream.getvalue().count("  0 % of 100 tasks: ") == 1
            counts.done = 10
            lines.draw()
            assert stream.getvalue().count("\n") == 1  # too soon after the last one
            clock[0] += 2
            lines.draw()
            assert " 10 % of 100 tasks: 10 done, " in stream.getvalue()

    async def test_the_lines_of_a_long_run_are_few(self, clock: list[float]) -> None:
        async with WorkflowEngine.create(ScriptedBackend()) as flow:
            lines, stream = self._lines(flow)
            census = _census()
            lines.join(census)
            census.find("t", False, "b", 1).total = 1
            wait = lines.draw()
            while clock[0] < 1000 + 7 * 86400:
                assert wait is not None
                clock[0] += wait
                wait = lines.draw()
        assert 100 < stream.getvalue().count("\n") < 500

    async def test_with_a_journal_a_failure_has_its_arguments_and_the_command_that_tells_more(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("ASYNCFLOW_PROGRESS", "lines")
        monkeypatch.chdir(tmp_path)
        async with WorkflowEngine.create(
            ScriptedBackend(), uid="run.x", journal="asyncflow.journal"
        ) as flow:

            @flow.function_task
            async def work(number: int, scale: float) -> int:
                raise ValueError("bad")

            with flow.progress():
                await asyncio.gather(work(7, scale=0.5), return_exceptions=True)
        told = [line.partition(" ")[2] for line in capsys.readouterr().err.splitlines()]
        assert told[0].endswith(f"its record: {tmp_path / 'asyncflow.journal'}")
        assert told[3].startswith("  arguments: 7, scale=0.5; raised at ")
        assert told[3].endswith("; its output: asyncflow logs run.x 1")
        assert told[5] == "  what failed: asyncflow show run.x"

    async def test_an_end_of_the_reader_does_not_end_the_run(self) -> None:
        class Gone(io.StringIO):
            def write(self, _: str) -> int:
                raise BrokenPipeError

        async with WorkflowEngine.create(ScriptedBackend()) as flow:
            Lines(flow, Gone())._write("nobody reads this")


class _Stream(io.StringIO):
    """A terminal to write to, whose writes all go to *screen*."""

    def __init__(self, screen: io.StringIO) -> None:
        super().__init__()
        self._screen = screen

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return self._screen.write(text)


def _show(data: str, width: int) -> list[str]:
    """Return the lines of a terminal of this *width* that was sent *data*."""
    rows: list[list[str]] = [[]]
    row = column = 0
    for code, text in re.findall(r"\x1b\[(\d*[A-Za-z])|(.|\n)", data):
        if code.endswith("A"):
            row -= int(code[:-1] or 1)
            assert row >= 0
        elif code.endswith("G"):
            column = int(code[:-1]) - 1
        elif code in ("K", "J"):
            del rows[row][column:]
            if code == "J":
                del rows[row + 1 :]
        elif text == "\r":
            column = 0
        elif text == "\n" or (text and column >= width):
            row, column = row + 1, 0
            if row == len(rows):
                rows.append([])
        if text and text not in "\r\n":
            rows[row] += " " * (column + 1 - len(rows[row]))
            rows[row][column] = text
            column += 1
    return ["".join(line).rstrip() for line in rows]


class TestRegion:
    @contextlib.contextmanager
    def _open(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[io.StringIO, Region]]:
        """Make stdout and stderr a terminal, with a region that is open."""
        screen = io.StringIO()
        monkeypatch.setattr(sys, "stdout", _Stream(screen))
        monkeypatch.setattr(sys, "stderr", _Stream(screen))
        console = Console(file=screen, width=30, force_terminal=True, color_system=None)
        region = Region(console, threading.RLock(), lambda: None)
        region.open()
        try:
            yield screen, region
        finally:
            region.close()

    def test_prints_go_above_the_lines(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with self._open(monkeypatch) as (screen, region):
            print("before")
            region.draw(Text("one\ntwo"))
            print("a")
            print("b", file=sys.stderr)
            region.draw(Text("three\nfour"))
            assert _show(screen.getvalue(), 30) == ["before", "a", "b", "three", "four"]

    @pytest.mark.parametrize(
        ("parts", "line"), [((".", ".", "."), "..."), (("\r10 %", "\r20 %"), "20 %")]
    )
    def test_a_part_of_a_line_is_gone_on_with(
        self, parts: tuple[str, ...], line: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with self._open(monkeypatch) as (screen, region):
            region.draw(Text("table"))
            for part in parts:
                print(part, end="", flush=True)
                region.draw(Text("table"))
            assert _show(screen.getvalue(), 30) == [line, "table"]
            print("end")
            region.draw(Text("table"))
            assert _show(screen.getvalue(), 30) == [line + "end", "table"]

    def test_fewer_lines_leave_nothing_behind(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with self._open(monkeypatch) as (screen, region):
            region.draw(Text("one\ntwo\nthree"))
            region.draw(Text("last"))
            assert _show(screen.getvalue(), 30) == ["last"]

    def test_lines_that_a_narrower_window_wrapped_are_replaced(self) -> None:
        screen = io.StringIO()
        console = Console(file=screen, width=30, force_terminal=True, color_system=None)
        region = Region(console, threading.RLock(), lambda: None)
        region.draw(Text("a" * 25 + "\n" + "b" * 25))
        console.width = 10
        screen.truncate(0)
        region.draw(Text("now"))
        assert "\x1b[5A" in screen.getvalue()  # each of the lines takes three by now

    def test_handlers_of_the_log_write_above(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stderr", _Stream(screen := io.StringIO()))
        before = sys.stderr
        handler = logging.StreamHandler(sys.stderr)
        logger = logging.getLogger("test_display")
        logger.addHandler(handler)
        console = Console(file=screen, width=30, force_terminal=True, color_system=None)
        region = Region(console, threading.RLock(), lambda: None)
        region.open()
        try:
            region.draw(Text("table"))
            logger.warning("mind this")
            region.draw(Text("table"))
            assert _show(screen.getvalue(), 30) == ["mind this", "table"]
        finally:
            region.close()
            logger.removeHandler(handler)
        assert handler.stream is before

    def test_close_gives_the_streams_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with self._open(monkeypatch) as (screen, region):
            kept = sys.stdout
            region.draw(Text("table"))
            print("part", end="")
        assert type(sys.stdout) is type(sys.stderr) is _Stream
        kept.write("a program may keep it\n")
        assert "part" in screen.getvalue()
        assert screen.getvalue().endswith("a program may keep it\n")
