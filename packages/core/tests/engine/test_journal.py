"""The journal in an engine's life: when a result counts, and what happens when it cannot."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow import (
    ConfigurationError,
    JournalCorruptError,
    JournalError,
    JournalFormatError,
    JournalInUseError,
    TaskTimeoutError,
    WorkflowEngine,
)
from radical.asyncflow.backend import Report, TaskState
from radical.asyncflow.journal import Journal, read
from radical.asyncflow.journal._format import parse
from radical.asyncflow.testing import ScriptedBackend

from .resuming import Program
from .waiting import turns, until


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def square(x: int) -> int:
    return x * x


class Flag:
    """An event that is a file: a task that can reach it may be reused, unlike with a lock."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def set(self) -> None:
        self._path.touch()

    def is_set(self) -> bool:
        return self._path.exists()

    def wait(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not self.is_set() and time.monotonic() < deadline:
            time.sleep(0.005)
        return self.is_set()


class Slow:
    """A result whose way to the file takes until `go`."""

    go: Flag
    begun: Flag

    def __reduce__(self) -> Any:
        Slow.begun.set()
        assert Slow.go.wait(20)
        return (Slow, ())


@pytest.fixture
def gate(tmp_path: Path) -> Any:
    Slow.go = Flag(tmp_path / "go")
    Slow.begun = Flag(tmp_path / "begun")
    yield Slow
    Slow.go.set()


async def once(flow: WorkflowEngine) -> Any:
    return await flow.function_task(square)(3)


# --------------------------------------------------------------- when a result counts


async def test_a_result_is_seen_only_when_it_is_in_the_file(program: Program) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        future = flow.function_task(square)(3)
        seen: list[bytes] = []
        future.add_done_callback(lambda _: seen.append(program.path.read_bytes()))
        await future
        await turns()
        (text,) = seen
        assert b'"value":9' in text

    await program.run(main)


async def test_a_dependent_starts_only_when_its_dependency_is_in_the_file(
    program: Program, gate: Any
) -> None:
    backend = ScriptedBackend()

    async def main(flow: WorkflowEngine) -> Any:
        one = flow.function_task(Slow, name="one")()
        two = flow.function_task(lambda x: 1, name="two")(one)  # noqa: ARG005
        await until(gate.begun.is_set)
        await turns()
        assert [request.spec.name for request in backend.submitted] == ["one"]
        assert not one.done()
        gate.go.set()
        return await two

    await program.run(main, backend)
    assert program.result == 1


async def test_a_result_on_its_way_can_be_cancelled_and_is_kept(
    program: Program, gate: Any
) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        future = flow.function_task(Slow, name="one")()
        await until(gate.begun.is_set)
        assert future.cancel()
        assert future.cancelled()
        gate.go.set()
        return await asyncio.gather(future, return_exceptions=True)

    await program.run(main)
    assert program.records()[0].state == "CANCELLED"
    assert await program.run(lambda flow: flow.function_task(Slow, name="one")()) == []


async def test_a_result_on_its_way_does_not_time_out(program: Program, gate: Any) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        future = flow.function_task(timeout=0.05)(Slow)()
        await until(gate.begun.is_set)
        # Its time is over later than that of the result which is on its way.
        other = flow.function_task(timeout=0.05)(asyncio.Event().wait)()
        with pytest.raises(TaskTimeoutError):
            await other
        assert not future.done()
        gate.go.set()
        return await future

    await program.run(main)
    assert isinstance(program.result, Slow)


async def test_what_timed_out_runs_again(program: Program) -> None:
    backend = ScriptedBackend()
    backend.hold("square")

    async def main(flow: WorkflowEngine) -> Any:
        future = flow.function_task(timeout=0.05)(square)(3)
        await until(backend.waiting)
        backend.start_task(future)
        return await asyncio.gather(future, return_exceptions=True)

    await program.run(main, backend)
    assert isinstance(program.result[0], TaskTimeoutError)
    assert await program.run(once) == ["square"]


@pytest.mark.parametrize("cancel", [True, False])
async def test_a_shutdown_while_a_result_is_on_its_way(
    program: Program, gate: Any, cancel: bool
) -> None:
    flow = await WorkflowEngine.create(ScriptedBackend(), journal=program.path)
    future = flow.function_task(Slow, name="one")()
    await until(gate.begun.is_set)
    closing = asyncio.create_task(flow.shutdown(cancel=cancel))
    await turns()
    gate.go.set()
    await closing
    assert future.cancelled() is cancel
    (run,) = read(program.path)
    assert run.outcome == ("cancelled" if cancel else "done")
    assert await program.run(lambda flow: flow.function_task(Slow, name="one")()) == []


async def test_a_task_is_in_the_journal_from_its_call_to_its_end(program: Program) -> None:
    backend = ScriptedBackend()
    backend.hold("square")
    journal = Journal(program.path)

    def states() -> list[tuple[str, str, str | None, tuple[int, ...]]]:
        return [(task.state, task.backend, task.worker, task.after) for task in program.records()]

    async def main() -> None:
        # Nobody observes this engine, so nothing else asks for what runs.
        async with WorkflowEngine.create(backend, journal=journal) as flow:
            task = flow.function_task(square)
            first = task(3)
            second = task(first)
            third = task(4)
            waits = ("PENDING", "", None, (1,))
            sent = ("SUBMITTED", "scripted", None, ())
            await until(lambda: states() == [sent, waits, sent])
            for number, future in enumerate((first, third), 1):
                backend.start_task(future, worker=f"w{number}")
            runs = [("RUNNING", "scripted", worker, ()) for worker in ("w1", "w2")]
            await until(lambda: states() == [runs[0], waits, runs[1]])
            backend.finish(first, 9)
            await until(lambda: states()[1] == ("SUBMITTED", "scripted", None, (1,)))
            backend.finish(second, 81)
            backend.finish(third, 16)

    await main()
    assert [task.state for task in program.records()] == ["DONE"] * 3


async def test_the_next_attempt_is_in_the_journal_before_it_runs(program: Program) -> None:
    backend = ScriptedBackend()
    backend.hold("square")

    async def main(flow: WorkflowEngine) -> Any:
        future = flow.function_task(square, retries=1)(3)
        await until(backend.waiting)
        backend.start_task(future, worker="w1")
        backend.fail(future, ValueError("once"))
        sent_again = [(2, "SUBMITTED")]
        await until(
            lambda: [(task.attempt, task.state) for task in program.records()] == sent_again
        )
        (task,) = program.records()
        assert [failed.worker for failed in task.failed] == ["w1"]
        assert task.added is not None
        backend.finish(future, 9)
        return await future

    await program.run(main, backend)
    assert [(task.state, task.attempt) for task in program.records()] == [("DONE", 2)]


@pytest.mark.parametrize("retries", [0, 1])
async def test_a_failure_has_the_time_of_its_worker_not_of_the_loop(
    tmp_path: Path, retries: int
) -> None:
    begun, go, other = (threading.Event() for _ in range(3))

    def broken() -> None:
        begun.set()
        assert go.wait(20)
        raise ValueError("broken")

    path = tmp_path / "journal"
    async with WorkflowEngine.create("concurrent", {"max_workers": 1}, journal=path) as flow:
        failing = flow.function_task(broken, retries=retries)()
        following = flow.function_task(other.set)()
        await until(begun.is_set)
        go.set()
        assert other.wait(20)  # the loop stands still, while the worker goes on
        await following
        with pytest.raises(ValueError, match="broken"):
            await failing
    first, second = read(path)[0].tasks.values()
    ended = first.failed[0].ended if retries else first.ended
    assert ended is not None
    assert second.started is not None
    assert ended <= second.started


async def test_what_a_failure_ends_does_not_end_before_it_was_called(program: Program) -> None:
    backend = ScriptedBackend()
    backend.hold("square")

    async def main(flow: WorkflowEngine) -> Any:
        task = flow.function_task(square)
        first = task(3)
        await until(backend.waiting)
        backend.start_task(first)
        backend.fail(first, ValueError())
        return await asyncio.gather(first, task(first), return_exceptions=True)

    await program.run(main, backend)
    _, dependent = program.records()
    assert dependent.state == "FAILED"
    assert dependent.added is not None
    assert dependent.ended is not None
    assert dependent.added <= dependent.ended


async def test_no_argument_is_written(program: Program) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        return await flow.function_task(lambda password: 1, name="login")("s3cr3t")  # noqa: ARG005

    await program.run(main)
    written = program.path.read_bytes()
    assert b"login" in written
    assert b"s3cr3t" not in written


class Unwritable:
    """Raises what ends a program when it is pickled, and when it is compared."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error


class Unreadable:
    """Raises what ends a program when it is unpickled."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __setstate__(self, state: dict[str, Any]) -> None:
        raise state["error"]


class SpeechlessError(Exception):
    def __str__(self) -> str:
        raise SystemExit


ENDING = [SystemExit, GeneratorExit, asyncio.CancelledError]


@pytest.mark.parametrize("error", [*ENDING, KeyboardInterrupt])
async def test_a_result_whose_class_ends_programs_is_not_kept(
    program: Program, error: type[BaseException]
) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        results = flow.function_task(lambda: Unwritable(error), name="one")()
        return await results, await flow.function_task(square)(3)

    for expected in (["one", "square"], ["one"]):
        assert await program.run(main) == expected
    assert str(program.records()[0].unstored).startswith(f"cannot be pickled: {error.__name__}")


@pytest.mark.parametrize("error", ENDING)
async def test_an_argument_whose_class_ends_programs_makes_a_task_that_runs_each_time(
    program: Program, error: type[BaseException]
) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        await flow.function_task(lambda _: 1, name="one")(Unwritable(error))
        large = b"x" * (2 << 20)  # which is looked at in a thread
        await flow.function_task(lambda _, __: 1, name="two")(Unwritable(error), large)

    for _ in range(2):
        assert await program.run(main) == ["one", "two"]
    assert error.__name__ in str(program.why("one"))
    assert error.__name__ in str(program.why("two"))


@pytest.mark.parametrize("error", [*ENDING, KeyboardInterrupt])
async def test_a_result_that_ends_programs_when_it_is_read_is_made_again(
    program: Program, error: type[BaseException]
) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        return await flow.function_task(lambda: Unreadable(error), name="one")()

    for _ in range(2):
        assert await program.run(main) == ["one"]
    assert f"cannot be rebuilt: {error.__name__}" in str(program.why("one"))


async def test_an_error_whose_text_ends_programs_is_recorded_without_it(program: Program) -> None:
    async def fail() -> None:
        raise SpeechlessError

    async def main(flow: WorkflowEngine) -> Any:
        return await asyncio.gather(flow.function_task(fail)(), return_exceptions=True)

    await program.run(main)
    error = program.records()[0].error
    assert error is not None
    assert error.text == "(its text cannot be read: SystemExit)"


SECRETS = ["s3cr3t", "s3cr3t\necho more\ntrue s3cr3t", "x" * 300 + " s3cr3t"]


@pytest.mark.parametrize("arguments", [False, True])
@pytest.mark.parametrize("secret", SECRETS, ids=["short", "lines", "long"])
async def test_no_command_of_a_failure_is_written_unless_asked_for(
    tmp_path: Path, secret: str, arguments: bool
) -> None:
    path = tmp_path / "journal"
    config = {"max_workers": 1}
    journal = Journal(path, arguments=arguments)
    async with WorkflowEngine.create("concurrent", config, journal=journal) as flow:

        @flow.executable_task(retries=1)
        def login(password: str) -> str:
            return f"true {password}\necho wrong >&2; exit 3"

        failing = login(secret)
        ends = [failing, flow.function_task(square)(failing)]
        await asyncio.gather(*ends, return_exceptions=True)
    assert (b"s3cr3t" in path.read_bytes()) is arguments
    failed, dependent = read(path)[0].tasks.values()
    for error in (failed.error, failed.failed[0].error, dependent.error):
        assert error is not None
        assert "command ended with exit code 3" in error.text
        assert "wrong" in error.traceback


async def test_arguments_are_written_where_that_is_asked_for(tmp_path: Path) -> None:
    program = Program(tmp_path, arguments=True)

    class Broken:
        def __repr__(self) -> str:
            raise ValueError

    async def main(flow: WorkflowEngine) -> Any:
        one = flow.function_task(square)(3)
        task = flow.function_task(lambda *_, sep: sep, name="many")
        return await task(one, [1] * 1000, Broken(), sep="x")

    await program.run(main)
    first, second = (str(task.arguments) for task in program.records())
    assert first == "3"
    assert second.startswith(
        "<TaskFuture task.000001 'square' PENDING>, [1, 1, 1, 1, 1, 1, ...], <"
    )
    assert second.endswith(", sep='x'")
    await program.run(main)
    assert program.records()[0].arguments == "3"


# ------------------------------------------------------------------------ the start


@pytest.mark.parametrize("given", [3, "", b"", ["a"]])
async def test_a_journal_is_a_path_or_a_journal(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="journal must be a path or a Journal, not"):
        await WorkflowEngine.create(ScriptedBackend(), journal=given)


async def test_the_environment_names_a_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCFLOW_JOURNAL", str(tmp_path / "named"))
    async with WorkflowEngine.create(ScriptedBackend()) as flow:
        await once(flow)
    assert [task.state for task in read(tmp_path / "named")[0].tasks.values()] == ["DONE"]


async def test_a_second_engine_on_one_journal_is_refused_by_name(program: Program) -> None:
    async with WorkflowEngine.create(ScriptedBackend(), journal=program.path, uid="first") as flow:
        with pytest.raises(JournalInUseError, match="first"):
            await WorkflowEngine.create(ScriptedBackend(), journal=program.path)
        assert await once(flow) == 9
    assert await program.run(once) == []


def no_folder(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file/journal"


def no_journal(folder: Path) -> Path:
    (folder / "notes").write_text("my notes\n")
    return folder / "notes"


def writable_by_others(folder: Path) -> Path:
    (folder / "journal").touch()
    (folder / "journal").chmod(0o622)
    return folder / "journal"


def damaged(folder: Path) -> Path:
    async def run() -> None:
        async with WorkflowEngine.create(ScriptedBackend(), journal=folder / "journal") as flow:
            await asyncio.gather(*map(flow.function_task(square), range(9)))

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    thread.join()
    data = bytearray((folder / "journal").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "journal").write_bytes(data)
    return folder / "journal"


def contents(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (
            no_folder,
            JournalError,
            "cannot be opened: File exists; name a file in a folder that you can",
        ),
        (no_journal, JournalFormatError, "is not a journal of asyncflow and was not changed"),
        (writable_by_others, JournalError, "chmod go-w"),
        (damaged, JournalCorruptError, "is damaged in line"),
    ],
)
async def test_a_journal_that_cannot_be_used_leaves_nothing_behind(
    tmp_path: Path, make: Callable[[Path], Path], error: type[Exception], text: str
) -> None:
    path = await asyncio.to_thread(make, tmp_path)
    before = contents(tmp_path)
    backend = ScriptedBackend()
    with pytest.raises(error, match=text):
        await WorkflowEngine.create(backend, journal=path)
    assert contents(tmp_path) == before
    # The leak guard sees to threads and descriptors; the backend was not even started.
    async with WorkflowEngine.create(backend) as flow:
        assert await once(flow) == 9


async def test_a_backend_that_does_not_start_leaves_the_journal_free(program: Program) -> None:
    class Broken(ScriptedBackend):
        async def start(self, sink: Any) -> None:  # noqa: ARG002
            raise OSError("no queue")

    with pytest.raises(Exception, match="no queue"):
        await WorkflowEngine.create(Broken(), journal=program.path)
    assert [run.outcome for run in read(program.path)] == ["failed"]
    assert await program.run(once) == ["square"]


# -------------------------------------------------------------------------- faults

FULL = """
    import asyncio, logging, resource, sys
    from radical.asyncflow import WorkflowEngine
    from radical.asyncflow.journal import Journal

    logging.basicConfig(format="%(message)s")

    def body(x):
        return x * x

    async def main(path, on_error, limit):
        journal = Journal(path, on_error=on_error)
        async with WorkflowEngine.create("concurrent", {"max_workers": 2}, journal=journal) as flow:
            task = flow.function_task(body)
            print(await task(0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            total = 0
            for start in range(1, 401, 100):
                total += sum(await asyncio.gather(*map(task, range(start, start + 100))))
            print(total)

    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def run_full(path: Path, on_error: str, limit: int) -> subprocess.CompletedProcess[str]:
    """A run whose journal cannot grow beyond *limit* bytes."""
    command = [sys.executable, "-c", textwrap.dedent(FULL), str(path), on_error, str(limit)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


TOTAL = str(sum(x * x for x in range(401)))


def test_on_a_full_disk_the_run_goes_on_and_says_so_once(tmp_path: Path) -> None:
    done = run_full(tmp_path / "journal", "continue", 8000)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", TOTAL]
    assert done.stderr.count("nothing more is recorded") == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_what_was_written_before_the_disk_was_full_is_reused(tmp_path: Path) -> None:
    run_full(tmp_path / "journal", "continue", 8000)
    done = run_full(tmp_path / "journal", "fail", 1 << 30)
    assert done.stdout.split() == ["0", TOTAL]
    first, second = read(tmp_path / "journal")
    assert first.outcome == ""
    reused = [task for task in second.tasks.values() if task.reused]
    assert 20 < len(reused) < 401
    assert len(second.tasks) == 401


def test_on_a_full_disk_the_run_ends_where_that_is_wished(tmp_path: Path) -> None:
    done = run_full(tmp_path / "journal", "fail", 8000)
    assert done.returncode == 1
    assert done.stdout.split() == ["0"]
    last = done.stderr.splitlines()[-1]
    assert last.startswith("radical.asyncflow.errors.JournalError: ")
    assert "File too large" in last


async def test_a_journal_that_is_removed_while_it_is_written_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path / "journal", sync_seconds=0)
    async with WorkflowEngine.create(ScriptedBackend(), journal=journal) as flow:
        await once(flow)
        await asyncio.to_thread(os.unlink, tmp_path / "journal")
        assert await flow.function_task(square)(4) == 16
        await until(lambda: "was removed while it was written" in caplog.text)
        assert await flow.function_task(square)(5) == 25
    assert caplog.text.count("nothing more is recorded") == 1


# -------------------------------------------------------------- ends of the program

ENDS = """
    import asyncio, os, signal, sys, time
    from radical.asyncflow import WorkflowEngine

    def body(x):
        return x * x

    async def held(x):
        await asyncio.sleep(30)

    async def main(path, how):
        flow = await WorkflowEngine.create("concurrent", {"max_workers": 2}, journal=path)
        task = flow.function_task(body)
        print(*await asyncio.gather(*map(task, range(5))), flush=True)
        if how == "forgotten":
            task(5)
            return
        running = flow.function_task(held)(6)
        while running.state != "RUNNING":
            await asyncio.sleep(0.005)
        if how == "interrupted":
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        elif how == "raised":
            raise ValueError("a bug")
        elif how == "exited":
            os._exit(3)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("how", "code", "outcome", "states"),
    [
        ("forgotten", 0, "done", ["DONE"] * 6),
        ("interrupted", 130, "failed", ["DONE"] * 5 + ["CANCELLED"]),
        ("raised", 1, "failed", ["DONE"] * 5 + ["CANCELLED"]),
        ("exited", 3, "", ["DONE"] * 5),
    ],
)
def test_however_the_program_ends_the_journal_has_what_was_done(
    tmp_path: Path, how: str, code: int, outcome: str, states: list[str]
) -> None:
    command = [sys.executable, "-c", textwrap.dedent(ENDS), str(tmp_path / "journal"), how]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split() == ["0", "1", "4", "9", "16"], done.stderr
    assert done.returncode in (code, -signal.SIGINT) if code == 130 else done.returncode == code
    (run,) = read(tmp_path / "journal")
    assert run.outcome == outcome
    assert [task.state for task in run.tasks.values()][: len(states)] == states


