"""The settings of the Dask backend."""

from __future__ import annotations

import importlib
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from radical.asyncflow.errors import ConfigurationError
from radical.asyncflow.model import parse_size

__all__ = ["Adapt", "DaskConfig"]

_CONNECT = ("client", "cluster", "address", "scheduler_file", "cluster_class")
_OWN = (
    "n_workers",
    "threads_per_worker",
    "processes",
    "memory_limit",
    "resources",
    "dashboard_address",
)


def _bytes(value: Any) -> Any:
    if isinstance(value, str) and value != "auto":
        try:
            return parse_size(value)
        except ConfigurationError as exc:
            raise ValueError(str(exc)) from None
    return value


def _class(value: Any) -> Any:
    """``"module.Class"`` or ``"module:Class"`` is checked when it is imported, by `start`."""
    if isinstance(value, str):
        module, _, name = value.replace(":", ".").rpartition(".")
        if not module or not name:
            raise ValueError(f"not of the form 'module.Class': {value!r}")
    elif not callable(value):
        raise ValueError("must be a class, or its name such as 'dask_jobqueue.SLURMCluster'")
    return value


class Adapt(BaseModel):
    """Between how many workers the cluster follows the load."""

    model_config = ConfigDict(extra="forbid", strict=True)

    minimum: int = Field(default=0, ge=0, description="Workers that are always there.")
    maximum: int = Field(ge=1, description="Workers at the most.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum ({self.minimum}) is above maximum ({self.maximum})")
        return self


class DaskConfig(BaseModel):
    """What ``create_backend("dask", config=...)`` takes.

    At most one of `client`, `cluster`, `address`, `scheduler_file` and `cluster_class`
    says which cluster; without one the backend starts its own on this machine.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, strict=True)

    client: Any = Field(
        default=None,
        description="A distributed.Client whose scheduler is used; never closed.",
    )
    cluster: Any = Field(
        default=None,
        description="A running Dask cluster object; never closed.",
    )
    address: str | None = Field(
        default=None,
        min_length=1,
        description="Address of a scheduler, such as 'tcp://host:8786'.",
    )
    scheduler_file: str | None = Field(
        default=None,
        min_length=1,
        description="File in which a scheduler has written its address.",
    )
    cluster_class: Annotated[Any, BeforeValidator(_class)] = Field(
        default=None,
        description="Class of a cluster to make and close, or its name as 'module.Class'.",
    )
    cluster_kwargs: dict[str, Any] = Field(
        default_factory=dict,
        description="What that class is called with.",
    )
    n_workers: Annotated[int, Field(ge=0, le=10_000)] | None = Field(
        default=None,
        description="Workers of an own cluster; by default one for each core of the machine.",
    )
    threads_per_worker: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default=1,
        description="Tasks that each worker of an own cluster runs at once.",
    )
    processes: bool = Field(
        default=True,
        description="Whether the workers of an own cluster are processes, or threads in this one.",
    )
    memory_limit: Annotated[int | str, BeforeValidator(_bytes)] | None = Field(
        default=None,
        description="Bytes for each worker, or a size such as '4GB', or 'auto'; 0 for no limit.",
    )
    resources: dict[str, float] | None = Field(
        default=None,
        description="Dask resources of each own worker, such as {'CPU': 4, 'GPU': 1}.",
    )
    dashboard_address: str | None = Field(
        default="127.0.0.1:0",
        description="Where an own cluster shows its dashboard; None for no dashboard.",
    )
    adapt: Adapt | None = Field(
        default=None,
        description="Bounds between which the number of workers follows the load.",
    )
    security: Any = Field(
        default=None,
        description="A distributed.Security, its settings as a mapping, or True for own TLS.",
    )
    require_tls: bool = Field(
        default=False,
        description="Refuse a scheduler that is not reached by TLS.",
    )
    kill_running: bool = Field(
        default=False,
        description="Whether cancelling a running function restarts its worker process.",
    )
    allowed_failures: int = Field(
        default=3,
        ge=0,
        description="How often a task without retries runs again after its worker died.",
    )
    pack: bool = Field(
        default=True,
        description="Whether short independent calls of one function travel as one Dask task.",
    )
    startup_timeout: float = Field(
        default=60.0,
        gt=0,
        description="Seconds until the scheduler and a first worker must be there.",
    )
    silence: float = Field(
        default=7.0,
        gt=0,
        description="Seconds without an answer of the scheduler after which it counts as lost.",
    )
    resource_patience: float = Field(
        default=30.0,
        ge=0,
        description="Seconds that a task waits for a worker which could run it at all.",
    )
    grace: float = Field(
        default=5.0,
        ge=0,
        le=20,
        description="Seconds between SIGTERM and SIGKILL when work is cancelled.",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        given = self.model_fields_set
        chosen = [name for name in _CONNECT if getattr(self, name) is not None]
        if len(chosen) > 1:
            raise ValueError(f"{' and '.join(chosen)} both say which cluster: give one of them")
        if chosen and (own := [name for name in _OWN if name in given]):
            raise ValueError(
                f"{', '.join(own)} shape a cluster of the backend's own: not with {chosen[0]}"
                + (" (use cluster_kwargs)" if chosen == ["cluster_class"] else "")
            )
        if self.cluster_kwargs and self.cluster_class is None:
            raise ValueError("cluster_kwargs are for a cluster_class, and none is given")
        if self.adapt is not None:
            if chosen and chosen != ["cluster_class"]:
                raise ValueError(
                    f"adapt changes a cluster, which is not ours to do with {chosen[0]}"
                )
            if self.n_workers is not None:
                raise ValueError("n_workers and adapt both say how many workers: give one of them")
        if self.adapt is not None and (self.resources or {}).get("GPU"):
            raise ValueError(
                "adapt makes workers with ever new numbers, by which GPUs cannot be told apart: "
                "give n_workers with GPU in resources"
            )
        for name, amount in (self.resources or {}).items():
            if amount < 0:
                raise ValueError(f"resources: {name} must not be negative")
        if self.kill_running and not self.processes:
            raise ValueError("kill_running ends worker processes: not with processes=False")
        return self


def import_class(value: Any) -> Any:
    """The class that a validated ``cluster_class`` names.

    Raises:
        ImportError, AttributeError: it is not there.
    """
    if not isinstance(value, str):
        return value
    module, _, name = value.replace(":", ".").rpartition(".")
    return getattr(importlib.import_module(module), name)
