"""The reasons why a worker does not begin a call."""

from __future__ import annotations

__all__ = ["CallTakenBackError", "WorkerIsGoneError"]


class WorkerIsGoneError(Exception):
    """The scheduler counts this worker as dead, and gives its calls to others."""


class CallTakenBackError(Exception):
    """The scheduler gives the call to another worker; it has not begun."""
