"""Requests of the program to a worker, which ``Client.run`` runs in the worker's loop."""

from __future__ import annotations

from typing import Any

from .running import calls_on

__all__ = ["cancel", "greet"]


def cancel(topic: str, attempts: list[tuple[int, int]], dask_worker: Any) -> list[tuple[int, int]]:
    """Cancel these calls, also those that have not arrived yet; return those that run."""
    return calls_on(dask_worker).cancel(topic, attempts)


def greet(dask_worker: Any) -> None:
    """Do nothing but succeed, which shows that this package is installed here."""
    calls_on(dask_worker)
