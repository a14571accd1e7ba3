"""Help, suggestions, and the words that several commands share."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from radical.asyncflow._text import closest
from radical.asyncflow.cli._command import command
from radical.asyncflow.errors import ConfigurationError
from radical.asyncflow.journal import ErrorRecord
from radical.asyncflow.model import Resources

from ..report.synthetic import synthetic, write_journal
from .conftest import Invoke, Run, Terminal

RECORD = synthetic(60, seed=1, uid="run.aaaa0001")


def _commands(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, one in group.commands.items():
        yield (*words, name)
        if isinstance(one, click.Group):
            yield from _commands(one, (*words, name))


EVERY = sorted(_commands(command))


def failing(*numbers: int) -> dict[int, object]:
    """The tasks of the record, of which these failed."""
    error = ErrorRecord("ValueError", "no good", "Traceback ...\nValueError: no good\n")
    tasks = dict(RECORD.tasks)
    for number in numbers:
        tasks[number] = tasks[number]._replace(state="FAILED", error=error)
    return tasks  # type: ignore[return-value]


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = write_journal(
        tmp_path / "campaign.journal",
        RECORD,
        RECORD._replace(uid="run.bbbb0002", tasks=failing(43, 44, 46)),
    )
    monkeypatch.setenv("ASYNCFLOW_JOURNAL", str(path))
    return path


class TestHelp:
    @pytest.mark.parametrize("words", EVERY, ids=" ".join)
    def test_every_command_has_examples_that_name_it(
        self, invoke: Invoke, words: tuple[str, ...]
    ) -> None:
        _, found, examples = invoke(*words, "--help").stdout.partition("Example")
        assert found
        assert f"  asyncflow {' '.join(words)}" in examples

    def test_the_list_has_groups_and_whole_summaries(
        self, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        text = invoke("--help").stdout
        assert [
            line[:-1] for line in text.splitlines() if line.endswith(":") and line[0] != " "
        ] == ["Options", "Run", "Look", "Diagnose"]
        assert "..." not in text.partition("Run:")[2]
        for words in EVERY:
            if len(words) == 1:
                assert f"\n  {words[0]} " in text

    @pytest.mark.parametrize("group", ["backends", "runs"])
    def test_the_summaries_of_inner_commands_are_whole(
        self, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, group: str
    ) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        assert "..." not in invoke(group, "--help").stdout.partition("Commands:")[2]


class TestNearest:
    @pytest.mark.parametrize(
        ("args", "text"),
        [
            (["showw"], "Did you mean 'show'?"),
            (["backends", "lst"], "Did you mean 'list'?"),
            (["runs", "clena"], "Did you mean 'clean'?"),
            (["report", "--opeen"], "Did you mean '--open'?"),
            (["doctor", "concurrent", "-s", "max_worker=2"], "did you mean 'max_workers'?"),
            (["doctor", "concurrent", "-s", "cpus=2"], "did you mean 'max_workers'?"),
        ],
    )
    def test_a_wrong_word_is_answered_with_the_nearest(
        self, invoke: Invoke, args: list[str], text: str
    ) -> None:
        result = invoke(*args)
        assert text in result.stderr
        assert result.exit_code == 2

    @pytest.mark.parametrize(
        ("word", "known", "near"),
        [
            *((word, ["nodes", "cores"], "cores") for word in ("cpus", "CPU", "n_cpus", "ncpus")),
            ("num_gpus", ["gpus", "memory"], "gpus"),
            ("mem", ["memory"], "memory"),
            ("cpus", ["bind", "gpus"], "gpus"),
        ],
    )
    def test_words_of_other_programs_are_known(
        self, word: str, known: list[str], near: str
    ) -> None:
        assert closest(word, known) == f"; did you mean {near!r}?"

    def test_cpus_among_the_resources_are_cores(self) -> None:
        with pytest.raises(ConfigurationError, match="did you mean 'cores'"):
            Resources.of({"cpus": 2})

    def test_cpus_as_an_option_of_a_task_are_resources(self) -> None:
        from radical.asyncflow._task.options import check_options
        from radical.asyncflow.model import TaskKind

        with pytest.raises(ConfigurationError, match=r"did you mean resources=\{'cores': ...\}\?"):
            check_options({"cpus": 2}, TaskKind.FUNCTION)

    @pytest.mark.usefixtures("journal")
    def test_a_task_and_a_run_are_answered_with_the_nearest(self, invoke: Invoke) -> None:
        assert "did you mean 'simulate'?" in invoke("logs", "simulat").stderr
        assert "did you mean 'run.bbbb0002'?" in invoke("show", "run.bbb0002").stderr

    @pytest.mark.usefixtures("journal")
    def test_a_task_in_place_of_a_run_is_answered_with_the_words(self, invoke: Invoke) -> None:
        assert "the last run has such a task: last simulate" in invoke("show", "simulate").stderr


@pytest.mark.usefixtures("journal")
class TestRunAndTask:
    @pytest.mark.parametrize("name", ["show", "logs", "explain"])
    @pytest.mark.parametrize("run", ["run.aaaa0001", "aaaa", "last"])
    def test_the_run_stands_before_the_task(self, invoke: Invoke, name: str, run: str) -> None:
        result = invoke(name, run, "12")
        assert result.exit_code == 0
        assert "task.000012" in result.stdout

    @pytest.mark.parametrize("name", ["show", "logs", "explain"])
    def test_a_journal_may_stand_for_its_last_run(
        self, invoke: Invoke, journal: Path, name: str
    ) -> None:
        assert "task.000012" in invoke(name, str(journal), "12").stdout

    def test_the_former_words_work_as_before(self, invoke: Invoke, journal: Path) -> None:
        assert "task.000012" in invoke("show", "--task", "12").stdout
        for words in (("12",), (str(journal), "12")):
            result = invoke("explain", "--run", "run.aaaa0001", *words)
            assert "of run.aaaa0001 " in result.stdout
            assert "--run is deprecated" in result.stderr

    @pytest.mark.parametrize("words", [("logs", "a", "b", "c"), ("explain", "a", "b", "c")])
    def test_more_words_are_refused(self, invoke: Invoke, words: tuple[str, ...]) -> None:
        assert "give one RUN and one TASK, not 3 words" in invoke(*words).stderr


@pytest.mark.usefixtures("journal")
class TestFailedLogs:
    def test_equal_failures_are_shown_once(self, invoke: Invoke) -> None:
        text = invoke("logs", "--failed").stdout
        kinds = {RECORD.tasks[number].name for number in (43, 44, 46)}
        assert text.count("ValueError: no good") == len(kinds)
        assert all(task in text for task in ("task.000043", "task.000044", "task.000046"))

    def test_a_run_without_failures_says_so(self, invoke: Invoke) -> None:
        assert invoke("logs", "--failed", "aaaa").stdout == "No task of run.aaaa0001 failed.\n"

    @pytest.mark.parametrize(
        ("words", "text"),
        [(("last", "12"), "give one RUN, no TASK"), (("--stderr",), "leave --failed out")],
    )
    def test_a_task_or_a_stream_is_refused(
        self, invoke: Invoke, words: tuple[str, ...], text: str
    ) -> None:
        assert text in invoke("logs", "--failed", *words).stderr

    def test_without_a_task_the_message_names_the_option(self, invoke: Invoke) -> None:
        result = invoke("logs")
        assert result.exit_code == 2
        assert "Missing argument 'TASK'" in result.stderr
        assert "--failed" in result.stderr


@pytest.mark.usefixtures("journal")
class TestOpen:
    def test_the_page_is_opened_in_the_browser(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        browser = tmp_path / "browser"
        browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
        browser.chmod(0o755)
        monkeypatch.setenv("BROWSER", str(browser))
        assert run("report", "--open", "-o", "page.html", cwd=tmp_path).returncode == 0
        assert (tmp_path / "opened").read_text().strip() == (tmp_path / "page.html").as_uri()

    @pytest.mark.parametrize("words", [("-o", "-"), ("--format", "csv")])
    def test_only_a_page_in_a_file_can_be_opened(
        self, invoke: Invoke, words: tuple[str, ...]
    ) -> None:
        assert "--open is for a page" in invoke("report", "--open", *words).stderr


class TestClean:
    @pytest.fixture
    def runs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Folders of runs that ended 0 to 4 days ago, in this order."""
        monkeypatch.chdir(tmp_path)
        folder = tmp_path / "asyncflow-runs"
        now = folder.parent.stat().st_mtime
        for days in range(5):
            (folder / f"run.{days}").mkdir(parents=True)
            os.utime(folder / f"run.{days}", (now - days * 86400 - 60,) * 2)
        return folder

    @pytest.mark.parametrize(
        ("options", "left"),
        [
            ((), "01234"),
            (("--older-than", "36h"), "01"),
            (("--older-than", "2d"), "01"),
            (("--older-than", "2"), "01"),
            (("--older-than", "1w"), "01234"),
            (("--keep", "2"), "01"),
            (("--keep", "4", "--older-than", "0d"), "0123"),
            (("--keep", "1", "--older-than", "3d"), "012"),
            (("--days", "3"), "012"),
            (("--keep", "0", "--dry-run"), "01234"),
        ],
    )
    def test_what_is_old_enough_and_not_kept_is_removed(
        self, invoke: Invoke, runs: Path, options: tuple[str, ...], left: str
    ) -> None:
        assert invoke("runs", "clean", *options).exit_code == 0
        assert sorted(path.name for path in runs.iterdir()) == [f"run.{days}" for days in left]

    def test_a_run_that_goes_on_is_never_removed(self, invoke: Invoke, runs: Path) -> None:
        with subprocess.Popen(["sleep", "60"]) as process:
            user = {"host": socket.gethostname(), "pid": process.pid}
            (runs / "run.4" / ".in-use").write_text(json.dumps(user))
            said = invoke("runs", "clean", "--keep", "0").stdout
            process.kill()
        assert [path.name for path in runs.iterdir()] == ["run.4"]
        assert "asyncflow-runs/run.4 stays" in said

    @pytest.mark.usefixtures("runs")
    def test_another_time_is_refused(self, invoke: Invoke) -> None:
        result = invoke("runs", "clean", "--older-than", "soon")
        assert result.exit_code == 2
        assert "write it like 12h, 7d or 2w" in result.stderr


