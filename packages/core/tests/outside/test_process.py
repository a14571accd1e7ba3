"""What a backend in a process of its own does to the program: nothing, whatever happens there."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from outside_guests import (
    OutsideCrew,
    OutsideFussy,
    OutsideHostile,
    OutsideStuck,
    OutsideSudden,
    OutsideUnfit,
)
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.backend import (
    ExecutionBackend,
    OutOfProcessBackend,
    TaskKind,
    TaskRequest,
    TaskSpec,
    TaskState,
)
from radical.asyncflow.errors import (
    BackendLostError,
    BackendStartError,
    ConfigurationError,
    EngineClosedError,
    SerializationError,
    TaskExitError,
)
from radical.asyncflow.testing import RecordingSink
from radical.asyncflow.testing import _functions as functions
from radical.asyncflow.version import __version__

_numbers = itertools.count(1)


def request(function: Callable[..., Any], *args: Any, name: str = "task") -> TaskRequest:
    return TaskRequest(next(_numbers), 1, TaskSpec(name, TaskKind.FUNCTION, function), args)


def identity(value: Any) -> Any:
    return value


IDENTITY = TaskSpec("identity", TaskKind.FUNCTION, identity)


def same(value: Any) -> TaskRequest:
    """Make a request of a spec that many have."""
    return TaskRequest(next(_numbers), 1, IDENTITY, (value,))


@asynccontextmanager
async def started(backend: ExecutionBackend, folder: Path) -> AsyncIterator[RecordingSink]:
    sink = RecordingSink(work_dir=folder)
    await backend.start(sink)
    try:
        yield sink
    finally:
        await backend.shutdown()
    assert sink.violations == []


def submit(
    backend: ExecutionBackend, sink: RecordingSink, requests: Iterable[TaskRequest]
) -> list[TaskRequest]:
    batch = list(requests)
    sink.expect(batch)
    backend.submit(batch)
    return batch


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def has_files(folder: Path) -> None:
    deadline = time.monotonic() + 30
    while not files(folder):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def lives(pid: int) -> bool:
    """Tell whether a process runs; in a container nobody may reap one whose parent died."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def process_of(backend: OutOfProcessBackend) -> psutil.Process:
    assert backend._outside is not None
    assert backend._outside._process is not None
    return psutil.Process(backend._outside._process.pid)


# ------------------------------------------------------------------------------ the loss


@pytest.mark.parametrize(
    ("begins", "end"), [(0, "kill"), (3, "exit"), (3, "kill"), (10_000, "kill")]
)
async def test_exactly_the_tasks_that_had_begun_are_blamed_for_a_loss(
    tmp_path: Path, begins: int, end: str
) -> None:
    backend = OutsideSudden({"begins": begins, "end": end}, name="sudden")
    async with started(backend, tmp_path) as sink:
        batch = submit(backend, sink, [same(1) for _ in range(10_000)])
        await sink.until(lambda: sink.loss is not None)
        assert type(sink.loss) is BackendLostError
        how = "exit code 7" if end == "exit" else "signal 9"
        assert "the process of backend 'sudden' ended" in str(sink.loss)
        assert how in str(sink.loss)
        assert sorted(sink.unbegun) == [one.task_id for one in batch[begins:]]
        with pytest.raises(BackendLostError, match="sudden"):
            backend.submit([request(identity, 1)])
    # What it printed is kept after a loss.
    assert [file.suffix for file in files(tmp_path)] == [".log"]


class Careful(OutsideSudden):
    """Its guest tells of what has begun too late, but the odd ones certainly have not."""

    def unbegun(self, task_ids: Collection[int]) -> Collection[int]:
        return [task_id for task_id in task_ids if task_id % 2]


class Careless(OutsideSudden):
    def unbegun(self, task_ids: Collection[int]) -> Collection[int]:
        raise KeyError(len(task_ids))


