"""Requests of the program to a worker, which ``Client.run`` runs in the worker's loop."""

from __future__ import annotations

from typing import Any

from radical.asyncflow.aside import in_thread

from .running import calls_on

__all__ = ["cancel", "end_ranks", "greet", "written"]


def cancel(topic: str, attempts: list[tuple[int, int]], dask_worker: Any) -> list[tuple[int, int]]:
    """Cancel these calls, also those that have not arrived yet; return those that run."""
    return calls_on(dask_worker).cancel(topic, attempts)


def written(
    topic: str, attempts: list[tuple[int, int]], dask_worker: Any
) -> list[tuple[int, Any, Any, Any]]:
    """Return what those of these calls have written so far that are commands and run here."""
    commands = calls_on(dask_worker).commands
    found = []
    for task_id, attempt in attempts:
        execution = commands.get((topic, task_id, attempt))
        output = None if execution is None else execution.written()
        if output is not None:
            found.append((task_id, *output))
    return found


def greet(dask_worker: Any) -> None:
    """Do nothing but succeed, which shows that this package is installed here."""
    calls_on(dask_worker)


async def end_ranks(dask_worker: Any) -> None:
    """End the ranks that wait for a call of a program that goes."""
    await in_thread(calls_on(dask_worker).end_ranks)
