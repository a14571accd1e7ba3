"""The settings of the backend."""

from __future__ import annotations

import re

from pydantic import BaseModel, Field, field_validator

LOCAL = ["{python}", "-I", "-S", "{local}"]
"""The batch system of this machine, for trying things out and for the tests."""


class SkeletonConfig(BaseModel):
    """The settings, each with its default and what it means.

    For Slurm, for example::

        submit = ["sbatch", "--parsable", "{script}"]
        status = ["squeue", "--me", "--noheader", "--format=%A"]
        cancel = ["scancel", "{ids}"]
        header = ["#SBATCH --cpus-per-task={cores}", "#SBATCH --output=/dev/null"]
        poll = 5
        max_cores = None
    """

    submit: list[str] = Field(
        default=[*LOCAL, "submit", "{script}"],
        min_length=1,
        description="the command that submits {script}, and prints the id of the job",
    )
    status: list[str] = Field(
        default=[*LOCAL, "status", "{ids}"],
        min_length=1,
        description="the command that prints the ids of jobs that have not ended, one a line; "
        "it gets all {ids} in one call, or none and lists all jobs of the user",
    )
    cancel: list[str] = Field(
        default=[*LOCAL, "cancel", "{ids}"],
        min_length=1,
        description="the command that ends the jobs {ids}",
    )
    id_pattern: str = Field(
        default=r"\d+", description="a regular expression for the id in what submit prints"
    )
    header: list[str] = Field(
        default=[], description="lines at the top of each script; {cores} and {name} are replaced"
    )
    python: str | None = Field(
        default=None,
        description="the Python of the nodes, with this distribution; None: that of the program",
    )
    max_cores: int | None = Field(
        default=4, ge=1, description="cores of all jobs that are submitted at one time; None: any"
    )
    poll: float = Field(
        default=0.02, gt=0, description="seconds between two looks for the answers of jobs"
    )
    ask: float = Field(
        default=0.5, gt=0, description="seconds between two calls of status, for all jobs in one"
    )
    patience: float = Field(
        default=10.0, gt=0, description="seconds that status may fail before the backend is lost"
    )
    grace: float = Field(
        default=20.0, ge=0, description="seconds that cancelled jobs have to end at the shutdown"
    )

    @field_validator("id_pattern")
    @classmethod
    def _is_pattern(cls, value: str) -> str:
        re.compile(value)
        return value