@pytest.mark.parametrize(("kind", "answers"), [(Careful, True), (Careless, False)])
async def test_a_backend_may_know_better_what_has_not_begun(
    tmp_path: Path, kind: type[OutsideSudden], answers: bool, caplog: pytest.LogCaptureFixture
) -> None:
    backend = kind({"begins": 0, "end": "exit"}, name="sudden")
    async with started(backend, tmp_path) as sink:
        batch = submit(backend, sink, map(same, range(10)))
        await sink.until(lambda: sink.loss is not None)
        odd = [one.task_id for one in batch if one.task_id % 2]
        assert sorted(sink.unbegun) == (odd if answers else [])
    assert ("raised in unbegun()" in caplog.text) is not answers


async def test_with_failover_what_had_not_begun_runs_elsewhere(tmp_path: Path) -> None:
    backends = [OutsideSudden({"begins": 2, "end": "kill"}, name="sudden"), OutsideCrew()]
    async with WorkflowEngine.create(backends, failover=True, work_dir=tmp_path) as flow:
        task = flow.function_task(identity)
        results = await asyncio.gather(*[task(at) for at in range(50)], return_exceptions=True)
    assert [type(one) for one in results[:2]] == [BackendLostError] * 2
    assert results[2:] == list(range(2, 50))


async def test_a_task_that_ends_the_process_fails_the_others_and_nothing_hangs(
    tmp_path: Path,
) -> None:
    backend = OutsideCrew()
    async with started(backend, tmp_path) as sink:
        first = submit(backend, sink, [request(identity, at) for at in range(5)])
        await sink.outcomes(first)
        (deadly,) = submit(backend, sink, [request(os._exit, 3)])
        await sink.until(lambda: sink.loss is not None)
        assert deadly.task_id not in sink.unbegun
        assert backend._outside._process is not None  # type: ignore[union-attr]
        assert backend.waits([deadly.task_id]) == {}
        backend.cancel([deadly.task_id])


async def test_a_loss_that_the_guest_reports_reaches_the_engine(tmp_path: Path) -> None:
    backend = OutsideFussy(name="fussy")
    async with started(backend, tmp_path) as sink:
        submit(backend, sink, [request(identity, 1, name="lose")])
        await sink.until(lambda: sink.loss is not None)
        assert str(sink.loss) == "backend 'fussy' was lost: the runtime is gone"
        assert isinstance(sink.loss.__cause__, ValueError)  # type: ignore[union-attr]


async def test_a_process_that_is_stopped_and_then_killed_is_a_loss(tmp_path: Path) -> None:
    backend = OutsideCrew()
    async with started(backend, tmp_path) as sink:
        process = process_of(backend)
        process.suspend()
        batch = submit(backend, sink, [request(identity, at) for at in range(20)])
        process.kill()
        await sink.until(lambda: sink.loss is not None)
        assert sorted(sink.unbegun) == [one.task_id for one in batch]


# ------------------------------------------------------------------------- a hostile guest


