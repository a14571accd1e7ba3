"""Requests of the program to a worker, which ``Client.run`` runs in the worker's loop."""

from __future__ import annotations

from typing import Any

from radical.asyncflow.aside import in_thread

from .running import calls_on

__all__ = ["cancel", "end_ranks", "greet"]


def cancel(topic: str, attempts: list[tuple[int, int]], dask_worker: Any) -> list[tuple[int, int]]:
    """Cancel these calls, also those that have not arrived yet; return those that run."""
    return calls_on(dask_worker).cancel(topic, attempts)


def greet(dask_worker: Any) -> None:
    """Do nothing but succeed, which shows that this package is installed here."""
    calls_on(dask_worker)


async def end_ranks(dask_worker: Any) -> None:
    """End the ranks that wait for a call of a program that goes."""
    await in_thread(calls_on(dask_worker).end_ranks)
