"""``asyncflow run`` with a journal and with a walltime."""

from __future__ import annotations

from pathlib import Path

import pytest
from radical.asyncflow.journal import read

from .conftest import Run, Script

SHOW = """
    import os, sys
    print(os.environ.get("ASYNCFLOW_JOURNAL"), os.environ.get("ASYNCFLOW_WALLTIME"), *sys.argv[1:])
"""
WORK = """
    import asyncio
    from radical.asyncflow import WorkflowEngine

    async def main():
        async with WorkflowEngine.create("concurrent", {"max_workers": 1}) as flow:
            @flow.function_task
            def body(x):
                print("ran", x, flush=True)
                return x * x

            print(await body(3))
            HERE

    asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("words", "journal", "left"),
    [
        (["--journal"], "asyncflow.journal", ""),
        (["--journal", "--no-progress"], "asyncflow.journal", ""),
        (["--journal", "a.log"], "a.log", ""),
        (["--journal=b.log", "c.log"], "b.log", " c.log"),
        (["--journal", "--", "d.log"], "asyncflow.journal", " d.log"),
    ],
    ids=" ".join,
)
def test_the_journal_may_be_named(
    run: Run, script: Script, words: list[str], journal: str, left: str
) -> None:
    done = run("run", script(SHOW), *words)
    named, _, rest = done.stdout.rstrip("\n").partition(" None")
    assert Path(named).is_absolute()
    assert (Path(named).name, rest) == (journal, left)


@pytest.mark.parametrize(
    ("words", "journal"), [(["--journal"], "asyncflow.journal"), (["--journal", "a.log"], "a.log")]
)
def test_the_journal_may_be_named_before_the_script(
    run: Run, script: Script, words: list[str], journal: str
) -> None:
    assert Path(run("run", *words, script(SHOW)).stdout.split()[0]).name == journal


def test_the_walltime_is_passed_on(run: Run, script: Script) -> None:
    assert run("run", "--walltime", "1:00:00", script(SHOW)).stdout == "None 1:00:00\n"


def test_the_same_program_run_again_gets_its_results_from_the_journal(
    run: Run, script: Script, tmp_path: Path
) -> None:
    path, journal = script(WORK.replace("HERE", "")), str(tmp_path / "j")
    assert run("run", "--journal", journal, path).stdout == "ran 3\n9\n"
    assert run("run", "--journal", journal, path).stdout == "9\n"
    assert [task.state for task in read(journal)[1].tasks.values()] == ["DONE"]


def test_a_preempted_run_ends_with_75(run: Run, script: Script, tmp_path: Path) -> None:
    path = script(WORK.replace("HERE", "await flow.executable_task(lambda: 'sleep 60')()"))
    journal = str(tmp_path / "j")
    done = run("run", "--journal", journal, "--walltime", "8", path)
    assert (done.returncode, done.stdout) == (75, "ran 3\n9\n")
    assert "Traceback" not in done.stderr
    assert read(journal)[0].outcome == "preempted"


def test_a_preemption_that_leaves_the_script_has_no_traceback(run: Run, script: Script) -> None:
    text = """
        from radical.asyncflow import PreemptedError
        raise ExceptionGroup("both", [PreemptedError("task 'a' was ended"), PreemptedError("b")])
    """
    done = run("run", script(text))
    assert (done.returncode, done.stderr) == (75, "Stopped: task 'a' was ended\n")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--walltime", "soon"], "Error: walltime: not a duration: 'soon'"),
        (["--walltime", "0"], "Error: walltime must be longer than 0 seconds"),
        (["--journal", "/dev/null"], "Error: journal /dev/null is not a file"),
    ],
)
def test_a_wrong_option_is_one_message(
    run: Run, script: Script, tmp_path: Path, options: list[str], text: str
) -> None:
    done = run("run", *options, script(WORK.replace("HERE", "")))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(text)
    assert "Traceback" not in done.stderr