async def test_a_hostile_runtime_harms_nothing_in_the_program(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    root = logging.getLogger()
    before = (root.level, list(root.handlers), asyncio.get_event_loop_policy(), Path.cwd())
    async with WorkflowEngine.create(OutsideHostile(name="hostile"), work_dir=tmp_path) as flow:
        task = flow.function_task(identity)
        pids = await task(1)
        assert all(map(lives, pids))
        with pytest.raises(TaskExitError):
            await flow.function_task(identity, name="exits")(2)
        assert await task(3) == pids  # it goes on
    assert not any(map(lives, pids))
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert before == (root.level, root.handlers, asyncio.get_event_loop_policy(), Path.cwd())
    assert capfd.readouterr() == ("", "")


async def test_what_a_runtime_prints_is_kept_if_the_class_says_so(tmp_path: Path) -> None:
    class Keeping(OutsideHostile):
        keeps_log = True

    async with started(Keeping(name="hostile"), tmp_path):
        pass
    (log,) = files(tmp_path)
    text = log.read_text()
    assert "hello from the hostile runtime\n" in text
    assert "and from below\n" in text


async def test_a_guest_that_blocks_delays_neither_a_cancel_nor_the_end_for_long(
    tmp_path: Path,
) -> None:
    backend = OutsideStuck(name="stuck")
    async with started(backend, tmp_path) as sink:
        batch = submit(backend, sink, [request(identity, at) for at in range(100)])
        await sink.until(lambda: sink.has_begun(batch[0]))
        for one in batch:  # two seconds each would be 200 s
            backend.cancel([one.task_id])
        assert backend.waits([batch[1].task_id]) == {}
    assert {sink.outcome(one).state for one in batch} == {  # type: ignore[union-attr]
        TaskState.CANCELLED
    }
    assert sink.loss is None


# ------------------------------------------------------------------------------- the start


def interpreter(folder: Path, *lines: str) -> str:
    """Write an interpreter that is this one after some *lines*, as another one would be."""
    script = folder / "other.py"
    script.write_text(
        "\n".join(("import sys", *lines, "sys.argv = sys.argv[2:]", "exec(sys.argv[0])"))
    )
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
    python.chmod(0o755)
    return str(python)


_OLD_CORE = "import radical.asyncflow.version as v; v.__version__ = '0.1.2'"
_OLD_PYTHON = "sys.version_info = (3, 8, 1, 'final', 0)"
_NO_CORE = "sys.modules['radical.asyncflow'] = None"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (_OLD_CORE, f"has radical.asyncflow 0.1.2, but this program has {__version__}: install "),
        (_OLD_PYTHON, "is cpython 3.8, but this program runs in cpython 3."),
        (_NO_CORE, "has no radical.asyncflow (ModuleNotFoundError: "),
        ("sys.modules['radical.asyncflow.backend._outside.guest'] = None", "cannot import what "),
    ],
)
async def test_an_interpreter_that_does_not_fit_is_refused_at_the_start(
    tmp_path: Path, line: str, text: str
) -> None:
    python = interpreter(tmp_path, line)
    backend = OutsideCrew(python=python)
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(BackendStartError) as caught:
        await backend.start(RecordingSink(work_dir=work))
    assert str(caught.value).startswith(f"backend 'outside': {python} ")
    assert text in str(caught.value)
    assert files(work) == []
    await backend.shutdown()


async def test_another_python_will_do_where_no_function_travels(tmp_path: Path) -> None:
    class Commands(OutsideCrew):
        capabilities = OutsideCrew.capabilities.__class__(kinds={TaskKind.EXECUTABLE}, pickles=True)

    backend = Commands(python=interpreter(tmp_path, _OLD_PYTHON))
    async with WorkflowEngine.create(backend, work_dir=tmp_path / "work") as flow:

        async def greet() -> str:
            return "echo hello"

        assert await flow.executable_task(greet)() == "hello\n"


async def test_the_settings_may_name_the_interpreter(tmp_path: Path) -> None:
    class Settings(dict[str, Any]):
        python = interpreter(tmp_path, _OLD_CORE)

    with pytest.raises(BackendStartError, match=r"0\.1\.2"):
        await OutsideCrew(Settings(slots=1)).start(RecordingSink(work_dir=tmp_path))


@pytest.mark.parametrize(
    ("python", "text"),
    [
        ("/no/such/python", "no process of /no/such/python can be started: "),
        ("/bin/true", "/bin/true is no Python, or ended at once"),
    ],
)
async def test_what_is_no_interpreter_is_refused(tmp_path: Path, python: str, text: str) -> None:
    with pytest.raises(BackendStartError, match=text):
        await OutsideCrew(python=python).start(RecordingSink(work_dir=tmp_path))
    assert files(tmp_path) == []


async def test_another_version_of_the_plugin_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package" / "outside_plugin"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("__version__ = '1.1'\n")
    (package / "guest.py").write_text("from outside_guests import Fussy\n")
    monkeypatch.syspath_prepend(package.parent)
    import outside_plugin  # type: ignore[import-not-found]

    monkeypatch.setattr(outside_plugin, "__version__", "1.2")

    class Plugin(OutsideFussy):
        guest = "outside_plugin.guest:Fussy"

    work = tmp_path / "work"
    work.mkdir()
    try:
        with pytest.raises(
            BackendStartError, match=r"outside_plugin 1\.1, but the program has 1\.2"
        ):
            await Plugin(name="plugin").start(RecordingSink(work_dir=work))
    finally:
        del sys.modules["outside_plugin"]


