"""The name under which the scheduler of an own cluster knows how its worker processes end."""

from __future__ import annotations

__all__ = ["WORKER_ENDS"]

WORKER_ENDS = "asyncflow-worker-ends"
"""The scheduler's extension that gives a worker's exit code for the address of its nanny.

It is called when the worker is gone, and gives None if nobody knows the code.
"""
