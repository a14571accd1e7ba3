"""Surroundings with odd names and values: they arrive as they are, or are refused by name."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from asyncflow_backend_radical import RadicalExecutionBackend
from asyncflow_backend_radical._host.environment import (
    RUN_COMMAND,
    host_environment,
    task_environment,
)
from asyncflow_backend_radical._host.program_end import HostProcess
from asyncflow_backend_radical._pilot import places
from asyncflow_backend_radical._pilot.catalogue import known_resources
from asyncflow_backend_radical._pilot.plan import check_plan, plan_pilot
from asyncflow_backend_radical.config import RadicalConfig
from polling import HANG_S, until
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.errors import BackendStartError, ConfigurationError
from radical.asyncflow.testing import LeakGuard, RecordingSink
from radical.asyncflow.worker import guard

_TRACE = "ODD_TRACE_OF_A_SHELL"
_ODD = {
    "ODD_HOME": "pass$HOME-word",
    "ODD_RUN": f"$(touch {_TRACE})`touch {_TRACE}`",
    "ODD_QUOTES": """it's "quoted" \\" \\n\\\\""",
    "ODD_LINES": "one\ntwo=2\n\nexport THREE=3\n",
    "ODD_BLANKS": " \t before and after \t",
    "ODD_SIGNS": "!a;b&c|d<e>(f){g}[h]*?#~",
    "ODD_TEXT": "ä€\udcff",  # as Python reads a byte that is no UTF-8
    "ODD_EMPTY": "",
    "odd.name-1": "$no identifier",
    "BASH_FUNC_odd_function%%": """() {  echo "$1" 'of' `echo it`\n}""",
    "COLUMNS": "77",
    "PS1": "$ ",
    "LC_NUMERIC": "C.UTF-8",
    "UID": "$4321",
}
_SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


