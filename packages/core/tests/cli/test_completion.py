"""The completion of words, asked as a shell asks for it, and in a real bash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from radical.asyncflow._discovery.registry import registry
from radical.asyncflow.cli import main
from radical.asyncflow.cli._command import command
from radical.asyncflow.journal import FunctionRecord

from ..report.synthetic import synthetic, write_journal
from .conftest import Install, Invoke

Ask = Callable[..., list[str]]
PLUGIN = """
    from radical.asyncflow import hookimpl

    @hookimpl
    def asyncflow_cli(group):
        @group.command()
        def greet():
            "Say hello."
"""

RUN = synthetic(60, seed=1, uid="run.aaaa0001", killed=0.6)


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = write_journal(tmp_path / "campaign.journal", RUN, RUN._replace(uid="run.bbbb0002"))
    monkeypatch.setenv("ASYNCFLOW_JOURNAL", str(path))
    return path


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Return a function that returns the words that a shell is offered at the end of a line."""

    def ask(line: str, shell: str = "bash") -> list[str]:
        # Bash takes the sign for a word of its own.
        words = (line.replace("=", " = ") if shell == "bash" else line).split(" ")
        monkeypatch.setenv("COMP_WORDS", "\n".join(words))
        monkeypatch.setenv("COMP_CWORD", words[-1] if shell == "fish" else str(len(words) - 1))
        monkeypatch.setenv("_ASYNCFLOW_COMPLETE", f"{shell}_complete")
        registry.refresh()
        monkeypatch.setattr(command, "commands", dict(command.commands))
        monkeypatch.setattr(command, "_plugins_added", False)
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert (ended.value.code, said.err) == (0, "")
        lines = said.out.splitlines()
        if shell == "zsh":
            return lines[1::3]
        return [line.partition(",")[2].partition("\t")[0] for line in lines if line]

    return ask


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("asyncflow sh", {"show"}),
        ("asyncflow doctor no", {"noop"}),
        ("asyncflow backends show conc", {"concurrent"}),
        ("asyncflow run --backend noop,conc", {"noop,concurrent"}),
        ("asyncflow run --backend=conc", {"concurrent"}),
        ("asyncflow run --backend concurrent -s max_w", {"max_workers="}),
        ("asyncflow run --backend concurrent --set executor_type=pro", {"process"}),
        ("asyncflow run -s max_workers=2 -s executor_type=as", {"async"}),
        ("asyncflow doctor concurrent -s bind=", {"true", "false"}),
        ("asyncflow init --backend no", {"noop"}),
        ("asyncflow completion f", {"fish"}),
    ],
)
def test_backends_and_settings_are_offered(ask: Ask, line: str, offered: set[str]) -> None:
    assert set(ask(line)) == offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_whole_words(ask: Ask, shell: str) -> None:
    assert ask("asyncflow run -s executor_type=pro", shell) == ["executor_type=process"]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("asyncflow show run.", {"run.aaaa0001", "run.bbbb0002"}),
        ("asyncflow report la", {"last"}),
        ("asyncflow show last sim", {"simulate"}),
        ("asyncflow logs ana", {"analyse"}),
        ("asyncflow logs run.aaaa0001 prep", {"prepare"}),
        ("asyncflow explain last 12", {"12"}),
        ("asyncflow explain Worker", {"WorkerLostError"}),
        ("asyncflow explain last task.00001", {f"task.{n:06d}" for n in range(10, 20)}),
    ],
)
def test_runs_tasks_and_functions_are_offered(
    ask: Ask, journal: Path, line: str, offered: set[str]
) -> None:
    assert set(ask(line)) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_names_that_no_shell_can_type_are_not_offered(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    run = synthetic(8, seed=1, uid="run.aaaa0001")
    odd = FunctionRecord(9, "simulate\udc80\n\x1b[31m", "function", "")
    tasks = {number: task._replace(function=odd) for number, task in list(run.tasks.items())[:3]}
    failed = {number: task._replace(state="FAILED") for number, task in tasks.items()}
    path = write_journal(tmp_path / "odd", run._replace(tasks={**run.tasks, **failed}))
    monkeypatch.setenv("ASYNCFLOW_JOURNAL", str(path))
    offered = ask("asyncflow show last ", shell)
    assert "prepare" in offered
    assert str(min(failed)) in offered  # the name stands in its explanation only
    assert not [word for word in offered if word.startswith("simulate\udc80")]


def test_profiles_are_offered(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "asyncflow.toml").write_text(
        '[profiles.laptop]\nbackend = "noop"\n[profiles.lab]\nbackend = "concurrent"\n'
    )
    monkeypatch.setenv("ASYNCFLOW_CONFIG", str(tmp_path / "asyncflow.toml"))
    assert set(ask("asyncflow run --profile la")) == {"laptop", "lab"}
    assert set(ask("asyncflow run --profile lab -s max_w")) == {"max_workers="}


def test_nothing_is_offered_and_nothing_said_where_a_file_is_wrong(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "asyncflow.toml").write_text("nonsense")
    monkeypatch.setenv("ASYNCFLOW_CONFIG", str(tmp_path / "asyncflow.toml"))
    assert ask("asyncflow run --profile la") == []


def test_the_commands_of_plugins_are_offered(ask: Ask, install: Install) -> None:
    install("radical.asyncflow.plugins", "greeter", PLUGIN)
    assert ask("asyncflow gre") == ["greet"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_lines_for_a_shell_name_the_command(invoke: Invoke, shell: str) -> None:
    result = invoke("completion", shell)
    assert result.exit_code == 0
    assert f"_ASYNCFLOW_COMPLETE={shell}_complete" in result.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_a_real_bash_completes(tmp_path: Path, invoke: Invoke) -> None:
    """Have bash itself call the function that it was given, with the words as it splits them."""
    command = tmp_path / "asyncflow"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m radical.asyncflow "$@"\n')
    command.chmod(0o755)
    (tmp_path / "lines").write_text(invoke("completion", "bash").stdout)
    script = """
        source lines
        compopt() { echo "option" "$@"; }
        COMP_WORDS=(asyncflow run --set executor_type = thr) COMP_CWORD=5
        _asyncflow_completion asyncflow; echo "${COMPREPLY[@]}"
        COMPREPLY=() COMP_WORDS=(asyncflow run --backend concurrent -s max_w) COMP_CWORD=5
        _asyncflow_completion asyncflow; echo "${COMPREPLY[@]}"
        complete -p asyncflow
    """
    output = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert output.stdout.splitlines() == [
        "thread",
        "option -o nospace",
        "max_workers=",
        "complete -o nosort -F _asyncflow_completion asyncflow",
    ]