async def test_an_error_in_the_block_is_the_runs_outcome(program: Program) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        await once(flow)
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await program.run(main)
    assert [run.outcome for run in read(program.path)] == ["failed"]


@pytest.mark.parametrize(
    ("settings", "last"), [({}, "--token=***"), ({"mask_secrets": False}, "--token=S3CRET")]
)
async def test_secrets_among_the_arguments_of_the_program_are_masked_unless_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, bool], last: str
) -> None:
    monkeypatch.setattr(sys, "argv", [Path("program.py"), b"m\xc3\xb6we", 3, "--token=S3CRET"])
    path = tmp_path / "journal"
    async with WorkflowEngine.create(ScriptedBackend(), journal=Journal(path, **settings)):
        pass
    (run,) = read(path)
    assert run.program == ("program.py", "m\u00f6we", "3", last)
    assert (b"S3CRET" in path.read_bytes()) is bool(settings)
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_program_without_arguments_has_a_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(sys, "argv")
    async with WorkflowEngine.create(ScriptedBackend(), journal=tmp_path / "journal"):
        pass
    (run,) = read(tmp_path / "journal")
    assert run.program == ()


async def test_a_backend_may_correct_when_a_task_began(program: Program) -> None:
    backend = ScriptedBackend()
    backend.hold("square")
    times: list[float] = []

    async def main(flow: WorkflowEngine) -> Any:
        future = flow.function_task(square)(3)
        await until(backend.waiting)
        backend.start_task(future)
        (request,) = backend.submitted
        times.append(time.monotonic())
        corrected = Report(request.task_id, 1, TaskState.RUNNING, "w", times[0] + 0.25)
        backend.sink.report([corrected])
        backend.finish(future, 9)
        return await future

    await program.run(main, backend)
    (task,) = program.records()
    begun = next(
        line.fields["clock"]
        for line in map(parse, program.path.read_bytes().splitlines())
        if line.kind == "B"
    )
    assert task.started == pytest.approx(times[0] + 0.25 - begun, abs=1e-5)