@pytest.mark.parametrize(
    ("settings", "kind", "text"),
    [
        ("raise", ConnectionRefusedError, "no runtime answers"),
        ("start error", BackendStartError, "the licence is used up\n.*last words of a runtime"),
        ("exit", BackendStartError, "exit code 9\n.*last words of a runtime"),
        ("remote results", BackendStartError, "remote_results"),
    ],
)
async def test_a_guest_that_does_not_start_says_why(
    tmp_path: Path, settings: str, kind: type[Exception], text: str
) -> None:
    backend = OutsideUnfit(settings, name="unfit")
    with pytest.raises(kind, match=f"(?s){text}"):
        await backend.start(RecordingSink(work_dir=tmp_path))
    assert files(tmp_path) == []
    with pytest.raises(BackendStartError, match="started already"):
        await backend.start(RecordingSink(work_dir=tmp_path))
    await backend.shutdown()


async def test_a_guest_that_is_not_up_in_time_is_ended(tmp_path: Path) -> None:
    class Hasty(OutsideUnfit):
        start_limit_s = 1.0

    with pytest.raises(BackendStartError, match="within 1 s"):
        await Hasty("never", name="unfit").start(RecordingSink(work_dir=tmp_path))


async def test_a_shutdown_during_the_start_ends_it(tmp_path: Path) -> None:
    backend = OutsideUnfit("never", name="unfit")
    start = asyncio.ensure_future(backend.start(RecordingSink(work_dir=tmp_path)))
    await has_files(tmp_path)
    await backend.shutdown()
    with pytest.raises(BackendStartError):
        await start
    assert files(tmp_path) == []


async def test_a_start_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    backend = OutsideUnfit("never", name="unfit")
    start = asyncio.ensure_future(backend.start(RecordingSink(work_dir=tmp_path)))
    await has_files(tmp_path)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert files(tmp_path) == []
    await backend.shutdown()


@pytest.mark.parametrize("guest", ["", "module_alone", "not a name:Class", 3])
def test_a_class_must_name_its_guest(guest: Any) -> None:
    made = type("Made", (OutsideCrew,), {"guest": guest})
    with pytest.raises(TypeError, match=r"Made\.guest must name a class as 'module:Class', not"):
        made()


# ----------------------------------------------------------------------- what goes through


