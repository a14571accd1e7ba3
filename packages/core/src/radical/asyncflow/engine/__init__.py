"""The engine: the class that a workflow is written against, its beginning and its end."""

from __future__ import annotations

from ._engine import WorkflowEngine

__all__ = ["WorkflowEngine"]
