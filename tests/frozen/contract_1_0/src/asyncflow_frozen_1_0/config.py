from pydantic import BaseModel, Field


class FrozenConfig(BaseModel):
    """Settings of the backend."""

    max_workers: int = Field(default=4, ge=1, description="threads")
    grace: float = Field(default=2.0, gt=0, description="seconds between SIGTERM and SIGKILL")