async def test_values_come_back_as_they_are(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    backend = OutsideFussy(name="fussy")
    array = numpy.arange(1_000_000)
    async with started(backend, tmp_path) as sink:
        values = [None, 1, "text", b"", b"bytes", bytes(5_000_000), array, ValueError("a value")]
        batch = submit(backend, sink, [request(identity, value) for value in values])
        results = [report.value for report in await sink.outcomes(batch)]
    assert results[:6] == values[:6]
    assert [type(value) for value in results] == [type(value) for value in values]
    assert (results[6] == array).all()
    assert results[6].flags.writeable
    assert repr(results[7]) == repr(values[7])


async def test_what_cannot_travel_fails_its_task_alone(tmp_path: Path) -> None:
    backend = OutsideFussy(name="fussy")
    async with started(backend, tmp_path) as sink:
        lock = threading.Lock()
        values = [1, lock, NotHere(), 3]
        requests = [*map(same, values), request(lambda: lock)]
        reports = await sink.outcomes(submit(backend, sink, requests))
    assert (reports[0].value, reports[3].value) == (1, 3)
    assert [type(reports[at].value) for at in (1, 2, 4)] == [SerializationError] * 3
    assert [reports[at].value.what for at in (1, 2, 4)] == ["arguments", "arguments", "function"]


class NotHere:
    """A value that only this process can rebuild."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _only_in, (os.getpid(),)


def _only_in(pid: int) -> None:
    assert os.getpid() == pid


async def test_the_guest_may_refuse_a_spec(tmp_path: Path) -> None:
    async with WorkflowEngine.create(OutsideFussy(name="fussy"), work_dir=tmp_path) as flow:
        blue = flow.function_task(identity, task_description={"colour": "blue"})
        red = flow.function_task(identity, task_description={"colour": "red"})
        assert await blue(1) == 1
        with pytest.raises(ConfigurationError, match="no red tasks here"):
            await red(1)


async def test_capacity_follows_the_guest(tmp_path: Path) -> None:
    backend = OutsideFussy(name="fussy")
    assert backend.capacity() is None
    async with started(backend, tmp_path) as sink:
        assert backend.capacity() == 3
        await sink.outcomes(submit(backend, sink, [request(identity, 1)]))
        deadline = time.monotonic() + 30
        while backend.capacity() != 4:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.001)


async def test_a_function_that_has_changed_travels_anew(tmp_path: Path) -> None:
    backend = OutsideCrew()
    factor = 2

    def times(value: int) -> int:
        return factor * value

    spec = TaskSpec("times", TaskKind.FUNCTION, times)
    async with started(backend, tmp_path) as sink:
        (one,) = submit(backend, sink, [TaskRequest(1, 1, spec, (5,))])
        assert (await sink.outcomes([one]))[0].value == 10
        factor = 3
        (two,) = submit(backend, sink, [TaskRequest(2, 1, spec, (5,))])
        assert (await sink.outcomes([two]))[0].value == 15


async def test_specs_that_have_ended_are_forgotten(tmp_path: Path) -> None:
    backend = OutsideFussy(name="fussy")
    async with started(backend, tmp_path) as sink:
        for at in range(20):
            await sink.outcomes(submit(backend, sink, [request(identity, at)]))
        sink._expected.clear()  # which holds the specs
        await sink.outcomes(submit(backend, sink, [request(identity, 20)]))
        assert backend._outside is not None
        assert len(backend._outside._writer._known) < 5


@pytest.mark.parametrize("is_same_python", [True, False])
async def test_a_module_beside_the_script_that_came_later_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_same_python: bool
) -> None:
    backend = OutsideCrew(python=None if is_same_python else sys.executable)
    (tmp_path / "came_later.py").write_text("def answer():\n    return 42\n")
    async with started(backend, tmp_path) as sink:
        monkeypatch.syspath_prepend(tmp_path)
        from came_later import answer  # type: ignore[import-not-found]

        (one,) = submit(backend, sink, [request(answer)])
        assert (await sink.outcomes([one]))[0].value == 42
    del sys.modules["came_later"]


# --------------------------------------------------------------------------------- the end


async def test_a_shutdown_without_cancel_finishes_first(tmp_path: Path) -> None:
    backend = OutsideCrew()
    sink = RecordingSink(work_dir=tmp_path)
    await backend.start(sink)
    batch = submit(backend, sink, [request(identity, at) for at in range(500)])
    await backend.shutdown(cancel=False)
    assert [sink.outcome(one).value for one in batch] == list(range(500))  # type: ignore[union-attr]
    assert sink.violations == []
    assert files(tmp_path) == []
    with pytest.raises(EngineClosedError):
        backend.submit([request(identity, 1)])


async def test_a_second_shutdown_may_cancel_what_the_first_one_waits_for(tmp_path: Path) -> None:
    class Hasty(OutsideCrew):
        end_limit_s = 0.2  # the functions do not end

    backend = Hasty()
    sink = RecordingSink(work_dir=tmp_path)
    await backend.start(sink)
    batch = submit(
        backend, sink, [request(functions.hold_blocking, str(tmp_path), at) for at in range(6)]
    )
    await sink.until(lambda: sink.has_begun(batch[0]))
    patient = asyncio.ensure_future(backend.shutdown(cancel=False))
    await asyncio.sleep(0)
    await backend.shutdown()
    await patient
    assert {sink.outcome(one).state for one in batch} == {  # type: ignore[union-attr]
        TaskState.CANCELLED
    }
    assert sink.violations == []


_PROGRAM = """
import asyncio, os, signal, sys
sys.path.insert(0, sys.argv[1])
from outside_guests import OutsideHostile
from radical.asyncflow import WorkflowEngine

async def main():
    async with WorkflowEngine.create(OutsideHostile(name="hostile")) as flow:
        print(*await flow.function_task(os.getpid)(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_the_process_and_all_that_it_started_end_with_a_program_that_is_killed() -> None:
    support = str(Path(sys.modules["outside_guests"].__file__ or "").parent)
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PROGRAM, support, stdout=asyncio.subprocess.PIPE
    )
    told, _ = await program.communicate()
    pids = list(map(int, told.split()))
    assert len(pids) == 3
    deadline = time.monotonic() + 30
    while any(map(lives, pids)):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    shutil.rmtree("asyncflow-runs")
