"""The settings of the backends of this distribution."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)
from radical.asyncflow.config import closest
from radical.asyncflow.errors import ConfigurationError
from radical.asyncflow.model import parse_duration, parse_size

from ._site.systems import LAUNCHERS, SYSTEMS, System

__all__ = ["ParslConfig", "PbsConfig", "SlurmConfig"]

_GIGABYTE = 10**9
_OF_ALL_PROVIDERS = (
    *("nodes_per_block", "init_blocks", "min_blocks", "max_blocks", "launcher", "worker_init"),
)


def _walltime(value: Any) -> str:
    """Return a time as Parsl takes it, ``"HH:MM:SS"``."""
    advice = 'write "HH:MM:SS", "D-HH:MM:SS" or a timedelta'
    # Slurm would read a bare number as minutes, PBS as seconds.
    if not isinstance(value, timedelta) and not (isinstance(value, str) and ":" in value):
        raise ValueError(advice)
    try:
        seconds = parse_duration(value)
    except ConfigurationError:
        raise ValueError(advice) from None
    if not 60 <= seconds < math.inf:
        raise ValueError("must be at least a minute")
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}"


def _bytes(value: Any) -> Any:
    return parse_size(value) if isinstance(value, str) else value


def _one_of(kind: str, known: Any) -> Any:
    def check(value: str) -> str:
        if value not in known:
            raise ValueError(
                f"no {kind} {value!r}{closest(value, known)} (there are: {', '.join(known)})"
            )
        return value

    return AfterValidator(check)


_AtLeastOne = Annotated[int, Field(ge=1)]
_AtLeastZero = Annotated[int, Field(ge=0)]
_Memory = Annotated[int, BeforeValidator(_bytes), Field(ge=1)]
_Walltime = Annotated[
    str,
    BeforeValidator(_walltime),
    WithJsonSchema({"type": "string"}),
]


class _Blocks(BaseModel):
    """The settings that all backends of this distribution have."""

    model_config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)
    _queue_word: ClassVar[str] = "queue"
    _account_word: ClassVar[str] = "account"

    nodes_per_block: _AtLeastOne = Field(
        default=1, description="Nodes of a block, which is one job of the batch system."
    )
    init_blocks: _AtLeastZero = Field(
        default=1, description="Blocks that are asked for at the start, before there is a task."
    )
    min_blocks: _AtLeastZero = Field(
        default=0, description="Blocks that are kept, even if they have nothing to do."
    )
    max_blocks: _AtLeastOne = Field(default=1, description="The most blocks at a time.")
    walltime: _Walltime | None = Field(
        default=None,
        description="How long a block may run: 'HH:MM:SS', 'D-HH:MM:SS' or a timedelta. By default "
        "1 hour.",
    )
    cores_per_node: _AtLeastOne | None = Field(
        default=None, description="Cores to ask for on each node; by default what the site gives."
    )
    gpus_per_node: _AtLeastZero | None = Field(
        default=None, description="GPUs to ask for on each node."
    )
    cores_per_worker: _AtLeastOne = Field(
        default=1, description="Cores of a worker, which runs one task at a time."
    )
    gpus_per_worker: _AtLeastZero | None = Field(
        default=None,
        description="At most so many workers as there are GPUs, divided by this, run on a node.",
    )
    memory_per_worker: _Memory | None = Field(
        default=None,
        description="At most so many workers as have this much memory run on a node: bytes, or a "
        "size such as '4GB'.",
    )
    max_workers_per_node: _AtLeastOne | None = Field(
        default=None, description="The most workers of a node."
    )
    worker_init: str = Field(
        default="",
        description="Lines of a shell that run on a node before the workers, such as 'module load "
        "python; source env/bin/activate'.",
    )
    launcher: Annotated[str, _one_of("launcher", LAUNCHERS)] | None = Field(
        default=None,
        description="What starts the workers on all nodes of a block: 'srun', 'mpiexec', "
        "'single_node' and others. By default as usual for the batch system.",
    )
    scheduler_options: str = Field(
        default="", description="Lines for the head of the batch script, such as '#SBATCH -C gpu'."
    )
    address: str | None = Field(
        default=None,
        description="The address of this machine at which the nodes reach it; by default each of "
        "its addresses is tried.",
    )
    encrypted: bool = Field(default=True, description="Whether what travels is encrypted.")
    idle_seconds: float = Field(
        default=120.0, ge=0, description="Seconds after which a block with nothing to do is ended."
    )
    connect_timeout: float = Field(
        default=120.0,
        gt=0,
        description="Seconds that the nodes of a block may take to connect, once it runs.",
    )
    grace: float = Field(
        default=5.0,
        ge=0,
        le=20,
        description="Seconds between SIGTERM and SIGKILL when work is cancelled.",
    )
    mpi_launcher: str | None = Field(
        default=None, description="What starts the ranks of MPI on the nodes; by default mpiexec."
    )
    forward_logs: bool = Field(
        default=True,
        description="Whether log records of functions come to the program's own logging.",
    )
    provider_options: dict[str, Any] = Field(
        default_factory=dict, description="More parameters of Parsl's provider."
    )

    @property
    def system(self) -> str:
        """The key of the batch system in `SYSTEMS`."""
        raise NotImplementedError

    def words(self) -> dict[str, Any]:
        """Return the settings that are about a node's place in the queue, by their names here."""
        names = ("cores_per_node", "gpus_per_node", "walltime")
        found = {name: getattr(self, name) for name in names}
        found["scheduler_options"] = self.scheduler_options
        return {name: value for name, value in found.items() if value not in (None, "")}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.max_blocks < max(self.min_blocks, self.init_blocks):
            raise ValueError("max_blocks must not be less than min_blocks or init_blocks")
        if self.cores_per_node is not None and self.cores_per_worker > self.cores_per_node:
            raise ValueError("cores_per_worker must not be more than cores_per_node")
        if self.launcher in ("simple", "single_node") and self.nodes_per_block > 1:
            raise ValueError(
                f"launcher {self.launcher!r} starts workers on one node, and nodes_per_block is "
                f"{self.nodes_per_block}"
            )
        system = SYSTEMS[self.system]
        self._is_no_option(system)
        unknown = [name for name in self.words() if name not in system.words]
        if unknown:
            raise ValueError(
                f"{', '.join(unknown)}: Parsl's {system.provider} has no such setting; give what "
                "it has as provider_options or scheduler_options"
            )
        return self

    def _is_no_option(self, system: System) -> None:
        """Refuse options for the provider that a setting says already, or would overrule."""
        own = {theirs: ours for ours, theirs in system.words.items()}
        own |= {name: name for name in _OF_ALL_PROVIDERS}
        for option in self.provider_options:
            setting = own.get(option)
            if setting is not None:
                names = {"queue": self._queue_word, "account": self._account_word}
                raise ValueError(
                    f"provider_options: give {option!r} as the setting "
                    f"{names.get(setting, setting)!r}"
                )


