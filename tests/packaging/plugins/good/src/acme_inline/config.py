"""The settings of the backend."""

from __future__ import annotations

from pydantic import BaseModel, Field


class InlineConfig(BaseModel):
    """Settings of `InlineBackend`."""

    repeat: int = Field(default=1, ge=1)
