"""The settings of the concurrent backend."""

from __future__ import annotations

import re
from concurrent.futures import Executor
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)
from radical.asyncflow.model import parse_size
from radical.asyncflow.worker import MpiLauncher, can_bind

__all__ = ["ConcurrentConfig"]


def _bytes(value: Any) -> Any:
    return parse_size(value) if isinstance(value, str) else value


_Size = Annotated[
    int,
    BeforeValidator(_bytes),
    Field(ge=1),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}]}),
]

_GPU_NAME = re.compile(r"(?:GPU|MIG)-[^\s,]+|[0-9]+(?:\.[0-9]+)+")


def _gpus(value: Any) -> Any:
    """Check a list of GPUs entry by entry, so that the message is about the entry."""
    if isinstance(value, str | bool | float):
        raise ValueError(
            f"must say how many or be a list such as [0, 'GPU-5f3a...'], not {value!r}"
        )
    if not isinstance(value, list | tuple | range):
        return value
    wrong = [entry for entry in value if not _is_gpu(entry)]
    if wrong:
        raise ValueError(
            f"{', '.join(map(repr, wrong))}: a GPU is a number from 0 on, a name such as "
            "'GPU-5f3a...' or 'MIG-9b0c...' as nvidia-smi -L prints it, or a tile such as '0.1'"
        )
    return list(value)


def _is_gpu(entry: object) -> bool:
    if isinstance(entry, str):
        return _GPU_NAME.fullmatch(entry) is not None
    return isinstance(entry, int) and not isinstance(entry, bool) and entry >= 0


def _mpi_launcher(value: str) -> str:
    MpiLauncher(value)  # raises
    return value


class ConcurrentConfig(BaseModel):
    """The settings of ``create_backend("concurrent", config=...)``."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, strict=True)

    executor: Executor | None = Field(
        default=None,
        description="Any `concurrent.futures.Executor` to run functions on, as it is.",
    )
    max_workers: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None,
        description="How many tasks run at once, functions and commands together. By default as "
        "many as the program may use cores, by its affinity and the CPU quota of its container or "
        "job; with `'async'` also 1000 async functions.",
    )
    executor_type: Literal["thread", "process", "async"] = Field(
        default="thread",
        description="Where functions run: in threads, in worker processes, or (async functions "
        "that wait) all in one event loop.",
    )
    gpus: Annotated[
        Annotated[int, Field(ge=0)] | list[int | str] | None,
        BeforeValidator(_gpus),
    ] = Field(
        default=None,
        description="The GPUs to assign to tasks: how many, or a list of numbers and names such "
        "as `'GPU-5f3a...'` or `'MIG-9b0c...'`. By default those that are found.",
    )
    gpu_idle_timeout: float = Field(
        default=60.0,
        ge=0,
        description="How long an idle worker process that has used a GPU stays.",
        json_schema_extra={"unit": "seconds"},
    )
    memory: _Size | None = Field(
        default=None,
        description="The memory to share among tasks: a number, or a size such as `'16GB'`. By "
        "default that of the machine, or the limit of its container or job.",
        json_schema_extra={"unit": "bytes"},
    )
    grace: float = Field(
        default=5.0,
        ge=0,
        le=20,
        description="The time from SIGTERM to SIGKILL when work is cancelled.",
        json_schema_extra={"unit": "seconds"},
    )
    bind: bool = Field(
        default=False,
        description="Whether each worker is bound to a core of its own, in NUMA order.",
    )
    mpi_launcher: Annotated[str, AfterValidator(_mpi_launcher)] | None = Field(
        default=None,
        description="What starts the ranks of MPI: a program with its options, or a command such "
        "as `srun -n {ranks} -c {cores}`; `mpiexec` or `mpirun` by default.",
    )
    forward_logs: bool = Field(
        default=True,
        description="Whether log records of worker processes come to the program's own logging, "
        "with their level and logger.",
    )
    shutdown_executor: bool = Field(
        default=True,
        description="Whether the backend's shutdown shuts the given `executor` down too.",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        given = self.model_fields_set
        if self.executor is not None:
            if "executor_type" in given:
                raise ValueError("executor_type says which workers to make: not with executor")
            if self.gpus or self.memory:
                raise ValueError("gpus and memory cannot be assigned on an executor")
            if self.bind:
                raise ValueError("bind is about the backend's own workers: not with executor")
        elif "shutdown_executor" in given:
            raise ValueError("shutdown_executor is about an executor, and none is given")
        if self.bind and not can_bind():
            raise ValueError("bind needs a system that binds threads to cores, such as Linux")
        if "forward_logs" in given and self.executor_type != "process":
            raise ValueError("forward_logs is about worker processes: give executor_type='process'")
        if "gpu_idle_timeout" in given and self.executor_type != "process":
            raise ValueError("gpu_idle_timeout ends worker processes: give executor_type='process'")
        if isinstance(self.gpus, list) and len(set(self.gpus)) < len(self.gpus):
            raise ValueError("gpus names a GPU twice")
        return self
