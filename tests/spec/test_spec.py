"""The code blocks of the specification, as they stand.

``blocks/`` holds them verbatim.  They use ``await`` outside of functions and share
their names, as someone would type them into ``python -m asyncio``.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from document_blocks import compile_block, read_blocks, run_code
from radical.asyncflow import BackendNotFoundError, WorkflowEngine, factory, registry

BLOCKS = Path(__file__).parent / "blocks"
SPECIFICATION = Path(__file__).parents[3] / "shared/spec"
ELSEWHERE = frozenset(
    f"asyncflow-backend-{name}" for name in ("dask", "radical", "inference", "rhapsody")
)

LISTING = """\
Backend 'noop': ✅
Backend 'concurrent': ✅
Backend 'dask': ❌
  Installation hint: Try: pip install 'radical.asyncflow[dask]'
Backend 'radical_pilot': ❌
  Installation hint: Try: pip install 'radical.asyncflow[radicalpilot]'
Backend 'parsl': ❌
  Installation hint: Try: pip install 'radical.asyncflow[parsl]'
Backend 'slurm': ❌
  Installation hint: Try: pip install 'radical.asyncflow[parsl]'
Backend 'pbs': ❌
  Installation hint: Try: pip install 'radical.asyncflow[parsl]'
Backend 'inference': ❌
  Installation hint: Try: pip install 'radical.asyncflow[inference]'
Backend 'rhapsody': ❌
  Installation hint: Try: pip install 'radical.asyncflow[rhapsody]'
"""


def source(name: str) -> str:
    return (BLOCKS / name).read_text(encoding="utf-8")


async def run(code: str, names: dict[str, Any]) -> dict[str, Any]:
    await run_code(compile_block(code, "<specification>"), names)
    return names


def program() -> dict[str, Any]:
    return {"__name__": "__main__"}


@pytest.fixture
def _only_local(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Only the local backends are installed, whatever else is."""
    everything = importlib.metadata.distributions

    def local(**where: Any) -> Iterator[importlib.metadata.Distribution]:
        return (one for one in everything(**where) if one.metadata["Name"] not in ELSEWHERE)

    monkeypatch.setattr(importlib.metadata, "distributions", local)
    registry.refresh()
    yield
    monkeypatch.undo()
    registry.refresh()


async def test_the_local_block_makes_a_backend_that_runs() -> None:
    names = await run(source("local.py"), program())
    async with WorkflowEngine.create(backend=names["backend"]) as flow:
        assert await flow.function_task(sum)([1, 2, 3]) == 6


@pytest.mark.usefixtures("_only_local")
async def test_the_listing_says_what_is_missing_and_how_to_get_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    await run(source("discovery.py"), program())
    assert capsys.readouterr().out == LISTING


@pytest.mark.usefixtures("_only_local")
async def test_a_missing_backend_is_refused_in_the_words_of_the_specification() -> None:
    with pytest.raises(BackendNotFoundError) as caught:
        await factory.create_backend("dask")
    assert str(caught.value) == source("missing.txt").rstrip("\n")


@pytest.mark.usefixtures("_only_local")
@pytest.mark.parametrize("block", ["hpc.py", "gpu.py", "cpu.py", "setup.py"])
async def test_an_hpc_block_without_the_pilot_ends_with_the_hint(block: str) -> None:
    names = {**program(), "factory": factory}
    with pytest.raises(BackendNotFoundError) as caught:
        await run(source(block), names)
    hint = "Installation hint: Try: pip install 'radical.asyncflow[radicalpilot]'"
    assert str(caught.value).splitlines()[-1] == hint


@pytest.mark.usefixtures("_only_local")
async def test_the_fallback_block_falls_back(capsys: pytest.CaptureFixture[str]) -> None:
    names = await run(source("fallback.py"), {**program(), "factory": factory})
    assert names["backend"].name == "concurrent"
    assert capsys.readouterr().out == (
        "RADICAL-Pilot not available: Try: pip install 'radical.asyncflow[radicalpilot]'\n"
    )


STATEMENT = re.compile(r"^backend = .*?^}\)\n", re.MULTILINE | re.DOTALL)


def on_this_machine(block: str) -> str:
    """*block* with the one change that the specification promises to be enough."""
    local = STATEMENT.search(source("local.py"))
    assert local is not None
    changed, times = STATEMENT.subn(local[0], block)
    assert times == 1
    return changed


@pytest.mark.parametrize("executor", ["thread", "process"])
async def test_the_complete_workflow_runs_after_one_change(
    executor: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names = program()
    setup = on_this_machine(source("setup.py"))
    await run(setup.replace('"thread"  # or "process"', f'"{executor}"'), names)
    for block in ("tasks.py", "workflow.py", "five_workflows.py"):
        await run(source(block), names)
    lines = capsys.readouterr().out.splitlines()
    started = [line.rpartition(" at ")[0] for line in lines[:5]]
    assert started == [f"Starting workflow {number}" for number in range(5)]
    completed = {line.rpartition(" at ")[0] for line in lines[5:10]}
    assert completed == {f"Workflow {number} completed" for number in range(5)}
    assert lines[11].startswith("Total time running asynchronously is: ")
    assert names["flow"].closed


async def test_the_third_task_waits_for_the_other_two() -> None:
    names = program()
    await run(on_this_machine(source("setup.py")), names)
    await run(source("tasks.py"), names)
    first, second = names["task1"](), names["task2"]()
    third = names["task3"](first, second)
    assert (await asyncio.wait_for(third, 60)).strip()
    assert (first.state, second.state) == ("DONE", "DONE")
    plan = names["flow"].plan()
    assert set(plan.edges) == {(1, 3), (2, 3)}
    await names["flow"].shutdown()


def test_the_blocks_are_those_of_the_specification() -> None:
    documents = list(SPECIFICATION.glob("000_*.txt"))
    if not documents:
        pytest.skip("the specification does not lie beside this checkout: nothing to compare")
    for document in documents:
        there = {block.text for block in read_blocks(document.read_text(encoding="utf-8"))}
        here = {source(path.name) for path in BLOCKS.iterdir()}
        assert here <= there
        assert len(there) - len(here) == 1, "all but the log of an HPC run are tested"
