"""``asyncflow runs``, ``show``, ``logs``, ``explain`` and ``report``."""

from __future__ import annotations

import csv
import io
import json
import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest
from radical.asyncflow._files.work_dir import WorkDir
from radical.asyncflow.journal import ErrorRecord, RunRecord

from ..report.synthetic import ANALYSE, synthetic, write_journal
from .conftest import Invoke, Run

FIRST = synthetic(60, seed=1, uid="run.aaaa0001", killed=0.6)
LAST = synthetic(60, seed=1, uid="run.aabb0002", reused="run.aaaa0001")


def failing() -> RunRecord:
    """The last run, with one failed task of each kind."""
    error = ErrorRecord("ValueError", "no\x1b[31m good", "Traceback ...\nValueError: no good\n")
    tasks = dict(LAST.tasks)
    tasks[43] = tasks[43]._replace(
        state="FAILED", error=error, stdout="step 1\n\x1b[2Jstep 2\n", stderr="fatal\n"
    )
    return LAST._replace(tasks=tasks)


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A journal of two runs, which the environment names."""
    path = write_journal(tmp_path / "campaign.journal", FIRST, failing())
    monkeypatch.setenv("ASYNCFLOW_JOURNAL", str(path))
    return path


def test_runs_lists_the_oldest_first(invoke: Invoke, journal: Path) -> None:
    lines = invoke("runs").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["RUN", "run.aaaa0001", "run.aabb0002"]
    assert "killed" in lines[1]
    assert "campaign.py --samples 60" in lines[2]


def test_runs_as_json_count_the_states(invoke: Invoke, journal: Path) -> None:
    runs = json.loads(invoke("runs", "--json").stdout)
    assert [run["run"] for run in runs] == ["run.aaaa0001", "run.aabb0002"]
    assert runs[1]["states"] == {"DONE": 59, "FAILED": 1}
    assert runs[1]["reused"] == 19


def test_clean_where_no_run_left_a_folder_has_nothing_to_remove(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("runs", "clean", "--keep", "5")
    assert (result.exit_code, result.stdout) == (
        0,
        "There is nothing to remove: no folder asyncflow-runs is here.\n",
    )
    assert invoke("runs", "clean", "no-such-folder").exit_code == 2


def test_clean_removes_the_folders_of_old_runs(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "asyncflow-runs"
    for name in ("old", "new", "killed"):
        (runs / name / "task.000001").mkdir(parents=True)
    going_on = WorkDir("going-on", None)
    going_on()
    gone = subprocess.Popen(["true"])
    gone.wait()
    user = {"host": socket.gethostname(), "pid": gone.pid}
    (runs / "killed" / ".in-use").write_text(json.dumps(user))
    for name in ("old", "killed", "going-on"):
        os.utime(runs / name, (1, 1))
    assert "would remove asyncflow-runs/killed" in invoke("runs", "clean", "--dry-run").stdout
    said = invoke("runs", "clean").stdout
    assert [path.name for path in sorted(runs.iterdir())] == ["going-on", "new"]
    assert "asyncflow-runs/going-on stays: its run goes on" in said
    assert "nothing to remove" in invoke("runs", "clean").stdout
    going_on.close()
    invoke("runs", "clean", "--days", "0")
    assert not runs.exists()


def test_a_journal_without_runs_says_so(invoke: Invoke, tmp_path: Path) -> None:
    path = write_journal(tmp_path / "empty")
    assert "holds no runs yet" in invoke("runs", "--journal", str(path)).stdout


def test_the_option_counts_for_more_than_the_environment(
    invoke: Invoke, journal: Path, tmp_path: Path
) -> None:
    other = write_journal(tmp_path / "other", LAST._replace(uid="run.other"))
    assert "run.other" in invoke("runs", "--journal", str(other)).stdout


def test_without_a_word_the_journal_is_that_of_the_folder(run: Run, tmp_path: Path) -> None:
    write_journal(tmp_path / "asyncflow.journal", LAST)
    assert "run.aabb0002" in run("runs", cwd=tmp_path).stdout


def test_a_missing_journal_is_one_message_that_says_how_to_get_one(invoke: Invoke) -> None:
    result = invoke("runs")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: there is no journal asyncflow.journal: name one")
    assert result.stderr.count("\n") == 1


def test_a_file_that_is_no_journal_is_an_error(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a journal\n")
    result = invoke("runs", "--journal", str(path))
    assert result.exit_code == 2
    assert "not a journal" in result.stderr


def test_what_is_damaged_is_warned_of_and_the_rest_is_shown(invoke: Invoke, journal: Path) -> None:
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[20] = lines[20][:12] + b"?" + lines[20][13:]
    journal.write_bytes(b"".join(lines))
    result = invoke("runs")
    assert result.exit_code == 0
    assert "is damaged: line 21" in result.stderr
    assert "run.aabb0002" in result.stdout


@pytest.mark.parametrize("word", ["last", "run.aabb0002", "run.aab", "aab", None])
def test_a_run_is_named_by_its_uid_or_the_beginning_or_last(
    invoke: Invoke, journal: Path, word: str | None
) -> None:
    result = invoke("show", *([] if word is None else [word]))
    assert result.stdout.splitlines()[0] == "run.aabb0002"


def test_a_journal_in_place_of_a_run_means_its_last(invoke: Invoke, journal: Path) -> None:
    result = invoke("show", str(journal))
    assert result.stdout.splitlines()[0] == "run.aabb0002"


def test_a_beginning_of_several_runs_is_refused_with_their_names(
    invoke: Invoke, journal: Path
) -> None:
    result = invoke("show", "aa")
    assert result.exit_code == 2
    assert "several runs: run.aaaa0001, run.aabb0002" in result.stderr


def test_an_unknown_run_is_refused_with_those_there_are(invoke: Invoke, journal: Path) -> None:
    result = invoke("show", "zz")
    assert result.exit_code == 2
    assert "has no run 'zz'; it has run.aaaa0001, run.aabb0002" in result.stderr


def test_show_tells_tasks_backends_and_failures(invoke: Invoke, journal: Path) -> None:
    text = invoke("show").stdout
    for words in ("critical path", "utilisation", "simulate", "concurrent", "dask"):
        assert words in text
    assert "ValueError: no\\x1b[31m good" in text
    assert "asyncflow logs run.aabb0002 43" in text


def test_show_tells_which_backend_was_lost(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dask = {**LAST.backends["dask"], "lost": "BackendLostError: gone", "moved": 40}
    run = LAST._replace(backends={**LAST.backends, "dask": dask})
    monkeypatch.setenv("ASYNCFLOW_JOURNAL", str(write_journal(tmp_path / "journal", run)))
    text = invoke("show").stdout
    assert "  dask was lost, and 40 tasks went on elsewhere: BackendLostError: gone" in text
    assert "concurrent was lost" not in text


def test_show_lists_the_tasks_in_a_state(invoke: Invoke, journal: Path) -> None:
    lines = invoke("show", "--state", "failed").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["TASK", "task.000043"]


def test_show_as_json_has_the_tasks_when_they_are_asked_for(invoke: Invoke, journal: Path) -> None:
    data = json.loads(invoke("show", "--json", "--task", "analyse").stdout)
    assert {task["name"] for task in data["tasks"]} == {"analyse"}
    assert data["failures"][0]["tasks"] == ["task.000043"]
    assert "tasks" not in json.loads(invoke("show", "--json").stdout)


def test_json_escapes_what_utf8_cannot_write(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = ErrorRecord("ValueError", "no file ü\udc80", "Traceback ...\n")
    tasks = {43: LAST.tasks[43]._replace(state="FAILED", error=error)}
    path = write_journal(tmp_path / "journal", LAST._replace(tasks=tasks))
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8:strict")
    (failure,) = json.loads(run("show", str(path), "--json").stdout)["failures"]
    assert failure["error"]["text"] == "no file ü\udc80"


@pytest.mark.parametrize("word", ["43", "task.000043", "task.43", LAST.tasks[43].name])
def test_logs_shows_output_and_error_of_the_task_that_failed(
    invoke: Invoke, journal: Path, word: str
) -> None:
    text = invoke("logs", word).stdout
    assert "ValueError: no good" in text
    assert "step 1\n\\x1b[2Jstep 2\n" in text
    assert "fatal" in text


def test_logs_of_a_stream_is_that_stream_unchanged(run: Run, journal: Path) -> None:
    assert run("logs", "last", "43", "--stdout").stdout == "step 1\n\x1b[2Jstep 2\n"
    assert run("logs", "last", "43", "--stderr").stdout == "fatal\n"


def test_logs_of_a_name_that_many_tasks_have_asks_for_a_number(
    invoke: Invoke, journal: Path
) -> None:
    result = invoke("logs", "aaaa", "prepare")
    assert result.exit_code == 2
    assert "give a number; " in result.stderr


def test_an_unknown_task_is_refused_with_the_names_there_are(invoke: Invoke, journal: Path) -> None:
    result = invoke("logs", "nonsense")
    assert result.exit_code == 2
    assert "prepare, simulate, analyse" in result.stderr


def test_explain_says_why_a_task_was_reused(invoke: Invoke, journal: Path) -> None:
    text = invoke("explain", str(journal), "2").stdout
    assert text.splitlines()[0].endswith("was reused from run.aaaa0001/2")


def test_explain_says_what_changed(invoke: Invoke, tmp_path: Path) -> None:
    changed = ANALYSE._replace(source="99" * 16)
    tasks = {
        number: task._replace(function=changed, key=f"{number:032x}", reused=None)
        if task.function is ANALYSE
        else task
        for number, task in LAST.tasks.items()
    }
    functions = {**LAST.functions, 3: changed}
    now = LAST._replace(uid="run.now", tasks=tasks, functions=functions)
    path = write_journal(tmp_path / "journal", LAST, now)
    one = invoke("explain", str(path), "4").stdout
    assert "its source changed since run.aabb0002 (c3c3c3c3 → 99999999)." in one
    many = invoke("explain", str(path), "analyse", "--json").stdout
    assert len({tuple(answer["reasons"]) for answer in json.loads(many)}) == 1
    text = invoke("explain", str(path), "analyse").stdout
    assert text.splitlines()[0] == (
        f"{len(json.loads(many))} tasks named analyse of run.now: "
        f"0 reused, {len(json.loads(many))} not"
    )


def test_report_is_a_page_named_after_the_run(run: Run, journal: Path, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    result = run("report", cwd=folder)
    assert (result.returncode, result.stdout) == (0, "run.aabb0002.html\n")
    assert [path.name for path in folder.iterdir()] == ["run.aabb0002.html"]
    assert (folder / "run.aabb0002.html").read_text("utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("options", "start"),
    [
        (("-o", "page.html"), "<!doctype html>"),
        (("-o", "table.csv"), "run,task,"),
        (("-o", "trace.json"), '{"traceEvents":'),
        (("-o", "table.txt", "--format", "csv"), "run,task,"),
    ],
)
def test_report_takes_its_format_from_the_option_or_the_ending(
    invoke: Invoke, journal: Path, tmp_path: Path, options: tuple[str, ...], start: str
) -> None:
    path = tmp_path / options[1]
    assert invoke("report", "last", "-o", str(path), *options[2:]).exit_code == 0
    assert path.read_text("utf-8").startswith(start)


def test_report_writes_to_stdout_where_it_is_asked_to(run: Run, journal: Path) -> None:
    table = run("report", "-o", "-", "--format", "csv").stdout
    assert len([*csv.reader(io.StringIO(table))]) == 61


def test_report_of_an_unknown_ending_is_refused(
    invoke: Invoke, journal: Path, tmp_path: Path
) -> None:
    result = invoke("report", "-o", str(tmp_path / "report.pdf"))
    assert result.exit_code == 2
    assert "add --format" in result.stderr


def test_report_that_cannot_be_written_is_an_error_and_leaves_nothing(
    invoke: Invoke, journal: Path, tmp_path: Path
) -> None:
    path = tmp_path / "nowhere" / "report.html"
    result = invoke("report", "-o", str(path))
    assert result.exit_code == 2
    assert f"{path} cannot be written: No such file or directory" in result.stderr


def test_report_stays_inside_the_folder_whatever_the_run_is_called(
    run: Run, tmp_path: Path
) -> None:
    path = write_journal(tmp_path / "journal", LAST._replace(uid="../../.evil name"))
    folder = tmp_path / "here"
    folder.mkdir()
    assert run("report", str(path), cwd=folder).returncode == 0
    assert [one.parent for one in folder.rglob("*")] == [folder]


@pytest.mark.parametrize("name", ["report.html", "report.csv", "trace.json"])
def test_a_report_can_be_read_by_its_owner_alone(
    run: Run, journal: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.touch(mode=0o644)
    run("report", "-o", str(path), umask=0o022)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
