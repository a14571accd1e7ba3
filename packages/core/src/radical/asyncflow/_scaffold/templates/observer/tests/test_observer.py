"""The observer, in real runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.errors import ConfigurationError
from radical.asyncflow.testing import ScriptedBackend


async def run(path: Path) -> list[dict[str, Any]]:
    """Run two tasks, one of which fails, and return the lines about them."""
    observers = [f"skeleton:{path}"]
    async with WorkflowEngine.create(ScriptedBackend(), observers=observers) as flow:
        good, bad = flow.function_task(name="good")(int), flow.function_task(name="bad")(int)
        await good("1")
        with pytest.raises(ValueError, match="invalid"):
            await bad("x")
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_each_task_that_ended_has_a_line(tmp_path: Path) -> None:
    lines = await run(tmp_path / "tasks.jsonl")
    assert {line["name"]: line["state"] for line in lines} == {"good": "DONE", "bad": "FAILED"}
    assert all(line["seconds"] >= 0 for line in lines)


async def test_a_second_run_goes_on_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    await run(path)
    assert len({line["run"] for line in await run(path)}) == 2


async def test_a_run_does_not_begin_without_the_folder(tmp_path: Path) -> None:
    observers = [f"skeleton:{tmp_path / 'none' / 'tasks.jsonl'}"]
    with pytest.raises(ConfigurationError, match="no folder"):
        await WorkflowEngine.create(ScriptedBackend(), observers=observers)
