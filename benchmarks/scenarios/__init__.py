"""All scenarios, in the order of the table."""

from __future__ import annotations

from .._model import Scenario
from . import (
    blocking,
    completed,
    coroutines,
    dask,
    executables,
    failover,
    gpu,
    growth,
    imports,
    journal,
    many,
    many_dask,
    mpi,
    noop,
    order,
    outside,
    page,
    parsl,
    pilot,
    progress,
    prompts,
    services,
    times,
    values,
    windows,
    workers,
)

__all__ = ["SCENARIOS"]

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for module in (
        noop,
        workers,
        coroutines,
        dask,
        many_dask,
        executables,
        mpi,
        gpu,
        times,
        many,
        growth,
        windows,
        completed,
        order,
        outside,
        blocking,
        failover,
        imports,
        journal,
        page,
        progress,
        parsl,
        pilot,
        services,
        prompts,
        values,
    )
    for scenario in module.SCENARIOS
}
