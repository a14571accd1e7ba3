"""The settings of the backend."""

from __future__ import annotations

from pydantic import BaseModel, Field


class SkeletonConfig(BaseModel):
    """The settings, each with its default and what it means."""

    max_workers: int = Field(default=2, ge=1, description="processes")
    grace: float = Field(
        default=5.0, ge=0, description="seconds between SIGTERM and SIGKILL for a command"
    )
