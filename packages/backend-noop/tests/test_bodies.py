"""The bodies of commands and prompts in a dry run: it refuses what a real run refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from asyncflow_backend_noop import DryRunResult
from radical.asyncflow import (
    Command,
    ConfigurationError,
    InputFile,
    OutputFile,
    TaskExitError,
    WorkflowEngine,
)


@pytest.fixture
async def flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WorkflowEngine]:
    monkeypatch.chdir(tmp_path)
    async with WorkflowEngine.create(dry_run=True) as flow:
        yield flow
    assert left_in(tmp_path) == []  # a dry run leaves nothing


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def body(value: Any) -> Any:
    return value


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "the command line is empty"),
        ([], "the command is an empty list"),
        ([1], "must be strings or paths, not 1"),
        (None, "must return a command.*not NoneType"),
        ("a\0b", "cannot hold a NUL character"),
        (Command("a", result="b"), "must be an OutputFile"),
    ],
)
async def test_a_command_that_cannot_be_run_is_refused(
    flow: WorkflowEngine, value: Any, why: str
) -> None:
    with pytest.raises(ConfigurationError, match=why):
        await flow.executable_task(body)(value)
    async with WorkflowEngine.create("concurrent") as real:
        with pytest.raises(ConfigurationError, match=why):
            await real.executable_task(body)(value)


@pytest.mark.parametrize("value", [None, 3])
async def test_a_prompt_that_cannot_be_asked_is_refused(flow: WorkflowEngine, value: Any) -> None:
    with pytest.raises(ConfigurationError, match="prompt"):
        await flow.prompt_task(body)(value)


async def test_what_can_be_run_is_done(flow: WorkflowEngine) -> None:
    for value in ("true", ["true", Path("a")], Command("true", cwd="nowhere")):
        assert isinstance(await flow.executable_task(body)(value), DryRunResult)
    assert isinstance(await flow.prompt_task(body)("Why?"), DryRunResult)


async def test_a_description_that_does_not_fit_is_refused(flow: WorkflowEngine) -> None:
    task = flow.executable_task(task_description={"shell": True})(body)
    with pytest.raises(ConfigurationError, match="no shell reads"):
        await task(["true"])


async def test_a_body_that_raises_fails(flow: WorkflowEngine) -> None:
    @flow.executable_task
    def fail(kind: type[BaseException]) -> str:
        raise kind("planned")

    with pytest.raises(ZeroDivisionError, match="planned"):
        await fail(ZeroDivisionError)
    with pytest.raises(TaskExitError):
        await fail(SystemExit)


async def test_what_fails_because_of_a_marker_is_done(flow: WorkflowEngine) -> None:
    number = flow.function_task(body)(1)

    @flow.executable_task
    def count(numbers: list[int]) -> list[str]:
        return ["count", str(sum(numbers))]

    assert isinstance(await count([number]), DryRunResult)
    assert isinstance(await flow.executable_task(body)(number), DryRunResult)
    assert isinstance(await flow.executable_task(body)([number]), DryRunResult)


async def test_nothing_is_staged_and_no_file_has_to_be_there(flow: WorkflowEngine) -> None:
    seen: list[str] = []

    @flow.executable_task
    def read(source: Any, target: Any) -> str:
        seen.extend((source, target, str(OutputFile("named"))))
        return Path(source).read_text()

    task = read(InputFile("missing/data.txt"), OutputFile("out/result.txt"))
    assert isinstance(await task, DryRunResult)
    assert [Path(path).name for path in seen] == ["data.txt", "result.txt", "named"]
    assert all(Path(path).is_absolute() for path in seen)

    @flow.executable_task
    def nothing(source: Any) -> None: ...

    with pytest.raises(ConfigurationError, match="not NoneType"):
        await nothing(InputFile("missing"))


async def test_a_body_that_waits_is_waited_for_and_can_be_cancelled(flow: WorkflowEngine) -> None:
    gate = asyncio.Event()

    @flow.executable_task
    async def wait() -> str:
        await gate.wait()
        return "true"

    first, second = wait(), wait()
    assert isinstance(await flow.function_task(body)(1), DryRunResult)
    second.cancel()
    gate.set()
    assert isinstance(await first, DryRunResult)
    assert second.cancelled()
