"""The settings of the Dask backend."""

from __future__ import annotations

import importlib
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from radical.asyncflow.model import parse_size
from radical.asyncflow.worker import MpiLauncher

from .adapt import Adapt, unknown_words

__all__ = ["Adapt", "DaskConfig", "import_class"]

_WHICH_CLUSTER = ("client", "cluster", "address", "scheduler_file", "cluster_class")
_LOCAL_CLUSTER_ONLY = (
    "n_workers",
    "threads_per_worker",
    "processes",
    "memory_limit",
    "resources",
    "dashboard_address",
)


def _size_in_bytes(value: Any) -> Any:
    return parse_size(value) if isinstance(value, str) and value != "auto" else value


def _class_or_name(value: Any) -> Any:
    """Check the form of ``"module.Class"`` or ``"module:Class"``; the start imports it."""
    if isinstance(value, str):
        module, _, name = value.replace(":", ".").rpartition(".")
        if not module or not name:
            raise ValueError(f"must have the form 'module.Class', not {value!r}")
    elif not callable(value):
        raise ValueError("must be a class, or its name such as 'dask_jobqueue.SLURMCluster'")
    return value


def _mpi_launcher(value: str) -> str:
    MpiLauncher.read(value)  # whether there is one, its workers know
    return value


class DaskConfig(BaseModel):
    """The settings for ``create_backend("dask", config=...)``.

    At most one of `client`, `cluster`, `address`, `scheduler_file` and `cluster_class`
    says which cluster is used.  Without one the backend starts a local cluster.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, strict=True)

    client: Any = Field(
        default=None,
        description="A `distributed.Client` whose scheduler is used. It is never closed.",
    )
    cluster: Any = Field(
        default=None,
        description="A running cluster, such as `LocalCluster(...)`. It is never closed.",
    )
    address: str | None = Field(
        default=None,
        min_length=1,
        description="The address of a scheduler, such as `'tcp://host:8786'` or "
        "`'tls://host:8786'`.",
    )
    scheduler_file: str | None = Field(
        default=None,
        min_length=1,
        description="The file into which a scheduler writes its address; the backend waits for it.",
    )
    cluster_class: Annotated[Any, BeforeValidator(_class_or_name)] = Field(
        default=None,
        description="The class of a cluster to make and close, or its name: "
        "`'dask_jobqueue.SLURMCluster'`, `'dask_kubernetes.operator.KubeCluster'`.",
    )
    cluster_kwargs: dict[str, Any] = Field(
        default_factory=dict,
        description="The keyword arguments for `cluster_class`.",
    )
    n_workers: Annotated[int, Field(ge=0, le=10_000)] | None = Field(
        default=None,
        description="Worker processes; by default one for each core of the machine.",
    )
    threads_per_worker: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default=1,
        description="Tasks that a worker runs at once.",
    )
    processes: bool = Field(
        default=True,
        description="Whether the workers are processes. If not, there is one worker in threads of "
        "your program, which starts at once.",
    )
    memory_limit: Annotated[int | str, BeforeValidator(_size_in_bytes)] | None = Field(
        default=None,
        description="The memory of each worker: a number, a size such as `'4GB'`, or `'auto'`; 0 "
        "for no limit. By default what Dask chooses.",
        json_schema_extra={"unit": "bytes"},
    )
    resources: dict[str, float] | None = Field(
        default=None,
        description="Dask resources of each worker, instead of its share of the machine: "
        "`{'CPU': 4, 'GPU': 0.5, 'MEMORY': 8e9}`, or some of these.",
    )
    dashboard_address: str | None = Field(
        default="127.0.0.1:0",
        description="Where the cluster shows its dashboard; `None` for no dashboard.",
    )
    adapt: Adapt | None = Field(
        default=None,
        description="The bounds between which the number of workers follows the load, instead of "
        "`n_workers`, and what else the method `adapt` of the cluster's class takes, such as "
        "`maximum_jobs`. Also with `cluster_class`.",
    )
    security: Any = Field(
        default=None,
        description="A `distributed.Security`, its settings as a mapping, or `True` for TLS of its "
        "own.",
    )
    require_tls: bool = Field(
        default=False,
        description="Whether a scheduler without TLS is refused.",
    )
    kill_running: bool = Field(
        default=False,
        description="Whether the cancellation of a running function restarts its worker process.",
    )
    allowed_failures: int = Field(
        default=3,
        ge=0,
        description="How often a task without retries runs again after its worker died.",
    )
    pack: bool = Field(
        default=True,
        description="Whether short calls of one function may share a Dask task.",
    )
    startup_timeout: float = Field(
        default=60.0,
        gt=0,
        description="The time in which a scheduler and a first worker must be there.",
        json_schema_extra={"unit": "seconds"},
    )
    silence: float = Field(
        default=7.0,
        gt=0,
        description="The time without an answer after which the scheduler counts as lost.",
        json_schema_extra={"unit": "seconds"},
    )
    resource_patience: float = Field(
        default=30.0,
        ge=0,
        description="How long a task waits for a worker with the resources that it asks for.",
        json_schema_extra={"unit": "seconds"},
    )
    mpi_launcher: Annotated[str, AfterValidator(_mpi_launcher)] | None = Field(
        default=None,
        description="What starts the ranks of MPI on a worker: a program with its options, or a "
        "command such as `srun -n {ranks} -c {cores}`; `mpiexec` or `mpirun` by default.",
    )
    forward_logs: bool = Field(
        default=True,
        description="Whether log records of functions come to the program's own logging, with "
        "their level and logger.",
    )
    grace: float = Field(
        default=5.0,
        ge=0,
        le=20,
        description="The time from SIGTERM to SIGKILL when a running command is cancelled.",
        json_schema_extra={"unit": "seconds"},
    )

    @property
    def is_local(self) -> bool:
        """True if the backend starts a local cluster."""
        return not self._chosen()

    def _chosen(self) -> list[str]:
        """Return which settings say which cluster is used; one at the most is valid."""
        return [name for name in _WHICH_CLUSTER if getattr(self, name) is not None]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        self._check_which_cluster()
        self._check_adapt()
        for name, amount in (self.resources or {}).items():
            if amount < 0:
                raise ValueError(f"resources: {name} must not be negative")
            if name == "GPU" and amount > 1 and not float(amount).is_integer():
                raise ValueError("resources: GPU must be a whole number, or a part of one GPU")
        if self.kill_running and not self.processes:
            raise ValueError("kill_running ends worker processes, and processes=False has none")
        return self

    def _check_which_cluster(self) -> None:
        chosen = self._chosen()
        if len(chosen) > 1:
            raise ValueError(f"{' and '.join(chosen)} each say which cluster: give one of them")
        if chosen and (local := [n for n in _LOCAL_CLUSTER_ONLY if n in self.model_fields_set]):
            raise ValueError(
                f"{', '.join(local)} describe a local cluster, and {chosen[0]} names another; "
                + (
                    "put them into cluster_kwargs"
                    if chosen == ["cluster_class"]
                    else f"leave them out, or leave {chosen[0]} out"
                )
            )
        if self.cluster_kwargs and self.cluster_class is None:
            raise ValueError("cluster_kwargs are for a cluster_class, and none is given")

    def _check_adapt(self) -> None:
        if self.adapt is None:
            return
        chosen = self._chosen()
        if chosen and chosen != ["cluster_class"]:
            raise ValueError(
                f"adapt resizes a cluster that the backend starts, and {chosen[0]} names one "
                "that is not ours"
            )
        if self.n_workers is not None:
            raise ValueError("n_workers and adapt both say how many workers: give one of them")
        if (self.resources or {}).get("GPU"):
            raise ValueError(
                "adapt gives new workers ever new numbers, by which GPUs cannot be assigned: "
                "give n_workers with GPU in resources"
            )
        if problem := self.adapt.problem():
            raise ValueError(problem)
        if isinstance(self.cluster_class, str):
            return  # the start imports it, and looks then
        if self.cluster_class is None and not self.adapt.model_extra:
            return  # without a need Dask is not imported here
        if problem := unknown_words(self.adapt, self.cluster_class or _local_cluster()):
            raise ValueError(problem)


def _local_cluster() -> Any:
    """Return the class of local clusters; this imports Dask."""
    from distributed import LocalCluster

    return LocalCluster


def import_class(value: Any) -> Any:
    """Return the class that a validated ``cluster_class`` names.

    Raises:
        ImportError, AttributeError: it is not there.
    """
    if not isinstance(value, str):
        return value
    module, _, name = value.replace(":", ".").rpartition(".")
    return getattr(importlib.import_module(module), name)
