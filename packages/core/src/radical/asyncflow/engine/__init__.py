"""The engine: the class that users write workflows against, its start and its shutdown."""

from __future__ import annotations

from ._engine import WorkflowEngine

__all__ = ["WorkflowEngine"]
