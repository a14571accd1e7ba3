"""The batch systems that Parsl knows, and its words for the settings of this backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["LAUNCHERS", "ONE_NODE", "SYSTEMS", "System"]

LAUNCHERS: Mapping[str, str] = {
    "simple": "SimpleLauncher",
    "single_node": "SingleNodeLauncher",
    "srun": "SrunLauncher",
    "srun_mpi": "SrunMPILauncher",
    "mpiexec": "MpiExecLauncher",
    "mpirun": "MpiRunLauncher",
    "aprun": "AprunLauncher",
    "jsrun": "JsrunLauncher",
    "gnu_parallel": "GnuParallelLauncher",
}
"""Parsl's classes for starting a worker pool on each node of a block, by the names used here."""

ONE_NODE = frozenset({"simple", "single_node"})
"""Those that start one on the first node alone."""


@dataclass(frozen=True, slots=True)
class System:
    """A batch system, as one of Parsl's providers.

    Attributes:
        provider: the name of the class in ``parsl.providers``.
        words: its parameters, by the names of settings; a setting that is missing here is
            refused.
        launcher: what starts the pools by default.
        asks: how the state of a job is asked for: a name that `job_state` knows; "" for none.
        queued: a job may have to wait.
    """

    provider: str
    words: Mapping[str, str] = field(default_factory=dict)
    launcher: str = "single_node"
    asks: str = ""
    queued: bool = True


_COMMON = {"walltime": "walltime", "scheduler_options": "scheduler_options"}
_PBS = {**_COMMON, "queue": "queue", "account": "account"}

SYSTEMS: Mapping[str, System] = {
    "local": System("LocalProvider", queued=False),
    "slurm": System(
        "SlurmProvider",
        {
            **_COMMON,
            "queue": "partition",
            "account": "account",
            "cores_per_node": "cores_per_node",
            "gpus_per_node": "gpus_per_node",
            "memory_per_node": "mem_per_node",
            "qos": "qos",
            "constraint": "constraint",
            "exclusive": "exclusive",
        },
        launcher="srun",
        asks="slurm",
    ),
    "pbspro": System(
        "PBSProProvider",
        {**_PBS, "cores_per_node": "cpus_per_node", "select_options": "select_options"},
        launcher="mpiexec",
        asks="pbs",
    ),
    "torque": System("TorqueProvider", _PBS, launcher="mpiexec", asks="pbs"),
    "lsf": System(
        "LSFProvider",
        {**_COMMON, "queue": "queue", "account": "project", "cores_per_node": "cores_per_node"},
        launcher="jsrun",
        asks="lsf",
    ),
    "grid_engine": System("GridEngineProvider", {**_COMMON, "queue": "queue"}, asks="grid_engine"),
    "htcondor": System(
        "CondorProvider",
        {**_COMMON, "account": "project", "cores_per_node": "cores_per_slot"},
    ),
}
"""The systems by the names that the setting ``provider`` takes."""
