"""The settings of the RADICAL-Pilot backend."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)
from radical.asyncflow.deprecation import warn_deprecated
from radical.asyncflow.errors import ConfigurationError
from radical.asyncflow.model import parse_duration

__all__ = ["RadicalConfig", "RaptorConfig", "of_public_package"]


def _whole_minutes(walltime: Any) -> int:
    """Return *walltime* in minutes, rounded up: RADICAL-Pilot takes whole minutes only."""
    minutes = math.nan
    if isinstance(walltime, int | float) and not isinstance(walltime, bool):
        minutes = walltime
    # A text without a colon, such as "90", could be meant as seconds or as minutes.
    elif isinstance(walltime, timedelta) or (isinstance(walltime, str) and ":" in walltime):
        with suppress(ConfigurationError):
            minutes = parse_duration(walltime) / 60
    if not 0 < minutes < math.inf:
        raise ValueError('write minutes as a number above 0, "HH:MM:SS" or a timedelta')
    return math.ceil(minutes)


_AtLeastOne = Annotated[int, Field(ge=1)]
_AtLeastZero = Annotated[int, Field(ge=0)]
_Walltime = Annotated[
    int,
    BeforeValidator(_whole_minutes),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}]}),
]

# The attributes that `pilot` may not set, and what to use instead.
_INSTEAD = {
    "resource": "use resource",
    "access_schema": "use access_schema",
    "queue": "use queue",
    "project": "use project",
    "sandbox": "use sandbox",
    "runtime": "use walltime",
    "nodes": "use nodes",
    "cores": "use cores",
    "gpus": "use gpus",
    "exit_on_error": "the backend needs it to be off",
    "uid": "the backend names its pilots",
}


class RaptorConfig(BaseModel):
    """The size of the workers that run functions."""

    model_config = ConfigDict(extra="forbid", strict=True)

    workers: _AtLeastOne | None = Field(
        default=None,
        description="The most workers at a time; by default as many as the pilot has room for.",
    )
    cores_per_worker: _AtLeastOne | None = Field(
        default=None,
        description="Cores of a worker; a function that asks for more gets a larger worker.",
    )


class RadicalConfig(BaseModel):
    """The settings that ``create_backend("radical_pilot", config=...)`` takes."""

    model_config = ConfigDict(extra="forbid", strict=True)

    resource: str = Field(
        default="local.localhost",
        description="Where the pilot runs, by RADICAL-Pilot's name for it (`'ornl.summit'`).",
    )
    queue: str | None = Field(
        default=None, description="The queue of the batch system; by default that of the resource."
    )
    project: str | None = Field(
        default=None, description="The allocation to charge, as the computing centre calls it."
    )
    nodes: _AtLeastOne | None = Field(
        default=None, description="Whole nodes to ask for; one by default, on a local resource."
    )
    cores_per_node: _AtLeastOne | None = Field(
        default=None,
        description="Cores that you expect a node to have; an error if it has another number.",
    )
    gpus_per_node: _AtLeastZero | None = Field(
        default=None,
        description="GPUs that you expect a node to have; an error if it has another number.",
    )
    cores: _AtLeastOne | None = Field(
        default=None, description="Cores to ask for, instead of `nodes`."
    )
    gpus: _AtLeastZero | None = Field(default=None, description="GPUs to ask for, beside `cores`.")
    walltime: _Walltime = Field(
        default=60,
        description="How long the pilot may run: a number, `'HH:MM:SS'` or a `timedelta`; rounded "
        "up to whole minutes.",
        json_schema_extra={"unit": "minutes"},
    )
    access_schema: str | None = Field(
        default=None, description="How to reach the resource; by default as it says itself."
    )
    sandbox: str | None = Field(
        default=None,
        description="A folder for the pilot's files, on a file system that its nodes share; by "
        "default in the folder of the run, or that of the resource.",
    )
    raptor: RaptorConfig = Field(
        default_factory=RaptorConfig, description="The size of the workers that run functions."
    )
    restart_pilot: _AtLeastZero = Field(
        default=0,
        description="How many more pilots to submit if one is lost. The next pilot runs the tasks "
        "that had not begun, and the retries of those that had.",
    )
    startup_timeout: Annotated[float, Field(gt=0, le=3600)] = Field(
        default=300.0,
        description="The time until the pilot must be in the queue; without a queue, until it must "
        "be active.",
        json_schema_extra={"unit": "seconds"},
    )
    agent_timeout: Annotated[float, Field(gt=0, le=86400)] = Field(
        default=600.0,
        description="How long the agent of a queued pilot may take to answer once the pilot's job "
        "has started it, and how long the job may take to start it (there, `startup_timeout` if "
        "that is more). Then the job is cancelled.",
        json_schema_extra={"unit": "seconds"},
    )
    forward_logs: bool = Field(
        default=True,
        description="Whether log records of functions come to the program's own logging, with "
        "their level and logger, when the function has ended.",
    )
    keep_sandbox: bool = Field(
        default=False, description="Whether RADICAL-Pilot's files stay after a success, too."
    )
    pilot: dict[str, Any] = Field(
        default_factory=dict, description="More attributes of RADICAL-Pilot's `PilotDescription`."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.nodes is not None and (self.cores is not None or self.gpus is not None):
            raise ValueError("nodes asks for whole nodes: give either nodes, or cores and gpus")
        if self.gpus is not None and self.cores is None:
            raise ValueError("gpus needs cores beside it (or ask for nodes)")
        for key in self.pilot:
            if key in _INSTEAD:
                raise ValueError(f"pilot may not set {key!r}; {_INSTEAD[key]}")
        return self


def of_public_package(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return *config*, which may have the names of a `PilotDescription`, with those of here."""
    given = dict(config)
    if "runtime" in given and "walltime" not in given:
        warn_deprecated(
            "RadicalExecutionBackend({'runtime': ...})",
            since="1.0",
            removal="2.0",
            instead="use walltime, which has minutes too",
        )
        given["walltime"] = given.pop("runtime")
    if given.get("exit_on_error") is False:  # as it is always
        del given["exit_on_error"]
    return given
