"""``asyncflow run``, in processes of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from .conftest import COMMAND, Run, Script

ENGINE = """
    import asyncio
    from radical.asyncflow import WorkflowEngine

    async def main():
        async with WorkflowEngine.create(GIVEN) as flow:
            print(*flow.backends)

    asyncio.run(main())
"""
ANY = ENGINE.replace("GIVEN", "")
SHOW = "import sys; print(__name__, sys.argv[1:])"


def test_script_is_main_with_its_arguments(run: Run, script: Script) -> None:
    assert run("run", script(SHOW), "a", "-b").stdout == "__main__ ['a', '-b']\n"


def test_modules_beside_the_script_can_be_imported(run: Run, script: Script) -> None:
    path = Path(script("import neighbour"))
    (path.parent / "neighbour.py").write_text("print('found')")
    assert run("run", str(path)).stdout == "found\n"


def test_a_dash_is_the_program_on_stdin(run: Run) -> None:
    assert run("run", "-", "a", input=SHOW).stdout == "__main__ ['a']\n"


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["--backend", "noop"], []),
        (["--backend=noop", "a", "--backend", "x"], ["a", "--backend", "x"]),
        (["--", "--backend", "x"], ["--backend", "x"]),
        (["--help"], ["--help"]),
        (["--set", "bind=true", "-x", "--set", "b=2"], ["-x", "--set", "b=2"]),
    ],
    ids=" ".join,
)
def test_options_count_up_to_the_first_word_of_the_script(
    run: Run, script: Script, words: list[str], left: list[str]
) -> None:
    assert run("run", script(SHOW), *words).stdout == f"__main__ {left}\n"


def test_engine_without_a_backend_uses_that_of_the_option(run: Run, script: Script) -> None:
    assert run("run", script(ANY), "--backend", "noop").stdout == "noop\n"


def test_engine_without_a_backend_uses_the_profile(
    run: Run, script: Script, tmp_path: Path
) -> None:
    file = tmp_path / "site.toml"
    file.write_text('[profiles.dry]\nbackend = "noop"\nname = "nothing"\n')
    result = run("run", "--config", str(file), "--profile", "dry", script(ANY))
    assert result.stdout == "nothing\n"


def test_profile_option_counts_for_more_than_a_backend_in_the_environment(
    run: Run, script: Script, tmp_path: Path
) -> None:
    file = tmp_path / "site.toml"
    file.write_text('[profiles.dry]\nbackend = "noop"\n')
    result = run(
        "run",
        *("--config", str(file), "--profile", "dry", script(ANY)),
        env={**os.environ, "ASYNCFLOW_BACKEND": "concurrent"},
    )
    assert result.stdout == "noop\n"


def test_setting_reaches_the_backend(run: Run, script: Script) -> None:
    result = run("run", script(ANY), "--backend", "noop", "--set", "name=mine")
    assert result.stdout == "mine\n"


def test_unused_backend_options_are_warned_of(run: Run, script: Script) -> None:
    result = run("run", script(ENGINE.replace("GIVEN", "'concurrent'")), "--backend", "noop")
    assert result.returncode == 0
    assert "the options for noop were not used" in result.stderr


@pytest.mark.parametrize("named", ["noop", "concurrent"])
def test_settings_of_no_use_are_warned_of_once(run: Run, script: Script, named: str) -> None:
    given = script(ENGINE.replace("GIVEN", f"'{named}'"))
    result = run("run", "--quiet", given, "--set", "max_workers=3")
    assert result.returncode == 0
    (line,) = result.stderr.splitlines()
    assert f"the program itself names the backend '{named}'" in line
    assert "are not used: max_workers; leave the name out there, or give the settings" in line


@pytest.mark.parametrize(
    ("text", "code"), [("pass", 0), ("raise SystemExit(7)", 7), ("raise SystemExit('no')", 1)]
)
def test_exit_code_is_that_of_the_script(run: Run, script: Script, text: str, code: int) -> None:
    assert run("run", script(text)).returncode == code


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    raise ValueError('mine')\nf()",
        "x = (",
        "try:\n    1/0\nexcept ZeroDivisionError as e:\n    raise KeyError('k') from e",
        "import click\nraise click.UsageError('of the script')",
        "raise BaseExceptionGroup('g', [ValueError()])",
    ],
    ids=["error", "syntax", "chain", "click", "group"],
)
def test_error_of_the_script_is_shown_as_python_shows_it(
    run: Run, script: Script, text: str
) -> None:
    path = script(text)
    plain = subprocess.run(
        [sys.executable, path], capture_output=True, text=True, timeout=60, check=False
    )
    result = run("run", path)
    assert (result.returncode, result.stderr) == (plain.returncode, plain.stderr)


def test_an_error_of_ours_is_shown_with_the_command_that_explains_it(
    run: Run, script: Script
) -> None:
    text = """
        from radical.asyncflow import TaskTimeoutError
        class Mine(TaskTimeoutError): pass
        raise Mine("relax", 0.2)
    """
    result = run("run", script(text))
    *_, last, more = result.stderr.splitlines()
    assert (result.returncode, last) == (
        1,
        "Mine: task 'relax' ran longer than its timeout of 0.2 s",
    )
    assert more == "More about this error: asyncflow explain TaskTimeoutError"
    assert run(*more.split()[-2:]).stdout.startswith("TaskTimeoutError\n")


def test_a_group_with_an_error_of_ours_is_explained_by_its_first(run: Run, script: Script) -> None:
    text = """
        from radical.asyncflow import TaskTimeoutError
        raise ExceptionGroup("both", [TaskTimeoutError("relax", 1), ValueError()])
    """
    assert run("run", script(text)).stderr.endswith("asyncflow explain TaskTimeoutError\n")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--backend", "nopo"], "Closest known names: noop"),
        (["--backend", "dask"], "Installation hint: Try: pip install 'radical.asyncflow[dask]'"),
    ],
    ids=" ".join,
)
def test_wrong_backend_is_one_message_that_names_the_line(
    run: Run, script: Script, options: list[str], text: str
) -> None:
    result = run("run", script(ANY), *options)
    assert result.returncode == 2
    assert text in result.stderr
    assert "program.py, line 6)" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--backend", "noop", "--set", "a=1"], "it takes no settings"),
        (["-s", "max_worker=1"], "did you mean 'max_workers'"),
        (["-s", "max_worker=1"], "an engine that names its own backend gets none of it"),
    ],
)
def test_wrong_setting_is_refused_before_the_script_begins(
    run: Run, script: Script, options: list[str], text: str
) -> None:
    program = "print('begun')" + ENGINE.replace("GIVEN", "'noop'")
    result = run("run", script(program), *options)
    assert (result.returncode, result.stdout) == (2, "")
    assert text in result.stderr


def test_a_setting_of_a_backend_that_is_not_there_is_left_to_the_engine(
    run: Run, script: Script
) -> None:
    result = run("run", script(ANY), "--backend", "dask", "--set", "n_workers=1")
    assert result.returncode == 2
    assert "Installation hint" in result.stderr


def test_unknown_profile_is_told_before_the_script_begins(run: Run, script: Script) -> None:
    result = run("run", script("print('begun')"), "--profile", "nonsense")
    assert result.returncode == 2
    assert "no profile 'nonsense'" in result.stderr
    assert result.stdout == ""


def test_debug_shows_where_a_setting_was_refused(run: Run, script: Script) -> None:
    result = run("run", "--debug", script(ANY), "--backend", "nopo")
    assert result.returncode == 2
    assert "Traceback" in result.stderr


@pytest.mark.parametrize("option", ["-q", "--quiet"])
def test_a_quiet_run_writes_nothing_of_its_own(run: Run, script: Script, option: str) -> None:
    assert run("run", option, script(ANY)).stderr == ""


def test_interrupt_is_130_and_leaves_no_child(script: Script) -> None:
    path = script(
        """
        import asyncio
        from radical.asyncflow import WorkflowEngine

        async def main():
            async with WorkflowEngine.create("concurrent") as flow:
                @flow.executable_task
                async def long():
                    return "echo $$ >&2; sleep 300"

                future = long()
                while future.state != "RUNNING":
                    await asyncio.sleep(0.01)
                print("running", flush=True)
                await future

        asyncio.run(main())
        """
    )
    with subprocess.Popen(
        (*COMMAND, "run", path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        end = time.monotonic() + 20
        children: list[psutil.Process] = []
        while time.monotonic() < end and not children:
            children = [
                child
                for child in psutil.Process(process.pid).children(recursive=True)
                if "sleep" in " ".join(_words(child))
            ]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert children
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert process.returncode == 130
    assert errors.endswith("Interrupted.\n")


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it is gone already
        return []
