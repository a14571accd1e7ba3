"""Files that follow dependencies: an input that names the output of a task beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow import Command, ConfigurationError, InputFile, OutputFile, WorkflowEngine
from radical.asyncflow.errors import DependencyFailureError, FileError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
async def flow(folder: Path) -> AsyncIterator[WorkflowEngine]:
    async with WorkflowEngine.create("concurrent", {"max_workers": 2}) as flow:
        yield flow


def write(path: Any, text: str = "made") -> None:
    Path(path).write_text(text)


def read(path: Any, *_: Any) -> str:
    return Path(path).read_text()


def both(first: Any, second: Any, *_: Any) -> str:
    return f"{Path(first).read_text()} {Path(second).read_text()}"


@pytest.mark.parametrize(
    ("output", "source"),
    [
        ("x", "x"),
        ("x", Path("x")),
        ("results/x", "results/x"),
        ("results/x", "x"),
        ("results/a/x", "a/x"),
        ("*.txt", "x.txt"),
        ("results/*.txt", "results/x.txt"),
    ],
)
async def test_an_input_is_the_output_of_a_dependency(
    flow: WorkflowEngine, folder: Path, monkeypatch: pytest.MonkeyPatch, output: str, source: Any
) -> None:
    if "*" in output:
        made = flow.function_task(lambda path: write(path.replace("*", "x")))(OutputFile(output))
    else:
        made = flow.function_task(write)(OutputFile(output))
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    with monkeypatch.context() as there:
        there.chdir(elsewhere)  # where the path alone leads to nothing
        used = flow.function_task(read)(InputFile(source), made)
        again = flow.executable_task(lambda path, _: ["cat", path])(InputFile(source), [made])
    assert await used == "made"
    assert await again == "made"
    # The same when the dependency is done before the call.
    with monkeypatch.context() as there:
        there.chdir(elsewhere)
        assert await flow.function_task(read)(InputFile(source), made) == "made"


async def test_an_absolute_output_is_found_by_its_end(flow: WorkflowEngine, folder: Path) -> None:
    made = flow.function_task(write)(OutputFile(folder / "far" / "x"))
    assert await flow.function_task(read)(InputFile("far/x"), made) == "made"
    assert await flow.function_task(read)(InputFile("x"), made) == "made"


async def test_outputs_that_a_body_names_are_found_too(flow: WorkflowEngine) -> None:
    @flow.executable_task
    def generate() -> Command:
        return Command(f"echo made > '{OutputFile('results/x')}'")

    made = generate()
    assert await flow.function_task(read)(InputFile("x"), made) == "made\n"
    assert await flow.function_task(read)(InputFile("x"), made) == "made\n"


async def test_the_copy_has_the_name_of_the_input(flow: WorkflowEngine) -> None:
    def names(*paths: str) -> list[str]:
        return [Path(path).name for path in paths if path]

    made = flow.function_task(write)(OutputFile("results/x"))
    task = flow.function_task(names)
    assert await task(InputFile("x"), InputFile("x", "mine"), made) == ["x", "mine"]
    linked = flow.function_task(lambda path, _: Path(path).is_symlink())
    assert await linked(InputFile("x", link=True), made)


async def test_several_outputs_of_several_tasks(flow: WorkflowEngine) -> None:
    task = flow.function_task(write)
    one, two = task(OutputFile("one/a"), "A"), task(OutputFile("two/b"), "B")
    assert await flow.function_task(both)(InputFile("a"), InputFile("b"), one, {"b": two}) == "A B"


async def test_another_file_stays_another_file(flow: WorkflowEngine, folder: Path) -> None:
    (folder / "x").write_text("mine")
    made = flow.function_task(write)(OutputFile("results/y"))
    assert await flow.function_task(read)(InputFile("x"), made) == "mine"
    made = flow.function_task(write)(OutputFile("results/x"))
    for source in ("./x", folder / "x", f"file://{folder}/x"):
        assert await flow.function_task(read)(InputFile(source), made) == "mine"
    with pytest.raises(FileError):  # the task of which it is the output is no dependency
        await flow.function_task(read)(InputFile("results/z"))


async def test_two_outputs_of_that_name_are_refused_at_the_call(flow: WorkflowEngine) -> None:
    task = flow.function_task(write)
    one, two = task(OutputFile("one/x")), task(OutputFile("two/x"))
    why = r"'x' may be each of these outputs: 'one/x' of task\S+ 'write', 'two/x' of .*say which"
    with pytest.raises(ConfigurationError, match=why):
        flow.function_task(read)(InputFile("x"), one, two)
    await one
    with pytest.raises(ConfigurationError, match=why):
        flow.function_task(read)(InputFile("x"), one, two)
    assert await flow.function_task(read)(InputFile("two/x"), one, two) == "made"
    await flow.function_task(read)(InputFile(two, "x"), one, two)

    pair = flow.function_task(write_both)(OutputFile("p/x"), OutputFile("q/x"))
    with pytest.raises(ConfigurationError, match="'p/x' of task"):
        flow.function_task(read)(InputFile("x"), pair)
    assert await flow.function_task(both)(InputFile("p/x", "1"), InputFile("q/x"), pair) == "1 2"
    with pytest.raises(ConfigurationError, match="two inputs of one task have the name 'x'"):
        flow.function_task(both)(InputFile("p/x"), InputFile("q/x"), pair)


async def test_one_name_given_twice_is_refused_at_the_call(flow: WorkflowEngine) -> None:
    task = flow.function_task(write)
    first = task(OutputFile("x"), "1")
    await first
    second = task(OutputFile("x"), "2")
    with pytest.raises(ConfigurationError, match="'x' may be each of these outputs"):
        flow.function_task(read)(InputFile("x"), first, second)
    assert await flow.function_task(read)(InputFile("x"), second) == "2"


async def test_a_file_that_is_there_and_the_end_of_an_output_are_refused(
    flow: WorkflowEngine, folder: Path
) -> None:
    (folder / "x").write_text("mine")
    made = flow.function_task(write)(OutputFile("results/x"))
    why = r"'x' may be the output 'results/x' of task\S+ 'write', or the file of that name.*'./x'"
    with pytest.raises(ConfigurationError, match=why):
        flow.function_task(read)(InputFile("x"), made)
    await made


async def test_what_fails_gives_no_file(flow: WorkflowEngine) -> None:
    def fail(path: Any) -> None:
        raise ArithmeticError("planned")

    made = flow.function_task(fail)(OutputFile("results/x"))
    with pytest.raises(DependencyFailureError):
        await flow.function_task(read)(InputFile("x"), made)


async def test_a_block_hands_on_what_it_got(flow: WorkflowEngine) -> None:
    @flow.block
    async def inner(source: Any, _: Any) -> str:
        return await flow.function_task(read)(source)

    made = flow.function_task(write)(OutputFile("results/x"))
    assert await inner(InputFile("x"), made) == "made"


async def test_a_retry_has_the_file_again(flow: WorkflowEngine) -> None:
    attempts = []

    def once(path: Any, _: Any) -> str:
        attempts.append(Path(path).read_text())
        Path(path).write_text("changed")
        if len(attempts) == 1:
            raise ArithmeticError("planned")
        return attempts[-1]

    @flow.executable_task
    def generate() -> str:
        return f"printf made > '{OutputFile('results/x')}'"

    task = flow.function_task(retries=1)(once)
    assert await task(InputFile("x"), generate()) == "made"
    attempts.clear()
    assert await task(InputFile("x"), flow.function_task(write)(OutputFile("r/x"))) == "made"


def write_both(one: Any, two: Any) -> None:
    write(one, "1")
    write(two, "2")


def count(path: Any, calls: str, _: Any) -> str:
    with Path(calls).open("a") as file:
        file.write(read(path))
    return read(path)


async def test_a_journal_knows_which_output_it_was(folder: Path) -> None:
    async def run(which: str) -> str:
        async with WorkflowEngine.create("concurrent", journal=folder / "run.journal") as flow:
            made = flow.function_task(write_both)(OutputFile("one/x"), OutputFile("two/x"))
            calls = str(folder / "calls")
            return await flow.function_task(count)(InputFile(which), calls, made)

    assert [await run(which) for which in ("one/x", "two/x", "one/x")] == ["1", "2", "1"]
    assert read(folder / "calls") == "12"
