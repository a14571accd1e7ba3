"""The profile, as a program gets it."""

from __future__ import annotations

import pytest
from radical.asyncflow import WorkflowEngine


@pytest.mark.parametrize(("cores", "workers"), [("", 2), ("3", 3)])
async def test_it_suits_the_machine(
    cores: str, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", cores)
    async with WorkflowEngine.create(profile="skeleton") as flow:
        assert flow.backend.name == "concurrent"
        assert flow.backend.capacity() == workers
        assert await flow.function_task(abs)(-1) == 1
