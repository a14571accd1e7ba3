"""Executable and prompt tasks: the body runs here, the command on the backend."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow import (
    Command,
    ConfigurationError,
    DependencyFailureError,
    ExecutableError,
    FileError,
    InputFile,
    OutputFile,
    TaskExitError,
    UnsupportedOptionError,
    WorkflowEngine,
)
from radical.asyncflow.backend import ExecutableResult, Prompt
from radical.asyncflow.testing import ScriptedBackend

from .waiting import turns, until


def speak(*words: Any) -> list[str]:
    return ["echo", *map(str, words)]


async def test_the_body_returns_the_command(flow: WorkflowEngine, backend: ScriptedBackend) -> None:
    assert await flow.executable_task(speak)("hello") == "echo hello"
    (request,) = backend.submitted
    command = Command(("echo", "hello"), cwd=str(Path.cwd()))
    assert (request.command, request.args, request.kwargs) == (command, (), {})


async def test_the_body_may_be_async(flow: WorkflowEngine) -> None:
    @flow.executable_task
    async def body() -> str:
        await asyncio.sleep(0)
        return "date | wc"

    assert await body() == "date | wc"


async def test_the_body_runs_after_its_dependencies_with_their_values(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold("number")
    seen: list[Any] = []

    @flow.executable_task
    def body(value: Any) -> str:
        seen.append(value)
        return f"echo {value}"

    number = flow.function_task(name="number")(lambda: 7)()
    future = body(number)
    await turns()
    assert seen == []
    backend.release("number")
    await future
    assert seen == [7]


async def test_the_future_tells_exit_code_and_output(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    future = flow.executable_task(speak)("x")
    await until(backend.waiting)
    assert (future.exit_code, future.stdout, future.stderr) == (None, None, None)
    backend.finish("speak", ExecutableResult(0, "out", "err"))
    assert await future == "out"
    assert (future.exit_code, future.stdout, future.stderr) == (0, "out", "err")


@pytest.mark.parametrize("code", [1, 127, -9])
async def test_a_non_zero_exit_code_is_an_error(
    flow: WorkflowEngine, backend: ScriptedBackend, code: int
) -> None:
    backend.hold()
    future = flow.executable_task(speak)("a b")
    await until(backend.waiting)
    backend.finish("speak", ExecutableResult(code, "out", "err"))
    with pytest.raises(ExecutableError) as caught:
        await future
    error = caught.value
    assert (error.command, error.exit_code, error.stdout, error.stderr) == (
        "echo 'a b'",
        code,
        "out",
        "err",
    )
    assert (future.exit_code, future.stderr, future.state) == (code, "err", "FAILED")


async def test_a_failed_command_is_tried_again_with_a_fresh_body(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    runs: list[int] = []

    @flow.executable_task(retries=1)
    def body() -> str:
        runs.append(1)
        return f"echo {len(runs)}"

    future = body()
    await until(backend.waiting)
    backend.finish("body", ExecutableResult(1))
    await until(backend.waiting)
    backend.release()
    assert await future == "echo 2"
    assert (future.attempts, [request.attempt for request in backend.submitted]) == (2, [1, 2])


@pytest.mark.parametrize(("bad", "why"), [(3, "not int"), (None, "not NoneType"), ([], "empty")])
async def test_a_body_that_returns_no_command_fails_clearly(
    flow: WorkflowEngine, bad: Any, why: str
) -> None:
    with pytest.raises(ConfigurationError, match=why):
        await flow.executable_task(lambda: bad)()


async def test_a_failing_body_fails_the_task(flow: WorkflowEngine) -> None:
    with pytest.raises(ZeroDivisionError):
        await flow.executable_task(lambda: 1 / 0)()


async def test_a_failing_body_is_tried_again(flow: WorkflowEngine) -> None:
    runs: list[int] = []

    @flow.executable_task(retries=2)
    def body() -> str:
        runs.append(1)
        return "true" if len(runs) == 3 else str(1 / 0)

    assert await body() == "true"


@pytest.mark.parametrize("kind", [SystemExit, GeneratorExit, asyncio.CancelledError])
async def test_a_body_cannot_end_the_program(
    flow: WorkflowEngine, kind: type[BaseException]
) -> None:
    @flow.executable_task
    def body() -> str:
        raise kind("bye")

    with pytest.raises(TaskExitError) as caught:
        await body()
    assert isinstance(caught.value.__cause__, kind)


async def test_a_body_that_raises_stop_iteration_fails_the_task(flow: WorkflowEngine) -> None:
    @flow.executable_task
    def body() -> str:
        raise StopIteration

    with pytest.raises(RuntimeError):
        await body()


async def test_cancelling_while_the_body_runs_ends_the_body(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    ended: list[bool] = []

    @flow.executable_task
    async def body() -> str:
        try:
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]
        finally:
            ended.append(True)

    future = body()
    await turns()
    future.cancel()
    assert future.cancelled()
    await until(lambda: ended)
    assert backend.submitted == []


async def test_a_prompt_is_the_bodys_text(flow: WorkflowEngine, backend: ScriptedBackend) -> None:
    @flow.prompt_task
    def body(name: str) -> str:
        return f"who is {name}?"

    assert await body("Ada") == "who is Ada?"
    assert backend.submitted[0].command == Prompt("who is Ada?")


async def test_a_backend_without_prompts_refuses_at_the_call() -> None:
    async with WorkflowEngine.create(ScriptedBackend()) as flow:
        with pytest.raises(UnsupportedOptionError, match="runs no prompt tasks"):
            flow.prompt_task(lambda: "why?")()


# ------------------------------------------------------------------------ files


async def test_an_input_file_is_a_copy_in_the_tasks_folder(
    flow: WorkflowEngine, tmp_path: Path
) -> None:
    source = tmp_path / "data.txt"
    source.write_text("seven")

    def read(path: str) -> tuple[str, str]:
        return path, Path(path).read_text()

    future = flow.function_task(read)(InputFile(source))
    path, text = await future
    assert (Path(path).parent, text) == (flow.work_dir / future.id, "seven")


async def test_files_lie_where_the_workers_see_them(
    flow: WorkflowEngine, backend: ScriptedBackend, tmp_path: Path
) -> None:
    backend.shared_dir = tmp_path / "shared"
    future = flow.executable_task(lambda path: path)(OutputFile("out"))
    with pytest.raises(FileError):
        await future
    command = backend.submitted[0].command
    assert isinstance(command, Command)
    assert command.cwd == str(tmp_path / "shared" / future.id)


async def test_a_missing_input_fails_the_task_before_it_runs(
    flow: WorkflowEngine, backend: ScriptedBackend, tmp_path: Path
) -> None:
    with pytest.raises(FileError, match=r"nothing\.txt"):
        await flow.function_task(len)(InputFile(tmp_path / "nothing.txt"))
    assert backend.submitted == []


@pytest.mark.parametrize("cwd", [None, "below", "/elsewhere"])
async def test_a_command_runs_where_the_program_was_started_with_files_or_without(
    backend: ScriptedBackend, tmp_path: Path, cwd: str | None
) -> None:
    source = tmp_path / "data.txt"
    source.write_text("seven")
    with contextlib.chdir(tmp_path):
        flow = await WorkflowEngine.create(backend)
    async with flow:
        cat = flow.executable_task(lambda path: Command(["cat", path], cwd=cwd))
        await cat(InputFile(source))
        await cat(str(source))
    folders = [request.command.cwd for request in backend.submitted]  # type: ignore[union-attr]
    assert folders == [os.path.join(tmp_path, cwd or "").rstrip("/")] * 2  # noqa: PTH118


async def test_the_commands_of_a_program_in_a_deleted_folder_run_where_their_worker_does(
    backend: ScriptedBackend, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    with contextlib.chdir(gone):
        gone.rmdir()
        flow = await WorkflowEngine.create(backend)
    async with flow:
        await flow.executable_task(lambda: "true")()
        with pytest.raises(ConfigurationError, match="was deleted; write an absolute path"):
            flow.executable_task(lambda path: path)(OutputFile("out"))
    assert backend.submitted[0].command == Command("true")


def write(path: str, text: str) -> str:
    if text:
        Path(path).write_text(text)
    return path


def read(path: str) -> str:
    return Path(path).read_text()


async def test_a_relative_output_is_that_of_the_folder_the_program_was_started_in(
    backend: ScriptedBackend, tmp_path: Path
) -> None:
    with contextlib.chdir(tmp_path):
        flow = await WorkflowEngine.create(backend)
    async with flow:
        future = flow.function_task(write)(OutputFile("results/run3.dat"), "text")
        assert await future == str(tmp_path / "results" / "run3.dat")
    assert future.outputs == [tmp_path / "results" / "run3.dat"]
    assert future.outputs[0].read_text() == "text"
    (run,) = (tmp_path / "asyncflow-runs").iterdir()
    assert run == tmp_path / "asyncflow-runs" / flow.uid


async def test_a_failed_attempt_leaves_nothing_at_the_place_of_its_output(
    flow: WorkflowEngine, tmp_path: Path
) -> None:
    place = tmp_path / "results" / "out.txt"

    def fail(path: str, other: str) -> None:
        Path(path).write_text("half")
        if other:
            raise ValueError(other)

    task = flow.function_task(fail)
    with pytest.raises(ValueError, match="broken"):
        await task(OutputFile(place), "broken")
    with pytest.raises(FileError, match=r"not written: .*second\.txt"):
        await flow.function_task(lambda first, _: write(first, "half"))(
            OutputFile(place), OutputFile(tmp_path / "second.txt")
        )
    assert not place.parent.exists()


async def test_a_declared_output_has_to_be_there(flow: WorkflowEngine, tmp_path: Path) -> None:
    task = flow.function_task(write)
    await task(OutputFile(tmp_path / "out.txt"), "text")
    with pytest.raises(FileError, match=r"out\.txt"):
        await task(OutputFile(tmp_path / "out.txt"), "")
    assert (tmp_path / "out.txt").read_text() == "text"


@pytest.mark.parametrize(
    ("one", "other"), [("out", "out"), ("set", "set/a"), ("set/a", "set"), ("*.png", "*.png")]
)
async def test_two_unfinished_tasks_cannot_have_one_output(
    flow: WorkflowEngine, tmp_path: Path, one: str, other: str
) -> None:
    task = flow.function_task(write)
    (tmp_path / "link").symlink_to(tmp_path)
    first = task(OutputFile(tmp_path / one), "")
    with pytest.raises(ConfigurationError, match=r"belongs to task\.000001 'write'"):
        task(OutputFile(tmp_path / "link" / other), "")
    with pytest.raises(FileError):
        await first
    with pytest.raises(FileError):
        await task(OutputFile(tmp_path / other), "")


async def test_a_block_may_hand_its_output_on(flow: WorkflowEngine, tmp_path: Path) -> None:
    @flow.block
    async def outer(output: OutputFile) -> str:
        return await flow.function_task(write)(output, "text")

    assert await outer(OutputFile(tmp_path / "out")) == str(tmp_path / "out")


async def test_an_output_is_another_tasks_input(flow: WorkflowEngine, tmp_path: Path) -> None:
    first = flow.function_task(lambda path: len(write(path, "seven")))(
        OutputFile(tmp_path / "out.txt")
    )
    task = flow.function_task(read)
    assert await task(InputFile(first, "out.txt")) == "seven"
    assert await task(InputFile(first)) == "seven"  # its only output
    second = flow.function_task(write)(OutputFile(tmp_path / "again.txt"), "eight")
    assert await task(second) == await task(InputFile(second)) == "eight"


async def test_the_body_of_an_executable_names_outputs(tmp_path: Path) -> None:
    async with WorkflowEngine.create("concurrent", {"max_workers": 1}, work_dir=tmp_path) as flow:

        @flow.executable_task
        def line(word: str) -> Command:
            out = OutputFile(tmp_path / "results" / "line.txt")
            return Command(f"echo {word} > '{out}'; echo printed", result=out)

        @flow.executable_task
        def words() -> list[object]:
            return ["cp", tmp_path / "results" / "line.txt", OutputFile(tmp_path / "copy")]

        @flow.executable_task
        def given(out: str) -> Command:
            return Command(["cp", tmp_path / "copy", out], result=out)

        first = line("word")
        assert await first == tmp_path / "results" / "line.txt"
        assert (first.outputs, first.stdout) == ([await first], "printed\n")
        second = words()
        assert (await second, second.outputs) == ("", [tmp_path / "copy"])
        assert (await given(OutputFile(tmp_path / "given"))).read_text() == "word\n"


async def test_the_result_of_a_command_is_one_of_its_outputs(flow: WorkflowEngine) -> None:
    with pytest.raises(ConfigurationError, match="must be an OutputFile, or the path"):
        await flow.executable_task(lambda: Command("true", result="out.txt"))()
    with pytest.raises(ConfigurationError, match="only in the body of an executable task"):
        Command(["cat", OutputFile("out.txt")])  # type: ignore[arg-type]


async def test_an_output_may_be_all_files_of_a_pattern(tmp_path: Path) -> None:
    async with WorkflowEngine.create("concurrent", {"max_workers": 1}, work_dir=tmp_path) as flow:

        @flow.executable_task
        def frames(pattern: str, *names: str) -> Command:
            folder = os.path.dirname(pattern)  # noqa: PTH120
            return Command(["touch", *(f"{folder}/{name}" for name in names)], result=pattern)

        future = frames(OutputFile(tmp_path / "frames" / "*.png"), "b.png", "a.png", "log")
        places = [tmp_path / "frames" / "a.png", tmp_path / "frames" / "b.png"]
        assert await future == future.outputs == places
        assert sorted((tmp_path / "frames").iterdir()) == places
        with pytest.raises(FileError, match=r"not written: .*png'"):
            await frames(OutputFile(tmp_path / "frames" / "*.png"), "log")


async def test_a_named_pipe_among_outputs_or_inputs_is_refused(tmp_path: Path) -> None:
    async with WorkflowEngine.create("concurrent", {"max_workers": 1}, work_dir=tmp_path) as flow:
        make = flow.executable_task(lambda out: f"mkdir '{out}' && mkfifo '{out}/pipe'")
        with pytest.raises(FileError, match=r"set/pipe' is a named pipe"):
            await make(OutputFile(tmp_path / "set"))
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(FileError, match="is neither a file nor a folder"):
            await make(InputFile(tmp_path / "pipe"))
    assert not (tmp_path / "set").exists()


async def test_a_failed_producer_fails_who_reads_its_output(flow: WorkflowEngine) -> None:
    first = flow.function_task(lambda _: 1 / 0)(OutputFile("out.txt"))
    assert first.outputs == []
    with pytest.raises(DependencyFailureError):
        await flow.function_task(len)(InputFile(first, "out.txt"))


async def test_a_second_report_during_the_check_of_outputs_is_dropped(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    future = flow.function_task(retries=1)(len)(OutputFile("out.txt"))
    await until(backend.waiting)
    for _ in range(3):
        backend.sink.done(1, 1, 7)
        await asyncio.sleep(0)
    await until(lambda: len(backend.submitted) == 2)
    backend.sink.done(1, 2, 7)
    with pytest.raises(FileError, match=r"out\.txt"):
        await future
    assert (future.attempts, len(backend.submitted)) == (2, 2)


async def test_cancelling_during_the_check_of_outputs_ends_the_task_at_once(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    future = flow.function_task(len)(OutputFile("out.txt"))
    await until(backend.waiting)
    backend.sink.done(1, 1, 7)
    await asyncio.sleep(0)
    future.cancel()
    assert future.cancelled()


async def test_no_report_of_a_backend_ends_a_block(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    go = asyncio.Event()

    @flow.block
    async def body() -> str:
        await go.wait()
        return "its own"

    future = body()
    await until(lambda: future.state == "RUNNING")
    backend.sink.done(1, 1, "a backend's")
    await turns()
    go.set()
    assert await future == "its own"
