"""Each public error has an entry in the page on troubleshooting, with what it really says."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
from public_modules import PUBLIC
from radical.asyncflow import InputFile, Preemption, WorkflowEngine, errors, registry
from radical.asyncflow.cli import _errors
from troubleshooting import ENTRIES, PAGE, check_shown, shown_in

NO_ENTRY = {"LeakError"}  # for authors of backends: the page on the kit has it
FAMILIES = {"AsyncFlowError", "TaskError", "BackendError", "JournalError", "PluginError"}


def public_errors() -> set[str]:
    modules = map(import_module, PUBLIC)
    values = [(name, getattr(module, name)) for module in modules for name in module.__all__]
    names = {
        name
        for name, value in values
        if isinstance(value, type)
        and issubclass(value, BaseException)
        and value.__module__.startswith("radical.asyncflow")
    }
    for path in PAGE.parents[1].glob("packages/backend-*/src/*/__init__.py"):
        names |= set(re.findall(r'"(\w+Error)"', path.read_text(encoding="utf-8")))
    return names - NO_ENTRY


def test_each_public_error_has_an_entry_and_no_other_has_one() -> None:
    assert set(ENTRIES) == public_errors()


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_says_what_you_see_why_and_what_to_do(name: str) -> None:
    body = ENTRIES[name]
    assert len(shown_in(body)) == (name not in FAMILIES)
    assert body.count("\n**Why:** ") == 1
    assert body.count("\n**What to do:** ") == 1
    assert body.index("**Why:**") < body.index("**What to do:**")


def test_the_command_has_the_page_as_it_is() -> None:
    assert _errors.PAGE.read_bytes() == PAGE.read_bytes(), f"cp {PAGE} {_errors.PAGE}"


def test_the_entry_of_a_late_service_shows_its_words() -> None:
    # Really too late, it may not have written anything yet on a busy machine.
    check_shown(errors.ServiceTimeoutError("serve", 60, stderr="loading the model\n"))


def test_the_entry_of_a_lost_pilot_shows_its_words() -> None:
    # The backend is installed elsewhere, but its errors need only the core.
    source = PAGE.parents[1] / "packages/backend-radical/src/asyncflow_backend_radical/errors.py"
    names = run_path(str(source))
    check_shown(names["PilotLostError"]("DONE", "/scratch/pilot.0000"))


PROCESS = {"executor_type": "process", "max_workers": 1}

Case = Callable[[WorkflowEngine, Path], Awaitable[Any]]
CASES: dict[str, Case] = {}


def case(make: Case) -> Case:
    """Keep *make*, which raises the error that its docstring names."""
    assert make.__doc__
    CASES[make.__doc__] = make
    return make


@case
async def wrong_settings(_flow: WorkflowEngine, _folder: Path) -> None:
    """ConfigurationError"""
    await WorkflowEngine.create("concurrent", {"max_wokers": 4, "executor_type": "fork"})


@case
async def no_prompts(flow: WorkflowEngine, _folder: Path) -> None:
    """UnsupportedOptionError"""

    @flow.prompt_task
    def ask() -> str:
        return "how are you?"

    await ask()


@case
async def too_wide(flow: WorkflowEngine, _folder: Path) -> None:
    """ResourceError"""
    await flow.function_task(abs, name="wide", resources={"cores": 64})(1)


@case
async def own_future(flow: WorkflowEngine, _folder: Path) -> None:
    """CycleError"""
    values: list[Any] = []
    future = flow.function_task(len, name="use")(values)
    values.append(future)
    await future


@case
async def too_many(_flow: WorkflowEngine, _folder: Path) -> None:
    """PendingLimitError"""
    async with WorkflowEngine.create("noop", max_pending=2) as flow:
        task = flow.function_task(abs)
        task(task(task(1)))


@case
async def too_late(_flow: WorkflowEngine, _folder: Path) -> None:
    """EngineClosedError"""
    async with WorkflowEngine.create("noop") as flow:
        task = flow.function_task(abs, name="work")
    task(1)


@case
async def odd_start(_flow: WorkflowEngine, _folder: Path) -> None:
    """BackendStartError"""
    from radical.asyncflow.testing import ScriptedBackend

    class Mine(ScriptedBackend):
        async def start(self, _sink: Any) -> None:
            raise OSError("the scheduler refuses this user")

    await WorkflowEngine.create(Mine(name="mine"))


@case
async def wrong_command(flow: WorkflowEngine, _folder: Path) -> None:
    """ExecutableError"""

    @flow.executable_task
    def run() -> list[str]:
        return ["sh", "-c", "echo no such molecule >&2; exit 3"]

    await run()


@case
async def too_slow(flow: WorkflowEngine, _folder: Path) -> None:
    """TaskTimeoutError"""

    @flow.executable_task(timeout=0.2)
    def relax() -> list[str]:
        return ["sleep", "600"]

    await relax()


@case
async def failed_before(flow: WorkflowEngine, _folder: Path) -> None:
    """DependencyFailureError"""

    @flow.function_task
    def relax() -> float:
        raise ValueError("energy is not finite")

    await flow.function_task(abs, name="use")(relax())


@case
async def left(flow: WorkflowEngine, _folder: Path) -> None:
    """TaskExitError"""
    await flow.function_task(sys.exit, name="leave")(1)


@case
async def cannot_travel(flow: WorkflowEngine, _folder: Path) -> None:
    """SerializationError"""
    async with WorkflowEngine.create("concurrent", PROCESS) as flow:
        await flow.function_task(type)(threading.Lock())


@case
async def not_to_be_pickled(_flow: WorkflowEngine, _folder: Path) -> None:
    """RemoteError"""

    class Odd(Exception):  # noqa: N818 - what a user may write
        __module__ = "__main__"

        def __reduce__(self) -> str:
            raise TypeError("not this one")

    def write() -> None:
        raise Odd("disk full")

    async with WorkflowEngine.create("concurrent", PROCESS) as flow:
        await flow.function_task(write)()


@case
async def killed(_flow: WorkflowEngine, _folder: Path) -> None:
    """WorkerLostError"""

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    async with WorkflowEngine.create("concurrent", PROCESS) as flow:
        await flow.function_task(die)()


@case
async def no_such_input(flow: WorkflowEngine, folder: Path) -> None:
    """FileError"""
    await flow.function_task(len)(InputFile(folder / "missing/file.pdb"))


@case
async def no_time_left(_flow: WorkflowEngine, _folder: Path) -> None:
    """PreemptedError"""
    soon = Preemption(walltime=0.5, grace=0)
    async with WorkflowEngine.create("concurrent", preemption=soon) as flow:
        nap = flow.function_task(asyncio.sleep, name="nap")(600)
        await asyncio.wait([nap])
    await nap


@case
async def service_gone(flow: WorkflowEngine, _folder: Path) -> None:
    """ServiceLostError"""

    @flow.executable_task(service=True, info_pattern="stdout:(up)")
    def serve() -> list[str]:
        return ["sh", "-c", "echo port 8000 is taken >&2"]

    await serve()


@case
async def service_stopped(flow: WorkflowEngine, _folder: Path) -> None:
    """ServiceStoppedError"""

    @flow.executable_task(service=True, info_pattern="stdout:(up)")
    def serve() -> list[str]:
        return ["sh", "-c", "echo up; exec sleep 600"]

    server = serve()
    await server
    await server.stop()
    with pytest.raises(errors.DependencyFailureError) as caught:
        await flow.function_task(len)(server)
    raise caught.value.__cause__ or caught.value


@case
async def two_runs(_flow: WorkflowEngine, folder: Path) -> None:
    """JournalInUseError"""
    async with WorkflowEngine.create("noop", journal=folder / "run.journal"):
        await WorkflowEngine.create("noop", journal=folder / "run.journal")


@case
async def damaged(_flow: WorkflowEngine, folder: Path) -> None:
    """JournalCorruptError"""
    path = folder / "broken.journal"
    async with WorkflowEngine.create("noop", journal=path) as flow:
        await flow.function_task(abs)(1)
    head, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([head, b"garbage\n", *rest]))
    await WorkflowEngine.create("noop", journal=path)


@case
async def no_journal(_flow: WorkflowEngine, folder: Path) -> None:
    """JournalFormatError"""
    (folder / "notes.txt").write_text("hello\nyou\n")
    await WorkflowEngine.create("noop", journal=folder / "notes.txt")


@case
async def no_plugin(_flow: WorkflowEngine, _folder: Path) -> None:
    """PluginNotFoundError"""
    await WorkflowEngine.create("noop", observers="thermometer")


@pytest.mark.parametrize("name", CASES)
async def test_an_entry_shows_what_a_program_really_sees(name: str, tmp_path: Path) -> None:
    async with WorkflowEngine.create("concurrent", {"max_workers": 2}) as flow:
        with pytest.raises(errors.AsyncFlowError) as caught:
            await CASES[name](flow, tmp_path)
    assert type(caught.value).__name__ == name
    check_shown(caught.value)


@pytest.mark.skipif(find_spec("distributed") is not None, reason="Dask is installed")
async def test_the_entry_of_a_missing_backend_shows_what_a_program_really_sees() -> None:
    with pytest.raises(errors.BackendNotFoundError) as caught:
        await WorkflowEngine.create("dask")
    check_shown(caught.value)


async def test_the_entry_of_a_traceback_shows_what_a_program_really_sees() -> None:
    def relax() -> float:
        raise ValueError("energy is not finite")

    async with WorkflowEngine.create("concurrent", PROCESS) as flow:
        with pytest.raises(ValueError, match="not finite") as caught:
            await flow.function_task(relax)()
    assert isinstance(caught.value.__cause__, errors.RemoteTraceback)
    check_shown(caught.value.__cause__)


def test_the_entry_of_a_deprecation_shows_what_a_program_really_sees() -> None:
    from radical.asyncflow.deprecation import AsyncFlowDeprecationWarning

    with pytest.warns(AsyncFlowDeprecationWarning) as warned:
        registry.list_available()
    messages = [warning.message for warning in warned]
    (ours,) = [each for each in messages if isinstance(each, AsyncFlowDeprecationWarning)]
    check_shown(ours)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Return a function that installs the plugin ``mine`` of the group that it is given."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(group: str, code: str, headers: str = "") -> None:
        info = tmp_path / "asyncflow_mine-1.0.dist-info"
        info.mkdir()
        fields = f"Metadata-Version: 2.1\nName: asyncflow-mine\nVersion: 1.0\n{headers}"
        (info / "METADATA").write_text(fields)
        entry = f"[radical.asyncflow.{group}]\nmine = code_of_mine:make\n"
        (info / "entry_points.txt").write_text(entry)
        (tmp_path / "code_of_mine.py").write_text(code)
        registry.refresh()

    yield install
    sys.modules.pop("code_of_mine", None)
    registry.refresh()


BROKEN = "raise OSError('libmine.so.4: cannot open shared object file')"
FAILS = "def make(run, text):\n    raise OSError('no such port: /dev/ttyUSB0')"
TOO_NEW = "Requires-Dist: radical.asyncflow>=2\n"


@pytest.mark.parametrize(
    ("name", "group", "code", "headers"),
    [
        ("BackendBrokenError", "backends", BROKEN, ""),
        ("BackendIncompatibleError", "backends", BROKEN, TOO_NEW),
        ("PluginBrokenError", "observers", FAILS, ""),
        ("PluginIncompatibleError", "observers", FAILS, TOO_NEW),
    ],
)
async def test_the_entry_of_a_plugin_shows_what_a_program_really_sees(
    install: Callable[..., None], name: str, group: str, code: str, headers: str
) -> None:
    install(group, code, headers)
    backend, observers = ("noop", "mine") if group == "observers" else ("mine", None)
    with pytest.raises(errors.AsyncFlowError) as caught:
        await WorkflowEngine.create(backend, observers=observers)
    assert type(caught.value).__name__ == name
    check_shown(caught.value)
