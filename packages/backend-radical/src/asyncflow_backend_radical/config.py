"""The settings of the RADICAL-Pilot backend."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["RadicalConfig", "RaptorConfig"]

_Count = Annotated[int, Field(ge=1)]

# What `pilot` may not set, and the setting that does.
_OWN = {
    "resource": "resource",
    "access_schema": "access_schema",
    "queue": "queue",
    "project": "project",
    "sandbox": "sandbox",
    "runtime": "walltime",
    "nodes": "nodes",
    "cores": "cores",
    "gpus": "gpus",
    "exit_on_error": "nothing: the backend needs it to be off",
    "uid": "nothing: the backend names its pilot",
}


class RaptorConfig(BaseModel):
    """How large the workers for functions are."""

    model_config = ConfigDict(extra="forbid", strict=True)

    workers: _Count | None = Field(
        default=None, description="Most of them at a time; as many as the pilot has room for."
    )
    cores_per_worker: _Count | None = Field(
        default=None, description="Cores of a worker, for functions that ask for fewer."
    )


class RadicalConfig(BaseModel):
    """What ``create_backend("radical_pilot", config=...)`` takes."""

    model_config = ConfigDict(extra="forbid", strict=True)

    resource: str = Field(
        default="local.localhost",
        description="Where the pilot runs, as RADICAL-Pilot names it ('ornl.summit').",
    )
    queue: str | None = Field(default=None, description="Queue of the batch system.")
    project: str | None = Field(default=None, description="Allocation that is charged.")
    nodes: _Count | None = Field(default=None, description="Whole nodes to ask for.")
    cores_per_node: _Count | None = Field(
        default=None, description="What a node is expected to have; checked."
    )
    gpus_per_node: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="What a node is expected to have; checked."
    )
    cores: _Count | None = Field(default=None, description="Cores to ask for, instead of nodes.")
    gpus: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="GPUs to ask for, together with cores."
    )
    walltime: _Count = Field(default=60, description="Minutes that the pilot may run.")
    access_schema: str | None = Field(
        default=None, description="How the resource is reached; its own default otherwise."
    )
    sandbox: str | None = Field(
        default=None,
        description="Folder for the pilot's files, on a file system that its nodes share.",
    )
    raptor: RaptorConfig = Field(
        default_factory=RaptorConfig, description="Size of the workers for functions."
    )
    restart_pilot: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="How many further pilots may be submitted for one that is lost: each takes "
        "what had not begun, and what is retried.",
    )
    startup_timeout: Annotated[float, Field(gt=0, le=3600)] = Field(
        default=300.0,
        description="Seconds until the session is up and the pilot is submitted; where no "
        "queue is involved, until the pilot is active.",
    )
    keep_sandbox: bool = Field(
        default=False, description="Keep RADICAL-Pilot's files after a success, too."
    )
    pilot: dict[str, Any] = Field(
        default_factory=dict, description="Any further attribute of PilotDescription."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.nodes is not None and (self.cores is not None or self.gpus is not None):
            raise ValueError("nodes asks for whole nodes: not together with cores or gpus")
        if self.gpus is not None and self.cores is None:
            raise ValueError("gpus goes together with cores (or ask for nodes)")
        for key in self.pilot:
            if key in _OWN:
                raise ValueError(f"pilot may not set {key!r}; use {_OWN[key]}")
        return self