class ParslConfig(_Blocks):
    """The settings of ``create_backend("parsl", config=...)``."""

    config: Any = Field(
        default=None,
        description="A configuration of Parsl for this site: a parsl.Config, a file that holds "
        "one, or 'module:name'. It says what the other settings would, from provider to "
        "scheduler_options.",
    )
    provider: Annotated[str, _one_of("provider", SYSTEMS)] = Field(
        default="local", description="The batch system; 'local' is this machine."
    )
    queue: str | None = Field(default=None, description="Queue, or partition, to wait in.")
    account: str | None = Field(default=None, description="Account, or project, to charge.")

    @property
    def system(self) -> str:
        return self.provider

    def words(self) -> dict[str, Any]:
        both = {"queue": self.queue, "account": self.account}
        return {**super().words(), **{key: value for key, value in both.items() if value}}

    @model_validator(mode="after")
    def _is_given_once(self) -> Self:
        if self.config is None:
            return self
        own = ("idle_seconds", "connect_timeout", "grace", "mpi_launcher", "forward_logs")
        extra = [name for name in self.model_fields_set if name not in ("config", *own)]
        if extra:
            raise ValueError(
                f"config says what {', '.join(sorted(extra))} would say: give one of the two"
            )
        if isinstance(self.config, str | Path):
            text = str(self.config)
            if ":" not in text and not Path(text).is_file():
                raise ValueError(
                    f"config: {text!r} is neither a file nor 'module:name' of a parsl.Config"
                )
        return self


class SlurmConfig(_Blocks):
    """The settings of ``create_backend("slurm", config=...)``."""

    _queue_word: ClassVar[str] = "partition"

    partition: str | None = Field(default=None, description="Partition to wait in.")
    account: str | None = Field(default=None, description="Account to charge.")
    qos: str | None = Field(default=None, description="Quality of service.")
    constraint: str | None = Field(
        default=None, description="Features that the nodes must have, such as 'gpu'."
    )
    exclusive: bool = Field(
        default=True, description="Whether other jobs are kept off the nodes of a block."
    )
    memory_per_node: _Memory | None = Field(
        default=None,
        description="Memory to ask for on each node: bytes, or a size such as '64GB'.",
    )

    @property
    def system(self) -> str:
        return "slurm"

    def words(self) -> dict[str, Any]:
        memory = self.memory_per_node and max(1, self.memory_per_node // _GIGABYTE)
        own = {
            "queue": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "memory_per_node": memory,
        }
        found = {**super().words(), **{key: value for key, value in own.items() if value}}
        return {**found, "exclusive": self.exclusive}


class PbsConfig(_Blocks):
    """The settings of ``create_backend("pbs", config=...)``."""

    _account_word: ClassVar[str] = "project"

    queue: str | None = Field(default=None, description="Queue to wait in.")
    project: str | None = Field(default=None, description="Project to charge.")
    select_options: str = Field(
        default="", description="More for the select statement, such as 'ngpus=4'."
    )
    system_version: Literal["pbspro", "torque"] = Field(
        default="pbspro", description="Which PBS it is: 'pbspro' (also OpenPBS) or 'torque'."
    )

    @property
    def system(self) -> str:
        return self.system_version

    def words(self) -> dict[str, Any]:
        own = {
            "queue": self.queue,
            "account": self.project,
            "select_options": self.select_options,
        }
        return {**super().words(), **{key: value for key, value in own.items() if value}}
