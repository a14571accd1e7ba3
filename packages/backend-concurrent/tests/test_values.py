"""Large values of other libraries, to worker processes and back."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

ROWS = 100_000


def tensors() -> Any:
    import torch  # type: ignore[import-not-found, unused-ignore]

    table = torch.arange(8.0 * ROWS).reshape(ROWS, 8)
    return {"table": table, "turned": table.t(), "part": table[:, 2], "few": table[:3]}


def frame() -> Any:
    import pandas  # type: ignore[import-not-found, import-untyped, unused-ignore]

    index = pandas.RangeIndex(ROWS)
    columns = {"number": 1.5, "text": "a text", "when": pandas.Timestamp(0)}
    return pandas.DataFrame(columns, index=index)


def table() -> Any:
    import pyarrow  # type: ignore[import-not-found, import-untyped, unused-ignore]

    return pyarrow.table({"number": range(ROWS), "text": ["a text"] * ROWS}).slice(5)


def add_one(table: Any) -> Any:
    table += 1  # what arrives can be written
    return table


async def test_tensors_travel_to_a_worker_and_back(start: Any) -> None:
    torch = pytest.importorskip("torch")
    driver = await start(executor_type="process")
    (made,) = await driver.run(driver.function(tensors))
    for name, value in tensors().items():
        assert torch.equal(made.value[name], value)
        (added,) = await driver.run(driver.function(add_one, made.value[name]))
        assert torch.equal(added.value, value + 1)
        assert torch.equal(made.value[name], value)


@pytest.mark.parametrize(("library", "make"), [("pandas", frame), ("pyarrow", table)])
async def test_tables_travel_to_a_worker_and_back(start: Any, library: str, make: Any) -> None:
    pytest.importorskip(library)
    driver = await start(executor_type="process")
    (made,) = await driver.run(driver.function(make))
    assert made.value.equals(make())
    (same,) = await driver.run(driver.function(lambda value: value, made.value))
    assert same.value.equals(make())


def test_a_tensor_on_a_gpu_leaves_the_program_without_a_context() -> None:
    if not pytest.importorskip("torch").cuda.is_available():
        pytest.skip("there is no GPU")
    program = """
import asyncio
import torch
from radical.asyncflow import WorkflowEngine

def on_gpu(value):
    return value.to("cuda") * 2

async def main():
    config = {"executor_type": "process", "max_workers": 1}
    async with WorkflowEngine.create("concurrent", config=config) as flow:
        step = flow.function_task(on_gpu)
        value = await step(step(torch.ones(100_000)))
        assert value.device.type == "cpu", value.device
        assert value.sum() == 400_000
        assert not torch.cuda.is_initialized()

asyncio.run(main())
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
