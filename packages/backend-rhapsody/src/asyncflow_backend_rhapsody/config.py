"""The settings of the backend."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["RhapsodyConfig"]


class RhapsodyConfig(BaseModel):
    """The settings for ``create_backend("rhapsody", config=...)``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    backend: Annotated[str, Field(min_length=1)] = Field(
        default="concurrent",
        description="RHAPSODY's name of the backend that runs the tasks, such as 'concurrent', "
        "'dask' or 'radical_pilot'.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="Keywords for the class of that backend, such as {'resources': "
        "{'n_workers': 4}}.",
    )
    executor_type: Literal["thread", "process"] = Field(
        default="thread",
        description="Where 'concurrent' runs functions: in threads of the program, or in worker "
        "processes.",
    )
    max_workers: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None,
        description="How many tasks RHAPSODY's backend has at once; by default as many as it "
        "runs at once, if it tells that, and else the cores of this machine.",
    )
    grace: float = Field(
        default=5.0,
        ge=0,
        le=20,
        description="Seconds between SIGTERM and SIGKILL when a command is cancelled, and those "
        "that a shutdown waits for functions.",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if "executor_type" in self.model_fields_set:
            if self.backend != "concurrent":
                raise ValueError("executor_type is about backend='concurrent'")
            if "executor" in self.options:
                raise ValueError("executor_type says which executor to make: not with an executor")
        if "name" in self.options:
            raise ValueError("options: the name of the backend is that of the engine, not 'name'")
        return self