class TestInit:
    def test_the_options_say_what_is_written(
        self, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        words = ("--backend", "concurrent", "-s", "max_workers=4", "-s", 'executor_type="process"')
        result = invoke("init", *words, str(tmp_path))
        assert result.exit_code == 0
        assert tomllib.loads((tmp_path / "asyncflow.toml").read_text()) == {
            "backend": "concurrent",
            "config": {"max_workers": 4, "executor_type": "process"},
        }
        monkeypatch.chdir(tmp_path)
        assert "an engine that names no backend uses" in invoke("doctor").stdout

    def test_a_profile_is_the_default_one(self, invoke: Invoke, tmp_path: Path) -> None:
        invoke("init", "--backend", "noop", "--profile", "my lab", str(tmp_path))
        assert tomllib.loads((tmp_path / "asyncflow.toml").read_text()) == {
            "default": "my lab",
            "profiles": {"my lab": {"backend": "noop"}},
        }

    @pytest.mark.parametrize(
        ("words", "text"),
        [
            ((), "give the backend with --backend NAME"),
            (("--backend", "nopo"), "Closest known names: noop"),
            (("--backend", "concurrent", "-s", "cpus=2"), "did you mean 'max_workers'?"),
        ],
    )
    def test_what_is_wrong_is_said_and_nothing_is_written(
        self, invoke: Invoke, tmp_path: Path, words: tuple[str, ...], text: str
    ) -> None:
        result = invoke("init", *words, str(tmp_path))
        assert result.exit_code == 2
        assert text in result.stderr
        assert not (tmp_path / "asyncflow.toml").exists()

    def test_a_file_that_is_there_stays_unless_it_is_to_be_replaced(
        self, invoke: Invoke, tmp_path: Path
    ) -> None:
        path = tmp_path / "asyncflow.toml"
        path.write_text("mine")
        result = invoke("init", "--backend", "noop", str(tmp_path))
        assert result.exit_code == 2
        assert "--force replaces it" in result.stderr
        assert path.read_text() == "mine"
        assert invoke("init", "--backend", "noop", "--force", str(tmp_path)).exit_code == 0
        assert tomllib.loads(path.read_text()) == {"backend": "noop"}

    def test_on_a_terminal_it_asks_until_the_answers_are_right(
        self, terminal: Callable[..., Terminal], tmp_path: Path
    ) -> None:
        path = tmp_path / "asyncflow.toml"
        path.write_text("mine")
        shown = terminal("init", str(tmp_path))
        dialogue = (
            ("Replace it? [y/N]: ", "y"),
            ("Backend [concurrent]: ", ""),
            ("KEY=VALUE (nothing ends it): ", "cpus=2"),
            ("did you mean 'max_workers'?", ""),
            ("ends it): ", "max_workers=2"),
        )
        for question, answer in dialogue:
            shown.read(until=question)
            if not question.startswith("did"):
                shown.output = ""
                shown._bytes.clear()
                os.write(shown.master, answer.encode() + b"\n")
        shown.read(until="ends it): ")
        os.write(shown.master, b"\n")
        assert shown.wait() == 0
        assert tomllib.loads(path.read_text()) == {
            "backend": "concurrent",
            "config": {"max_workers": 2},
        }

    def test_without_a_yes_the_file_stays(
        self, terminal: Callable[..., Terminal], tmp_path: Path
    ) -> None:
        path = tmp_path / "asyncflow.toml"
        path.write_text("mine")
        shown = terminal("init", "--backend", "noop", str(tmp_path))
        shown.read(until="Replace it? [y/N]: ")
        os.write(shown.master, b"\n")
        assert shown.wait() == 1
        assert path.read_text() == "mine"


def test_the_completion_is_not_imported_where_nobody_asks() -> None:
    code = (
        "import sys\n"
        "from radical.asyncflow.cli import main\n"
        "try: main(['--version'])\n"
        "except SystemExit: pass\n"
        "print('radical.asyncflow.cli._complete' in sys.modules)\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.splitlines()[-1] == "False"
