"""What functions print, log and use on a pilot comes to the program and its journal."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from asyncflow_backend_radical import RadicalExecutionBackend
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.journal import read


def speak(number: int) -> int:
    import logging
    import sys
    import time

    end = time.thread_time() + 0.02
    while time.thread_time() < end:
        pass
    print("number", number)
    print("aside", file=sys.stderr)
    logging.getLogger("lab").warning("measured %d", number)
    if number < 0:
        raise ValueError(number)
    return number


async def test_the_record_has_what_a_function_prints_logs_and_uses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "journal"
    backend = RadicalExecutionBackend(walltime=20)
    async with WorkflowEngine.create(backend, journal=path) as flow:
        task = flow.function_task(speak)
        good, bad = task(1), task(-2)
        assert await good == 1
        with pytest.raises(ValueError, match="-2"):
            await bad
    for number, record in zip((1, -2), read(path)[0].tasks.values(), strict=True):
        assert (record.stdout, record.stderr) == (f"number {number}\n", "aside\n")
        assert [(line.level, line.text) for line in record.logs] == [
            (logging.WARNING, f"measured {number}")
        ]
        assert record.usage is not None
        assert record.usage.cpu_seconds is not None
        assert record.usage.cpu_seconds >= 0.02
        assert record.usage.peak_memory is not None
    arrived = {one.getMessage() for one in caplog.records if one.name == "lab"}
    assert arrived == {"measured 1", "measured -2"}