def _odd_of(env: Mapping[str, str]) -> dict[str, str]:
    return {name: env.get(name, "is not there") for name in _ODD}


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put odd values into the environment of this process."""
    for name, value in _ODD.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MAKEFLAGS", raising=False)


def _after_script(folder: Path, before: str, *words: str) -> str:
    """Source the script for tasks as RADICAL-Pilot does; return what a command then prints."""
    script = folder / "it's environment.sh"
    script.write_bytes(task_environment(is_local=True))
    env = host_environment("token", folder)
    source = f'{before}\n. "$0" || exit 9\n{RUN_COMMAND} "$@"'
    done = subprocess.run(
        ["bash", "-c", source, str(script), *words],
        env=env,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.usefixtures("odd")
def test_what_shells_would_change_is_not_in_the_environment_of_radical_pilot(
    tmp_path: Path,
) -> None:
    assert set(_ODD) & set(host_environment("token", tmp_path)) == {"ODD_EMPTY"}


@pytest.mark.usefixtures("odd")
def test_the_script_gives_each_value_as_it_is(tmp_path: Path) -> None:
    seen = json.loads(_after_script(tmp_path, "", sys.executable, "-c", _SHOW))
    assert _odd_of(seen) == _ODD
    assert not (tmp_path / _TRACE).exists()


@pytest.mark.usefixtures("odd")
def test_what_the_machine_of_the_task_has_set_stays(tmp_path: Path) -> None:
    before = "export ODD_HOME=mine LC_NUMERIC=C MAKEFLAGS=-j"
    seen = json.loads(_after_script(tmp_path, before, sys.executable, "-c", _SHOW))
    assert seen["ODD_HOME"] == "mine"
    # RADICAL-Pilot itself sets these, for its own shells.
    assert (seen["LC_NUMERIC"], "MAKEFLAGS" in seen) == ("C.UTF-8", False)


def test_the_text_of_an_exported_function_is_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASH_FUNC_evil%%", f"() {{ :; }}; touch {_TRACE}")
    _after_script(tmp_path, "", "true")
    assert not (tmp_path / _TRACE).exists()
    assert not Path(_TRACE).exists()


def test_folders_of_the_path_with_odd_names_are_for_tasks_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = os.pathsep.join(["/odd $(folder)/bin", os.environ["PATH"]])
    monkeypatch.setenv("PATH", path)
    assert "odd" not in host_environment("token", tmp_path)["PATH"]
    assert _after_script(tmp_path, "", "printenv", "PATH").startswith(path)


@pytest.mark.parametrize("home", [None, "/dev/null", "relative", "{odd}"])
def test_a_home_that_cannot_be_used_is_replaced_for_radical_pilot_and_not_for_tasks(
    home: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = tmp_path / "o'brien"
    users.mkdir()
    (users / ".profile").touch()
    if home is None:
        monkeypatch.delenv("HOME")
    else:
        monkeypatch.setenv("HOME", home.replace("{odd}", str(users)))
    assert "local.localhost" in known_resources()
    given = Path(host_environment("token", tmp_path)["HOME"])
    assert given == tmp_path / "home"
    assert [file.name for file in given.iterdir()] == ([".profile"] if home == "{odd}" else [])
    seen = json.loads(_after_script(tmp_path, "", sys.executable, "-c", _SHOW))
    assert seen.get("HOME") == os.environ.get("HOME")


async def test_the_process_of_radical_pilot_learns_how_its_children_end(tmp_path: Path) -> None:
    codes: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    guard().acquire()
    try:
        host = HostProcess(
            tmp_path, configs=None, has_job=False, on_events=print, on_exit=codes.put
        )
        try:
            children = psutil.Process().children()
            (pid,) = [child.pid for child in children if child.cwd() == str(tmp_path)]
            status = Path(f"/proc/{pid}/status")
            await until(lambda: not _ignores(status.read_text(), signal.SIGCHLD), 60)
            os.kill(pid, signal.SIGKILL)
            assert codes.get(timeout=HANG_S) is None  # this process ignores SIGCHLD itself
        finally:
            host.kill()
    finally:
        await asyncio.to_thread(guard().release)
        signal.signal(signal.SIGCHLD, before)


def _ignores(status: str, number: int) -> bool:
    """Return whether a process with this *status* ignores the signal *number*."""
    (line,) = (line for line in status.splitlines() if line.startswith("SigIgn:"))
    return bool(int(line.split()[1], 16) >> (number - 1) & 1)


def test_a_sandbox_with_a_space_is_refused_by_name() -> None:
    plan = plan_pilot(RadicalConfig(sandbox="/scratch/my dir"))
    with pytest.raises(ConfigurationError, match=r"sandbox='/scratch/my dir'.*choose another"):
        check_plan(plan, "radical_pilot")


def test_a_python_environment_with_a_space_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "prefix", "/opt/my env")
    with pytest.raises(BackendStartError, match=r"environment '/opt/my env'.*another folder"):
        check_plan(plan_pilot(RadicalConfig()), "radical_pilot")


async def test_an_odd_work_dir_is_refused_by_name_if_there_is_no_other_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_TEMPORARY_FOLDERS", ())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "no such folder"))
    odd = tmp_path / "my dir"
    odd.mkdir()
    backend = RadicalExecutionBackend()
    async with LeakGuard():
        with pytest.raises(ConfigurationError, match=r"my dir'.*choose another work_dir"):
            await backend.start(RecordingSink(work_dir=odd))
        await backend.shutdown()
    assert list(odd.iterdir()) == []


@pytest.mark.slow
@pytest.mark.usefixtures("odd")
async def test_values_and_a_work_dir_with_odd_names_reach_the_tasks_of_a_pilot(
    tmp_path: Path,
) -> None:
    folder = tmp_path / """it's "my" $(dir)"""
    folder.mkdir()
    before = dict(os.environ)
    async with LeakGuard():
        async with WorkflowEngine.create("radical_pilot", work_dir=folder) as flow:
            mine: Any = {"pre_exec": ['export SEEN="$ODD_LINES$(odd_function text)"']}

            @flow.executable_task(resources={"ranks": 2}, task_description=mine)
            async def command() -> list[str]:
                return [sys.executable, "-c", _SHOW]

            @flow.executable_task(capture_stdio=True)
            async def keep() -> list[str]:
                return ["echo", "kept"]

            @flow.function_task
            def function() -> dict[str, str]:
                return dict(os.environ)

            told, seen, kept = await asyncio.gather(command(), function(), keep())
        for line in str(told).splitlines():
            env = json.loads(line)
            assert _odd_of(env) == _ODD
            assert env["SEEN"] == _ODD["ODD_LINES"] + "text of it"
        assert len(str(told).splitlines()) == 2
        assert _odd_of(seen) == _ODD
        same = ("HOME", "LANG", "MAKEFLAGS", "PYTHONPATH", "PYTHONNOUSERSITE", "TMPDIR", "TERM")
        assert [seen.get(name) for name in same] == [before.get(name) for name in same]
        assert Path(str(kept)).is_relative_to(folder)
    assert list(folder.rglob(_TRACE)) == []


_PROGRAM = """
import asyncio, json, signal, sys
from radical.asyncflow import ExecutableError, WorkflowEngine

signal.signal(signal.SIGCHLD, signal.SIG_IGN)

async def main():
    async with WorkflowEngine.create("radical_pilot", uid="my 'odd' $run") as flow:
        codes = []
        for code in (3, 0, 3):
            try:
                await flow.executable_task(lambda code=code: f"exit {code}")()
                codes.append(0)
            except ExecutableError as error:
                codes.append(error.exit_code)
        env = await flow.function_task(lambda: dict(__import__("os").environ))()
        print(json.dumps([codes, env.get("HOME"), env.get("TMPDIR")]))

asyncio.run(main())
"""


@pytest.mark.slow
def test_a_pilot_works_in_odd_surroundings_and_exit_codes_arrive(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp dir"
    temporary.mkdir()
    script = tmp_path / "program.py"
    script.write_text(_PROGRAM)
    env = {**os.environ, "HOME": "/dev/null", "TMPDIR": str(temporary)}
    done = subprocess.run(
        [sys.executable, str(script)],
        env=env,
        cwd=temporary,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[3, 0, 3], "/dev/null", str(temporary)]
    assert list(temporary.iterdir()) == []
