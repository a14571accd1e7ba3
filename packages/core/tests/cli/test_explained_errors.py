"""``asyncflow explain ERROR``: the entry of the page on troubleshooting, in a terminal."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.cli._command import command


def explain(word: str, **variables: str) -> Result:
    return CliRunner().invoke(command, ["explain", word], env=variables)


@pytest.mark.parametrize(
    "word",
    [
        "ExecutableError",
        "radical.asyncflow.errors.ExecutableError",
        "radical.asyncflow.errors.ExecutableError:",
    ],
)
def test_an_error_is_found_as_a_traceback_names_it(word: str) -> None:
    result = explain(word)
    assert result.exit_code == 0
    first, *lines = result.stdout.splitlines()
    assert first == "ExecutableError"
    assert "    command ended with exit code 3: sh -c 'echo no such molecule >&2; exit 3'" in lines
    assert "Why: A command ended with an exit code other than zero, or a signal ended it." in lines
    assert "  `signal`" not in result.stdout
    assert "  signal 24 (SIGXCPU)  a limit of processor time" in lines
    assert lines[-1] == "The whole page: docs/troubleshooting.md#executableerror"


def test_a_link_becomes_the_name_of_its_page() -> None:
    assert "not done again (docs/resume.md)" in " ".join(explain("BackendLostError").stdout.split())


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_an_entry_fits_its_terminal(columns: int) -> None:
    text = explain("ExecutableError", COLUMNS=str(columns)).stdout
    told = [line for line in text.splitlines() if not line.startswith("    ")]
    assert max(map(len, told)) <= min(columns, 80)


async def test_the_logs_of_a_failure_name_the_command_that_explains_it(tmp_path: Path) -> None:
    path = tmp_path / "run.journal"
    async with WorkflowEngine.create("concurrent", journal=path) as flow:
        broken = flow.executable_task(lambda: "exit 3", name="broken")()
        wrong = flow.function_task(int, name="wrong")("one")
        await asyncio.wait([broken, wrong])
        broken.exception(), wrong.exception()
    logs = {name: text_of("logs", str(path), name) for name in ("broken", "wrong")}
    assert "\nMore about this error: asyncflow explain ExecutableError\n" in logs["broken"]
    assert "ValueError" in logs["wrong"]
    assert "More about" not in logs["wrong"]


def text_of(*words: str) -> str:
    return CliRunner().invoke(command, words).stdout


def test_a_word_that_is_no_error_is_a_task() -> None:
    assert "journal" in explain("ValueError").stderr
