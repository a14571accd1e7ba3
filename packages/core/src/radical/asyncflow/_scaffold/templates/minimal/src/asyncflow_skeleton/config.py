"""The settings of the backend."""

from __future__ import annotations

from pydantic import BaseModel, Field


class SkeletonConfig(BaseModel):
    """The settings, each with its default and what it means."""

    max_workers: int = Field(default=4, ge=1, description="threads")
    grace: float = Field(
        default=10.0, ge=0, description="seconds that a cancelled function may go on at the end"
    )
