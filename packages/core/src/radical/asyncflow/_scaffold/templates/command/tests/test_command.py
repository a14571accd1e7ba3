"""The command, on the journal of a real run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from click.testing import CliRunner
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.testing import ScriptedBackend

from asyncflow_skeleton.command import command


async def run(path: Path) -> None:
    """Run three tasks, one of which fails, with a journal."""
    async with WorkflowEngine.create(ScriptedBackend(), journal=path) as flow:
        number = flow.function_task(name="number")(int)
        await asyncio.gather(number("1"), number("2"))
        with pytest.raises(ValueError, match="invalid"):
            await number("x")


def test_it_counts_the_tasks(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    asyncio.run(run(journal))
    result = CliRunner().invoke(command, [str(journal)])
    assert result.output == "number  DONE  2\nnumber  FAILED  1\n"
    assert result.exit_code == 0


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, [str(tmp_path / "none")])
    assert result.exit_code == 2
    assert "none" in result.output
