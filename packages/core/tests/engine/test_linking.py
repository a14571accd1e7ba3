"""``link_dependencies``: a command finds what the commands that it depends on have written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from asyncflow_backend_concurrent import ConcurrentExecutionBackend
from radical.asyncflow import ConfigurationError, InputFile, OutputFile, WorkflowEngine
from radical.asyncflow.backend import ReportSink
from radical.asyncflow.errors import FileError


class Apart(ConcurrentExecutionBackend):
    """A backend that gives each command a folder of its own, as nodes of a cluster have it."""

    async def start(self, sink: ReportSink) -> None:
        await super().start(sink)
        self.shared_dir = sink.work_dir() / "shared"


@pytest.fixture(params=["together", "apart"])
async def flow(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[WorkflowEngine]:
    """An engine where all commands run in one folder, or each in one of its own."""
    monkeypatch.chdir(tmp_path)
    kind = Apart if request.param == "apart" else ConcurrentExecutionBackend
    async with WorkflowEngine.create(kind(max_workers=2)) as flow:
        yield flow


def is_apart(flow: WorkflowEngine) -> bool:
    return flow.backend.shared_dir is not None


def line(text: str, *_: Any) -> str:
    return text


async def test_files_and_folders_and_outputs_are_found(flow: WorkflowEngine) -> None:
    def simulate(seed: int) -> str:
        files = f"echo {seed} > seed.{seed}; mkdir dir.{seed}; echo in > dir.{seed}/x"
        return f"{files}; echo > {OutputFile(f'results/{seed}')}"

    first, second = (flow.executable_task(simulate)(seed) for seed in (1, 2))
    task = flow.executable_task(link_dependencies=True)(line)
    found = task("cat seed.1 seed.2 dir.2/x; ls results", first, {"more": [second]})
    assert await found == "1\n2\nin\n1\n2\n"
    again = task("cat seed.1; cat results/2", found, first, second)
    assert await again == "1\n\n"
    assert await task("cat seed.1", first[:0]) == "1\n"  # an item needs the whole task, too
    without = flow.executable_task(line)("cat seed.1 || true", first)
    assert await without == ("" if is_apart(flow) else "1\n")


async def test_files_of_the_task_itself_are_not_replaced(
    flow: WorkflowEngine, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_text("mine")
    made = flow.executable_task(line)("echo theirs > in; echo theirs > out")
    await made

    @flow.executable_task(link_dependencies=True)
    def use(given: Any, output: Any, _: Any) -> str:
        return f"cat {given}; echo own > {output}"

    assert await use(InputFile(source, "in"), OutputFile("own/out"), made) == "mine"
    assert (tmp_path / "own/out").read_text() == "own\n"


async def test_what_the_engine_put_there_is_not_linked(
    flow: WorkflowEngine, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_text("config")
    made = [
        flow.executable_task(line)(f"echo > made.{at}", InputFile(source, "config"))
        for at in range(2)
    ]
    task = flow.executable_task(link_dependencies=True)(line)
    assert await task("ls -d config made.* || true", *made) == "made.0\nmade.1\n"


async def test_a_retry_finds_the_files_again(flow: WorkflowEngine, tmp_path: Path) -> None:
    made = flow.executable_task(line)("echo 1 > a")
    task = flow.executable_task(link_dependencies=True, retries=1)(line)
    text = f"cat a; test -e {tmp_path}/twice || {{ touch {tmp_path}/twice; false; }}"
    assert await task(text, made) == "1\n"


async def test_two_files_of_one_name_are_an_error(flow: WorkflowEngine) -> None:
    made = [flow.executable_task(line)("echo > log") for _ in range(2)]
    task = flow.executable_task(link_dependencies=True)(line)
    if is_apart(flow):
        why = r"task\S+ 'line' and task\S+ 'line' have both left 'log'"
        with pytest.raises(FileError, match=why):
            await task("true", *made)
    else:
        await task("true", *made)


async def test_files_of_an_earlier_run_are_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async def run(text: str, **options: Any) -> str:
        apart = Apart(max_workers=1)
        async with WorkflowEngine.create(apart, journal=tmp_path / "run.journal") as flow:
            made = flow.executable_task(**options)(line)("echo 1 > a; mkdir -p b")
            task = flow.executable_task(link_dependencies=True)(line)
            return str(await task(text, flow.function_task(abs)(1), made))

    assert await run("cat a") == "1\n"
    with pytest.raises(FileError, match="is that of an earlier run, so the files"):
        await run("cat ./a")
    assert await run("cat ./a", cache=False) == "1\n"


async def test_what_leaves_no_files_is_no_obstacle(flow: WorkflowEngine) -> None:
    function = flow.function_task(abs)(-1)
    task = flow.executable_task(link_dependencies=True)(line)
    assert await task("echo 1", function, flow.executable_task(line)("true")) == "1\n"
    assert await task("echo 1") == "1\n"


async def test_only_commands_have_files_to_find(flow: WorkflowEngine) -> None:
    for decorate in (flow.function_task, flow.prompt_task, flow.block):
        with pytest.raises(ConfigurationError, match="link_dependencies is for executable tasks"):
            decorate(link_dependencies=True)
    with pytest.raises(ConfigurationError, match="link_dependencies must be True or False"):
        flow.executable_task(link_dependencies=1)  # type: ignore[call-overload]


async def test_files_of_another_backend_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    together = ConcurrentExecutionBackend(max_workers=1)
    async with WorkflowEngine.create([together, Apart(max_workers=1, name="apart")]) as flow:
        task = flow.executable_task(line)
        linking = task.options(link_dependencies=True)
        here, there = task("true"), task.options(backend="apart")("true")
        why = "'line', on which it depends, ran on backend 'concurrent'.*declare them as OutputFile"
        with pytest.raises(ConfigurationError, match=why):
            await linking.options(backend="apart")("true", here)
        with pytest.raises(ConfigurationError, match="ran on backend 'apart'"):
            await linking("true", there)

        @flow.block
        async def block() -> None: ...

        with pytest.raises(ConfigurationError, match="ran in the engine's loop"):
            await linking.options(backend="apart")("true", block())
        assert await linking("echo 1", block()) == "1\n"
