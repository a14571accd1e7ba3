"""The event log of the scheduler, kept short; ``Client.run_on_scheduler`` runs this."""

from __future__ import annotations

from typing import Any

__all__ = ["forget_events"]


def forget_events(topic: str, dask_scheduler: Any) -> None:
    """Drop the events of *topic*, which the program has heard already."""
    dask_scheduler._broker.truncate(topic)
