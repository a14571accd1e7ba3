"""From the settings to the pilot that will be submitted.  Reads configurations, starts nothing."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radical.asyncflow.backend import Resources
from radical.asyncflow.errors import BackendStartError, ConfigurationError

from .._host.environment import is_plain
from .catalogue import find_resource, find_schema

if TYPE_CHECKING:
    from ..config import RadicalConfig

__all__ = ["NAME_PROBLEM", "PilotPlan", "check_plan", "plan_pilot"]

_AGENT_PROGRAM = "radical-pilot-agent_0"
NAME_PROBLEM = (
    "RADICAL-Pilot's shell scripts cannot use a path with spaces, quotes or other characters "
    "beside letters, digits and ._-+=@%,"
)


_BINDERS = frozenset({"SRUN", "JSRUN", "FLUX"})
"""RADICAL-Pilot's names for launchers that are told how many GPUs a rank has."""


@dataclass(frozen=True, slots=True)
class PilotPlan:
    """A pilot, and what is known about it before it is submitted.

    Attributes:
        description: attributes of `radical.pilot.PilotDescription`.
        nodes, cores, gpus: what the pilot will have in all; *nodes* is 0 if unknown.
        memory_per_node: in MB; 0 if unknown.
        shared: the folder for what the program and the nodes exchange.  It may contain
            variables that are not set here.
        missing: settings without which RADICAL-Pilot would not submit the pilot.
        launchers: RADICAL-Pilot's names for the ways to start tasks there.
        most_workers, worker_cores: the setting ``raptor``; 0 where it says nothing.
    """

    description: dict[str, Any]
    nodes: int
    cores: int
    gpus: int
    cores_per_node: int
    gpus_per_node: int
    memory_per_node: int
    job_manager: str
    filesystem: str
    shared: str
    missing: tuple[str, ...]
    launchers: tuple[str, ...]
    most_workers: int
    worker_cores: int

    @property
    def label(self) -> str:
        """The name of the resource in RADICAL-Pilot."""
        return str(self.description["resource"])

    @property
    def is_local(self) -> bool:
        """True if the pilot is on this machine only."""
        return self.label.startswith("local.")

    @property
    def is_queued(self) -> bool:
        """True if the pilot waits in the queue of a batch system."""
        return not self.job_manager.startswith(("fork://", "ssh://"))

    @property
    def binds_gpus(self) -> bool:
        """True if what starts the tasks shows each of them its own GPUs only."""
        return not _BINDERS.isdisjoint(self.launchers)

    def worker_resources(self, asked: Resources) -> Resources:
        """Return what a worker gets if the functions that it runs ask for *asked*."""
        return replace(asked, cores=max(asked.cores, self.worker_cores))

    def most_workers_with(self, resources: Resources) -> int:
        """Return how many workers with these *resources* there may be at a time."""
        limits = [self.cores // resources.cores]
        if resources.gpus:
            per_gpu = int(1 / resources.gpus + 1e-9)  # a part is of one GPU
            limits.append(self.gpus * per_gpu if per_gpu else self.gpus // int(resources.gpus))
        if self.most_workers:
            limits.append(self.most_workers)
        return max(1, min(limits))


def plan_pilot(config: RadicalConfig) -> PilotPlan:
    """Return the pilot that these settings ask for.

    Raises:
        ConfigurationError: they do not fit RADICAL-Pilot's configuration of the resource.
    """
    resource = find_resource(config.resource)
    schema = find_schema(config.resource, resource, config.access_schema)
    job_manager = str(schema.get("job_manager_endpoint") or "")
    architecture = resource.get("system_architecture") or {}
    node_cores = int(resource.get("cores_per_node") or 0) * int(architecture.get("smt") or 1)
    node_gpus = int(resource.get("gpus_per_node") or 0)
    _check_node_size(config, node_cores, node_gpus)
    usable_cores = node_cores - len(architecture.get("blocked_cores") or ())
    usable_gpus = node_gpus - len(architecture.get("blocked_gpus") or ())
    _check_workers(config, usable_cores)
    size = _size(config, node_cores, job_manager)
    description = _describe(config, size)
    nodes = size.get("nodes") or _nodes_for(size, usable_cores, usable_gpus)
    return PilotPlan(
        description=description,
        nodes=nodes,
        cores=nodes * usable_cores or size.get("cores", 0),
        gpus=nodes * usable_gpus or size.get("gpus", 0),
        cores_per_node=usable_cores or config.cores_per_node or size.get("cores", 0),
        gpus_per_node=usable_gpus or config.gpus_per_node or size.get("gpus", 0),
        memory_per_node=int(resource.get("mem_per_node") or 0),
        job_manager=job_manager,
        filesystem=str(schema.get("filesystem_endpoint") or ""),
        shared=_shared_folder(resource, description),
        missing=_missing_settings(resource, description),
        launchers=_launchers(resource),
        most_workers=config.raptor.workers or 0,
        worker_cores=config.raptor.cores_per_worker or 0,
    )


def check_plan(plan: PilotPlan, backend: str) -> None:
    """Check that the pilot of *plan* could start here and now.

    Raises:
        ConfigurationError: a setting is missing or does not fit this machine.
        BackendStartError: this installation of RADICAL-Pilot is not complete.
    """
    if plan.missing:
        raise ConfigurationError(
            f"resource {plan.label!r} demands {', '.join(plan.missing)}: add it to the config of "
            f"backend {backend!r}"
        )
    if not plan.filesystem.startswith("file://"):
        raise ConfigurationError(
            f"the files of resource {plan.label!r} are at {plan.filesystem!r}: run the program on "
            "the machine itself (its login node), with an access_schema whose filesystem_endpoint "
            "begins with file://"
        )
    if not plan.is_local and (not plan.shared or "$" in plan.shared or "%" in plan.shared):
        raise ConfigurationError(
            f"resource {plan.label!r} keeps its files in {plan.shared!r}, which is no folder on "
            f"this machine: give backend {backend!r} a sandbox=, a folder that the nodes share"
        )
    _check_names(plan)
    agent = Path(sys.executable).parent / _AGENT_PROGRAM
    if not agent.exists():
        raise BackendStartError(
            f"no pilot could start, because RADICAL-Pilot's {_AGENT_PROGRAM!r} is not beside this "
            f"interpreter ({agent.parent}): install radical.pilot into this environment"
        )


def _describe(config: RadicalConfig, size: Mapping[str, int]) -> dict[str, Any]:
    optional = {
        key: value
        for key in ("queue", "project", "access_schema", "sandbox")
        if (value := getattr(config, key)) is not None
    }
    return {
        "resource": config.resource,
        **size,
        "runtime": config.walltime,
        "exit_on_error": False,
        **optional,
        **config.pilot,
    }


def _nodes_for(size: Mapping[str, int], usable_cores: int, usable_gpus: int) -> int:
    """Return how many nodes have the cores and GPUs of *size*; 0 if node sizes are unknown."""
    shares = [size["cores"] / usable_cores] if usable_cores else []
    shares += [size.get("gpus", 0) / usable_gpus] if usable_gpus else []
    return math.ceil(max(shares, default=0))


def _check_names(plan: PilotPlan) -> None:
    chosen = plan.description.get("sandbox") or ("" if plan.is_local else plan.shared)
    if not is_plain(chosen):
        raise ConfigurationError(
            f"sandbox={str(chosen)!r}: {NAME_PROBLEM}; choose another folder as sandbox"
        )
    if not is_plain(sys.prefix):
        raise BackendStartError(
            f"the Python environment {sys.prefix!r}: {NAME_PROBLEM}; make the environment in "
            "another folder"
        )


def _missing_settings(
    resource: Mapping[str, Any], description: Mapping[str, Any]
) -> tuple[str, ...]:
    mandatory = resource.get("mandatory_args") or ()
    missing = [key for key in mandatory if description.get(key) is None]
    # The folder for files is named after the project where the user chooses no folder.
    if "pd.project" in str(resource.get("default_remote_workdir")) and not (
        description.get("project") or description.get("sandbox") or "project" in missing
    ):
        missing.append("project")
    return tuple(missing)


def _launchers(resource: Mapping[str, Any]) -> tuple[str, ...]:
    known = resource.get("launch_methods") or {}
    return tuple(known.get("order") or (name for name in known if name.isupper()))


def _shared_folder(resource: Mapping[str, Any], description: Mapping[str, Any]) -> str:
    """Return the folder that the nodes share, in which RADICAL-Pilot keeps its own files, too."""
    folder = str(description.get("sandbox") or resource.get("default_remote_workdir") or "")
    for key, value in description.items():
        folder = folder.replace(f"%(pd.{key})s", str(value))
    return os.path.expandvars(folder)


def _check_node_size(config: RadicalConfig, cores: int, gpus: int) -> None:
    label = config.resource
    differences = [
        f"{key}={expected}, but RADICAL-Pilot's configuration of {label!r} says {known}"
        for key, expected, known in (
            ("cores_per_node", config.cores_per_node, cores),
            ("gpus_per_node", config.gpus_per_node, gpus),
        )
        # A configuration without node sizes has nothing to compare with.
        if cores and expected is not None and expected != known
    ]
    if differences:
        raise ConfigurationError(
            f"{'; '.join(differences)}: leave the setting out, or correct the node size in a "
            f"configuration of your own for {label!r}"
        )


def _check_workers(config: RadicalConfig, usable_cores: int) -> None:
    wanted = config.raptor.cores_per_worker or 0
    if usable_cores and wanted > usable_cores:
        raise ConfigurationError(
            f"raptor: a worker needs cores_per_worker={wanted} cores of one node, and a node of "
            f"{config.resource!r} has {usable_cores} cores"
        )


def _size(config: RadicalConfig, node_cores: int, job_manager: str) -> dict[str, int]:
    """Return the attributes that say how large the pilot is."""
    label = config.resource
    if config.nodes is not None:
        if node_cores:
            return {"nodes": config.nodes}
        if config.cores_per_node is None:
            raise ConfigurationError(
                f"RADICAL-Pilot does not know the node size of {label!r}: give cores_per_node "
                "beside nodes, or give cores"
            )
        size = {"cores": config.nodes * config.cores_per_node}
        if config.gpus_per_node:
            size["gpus"] = config.nodes * config.gpus_per_node
        return size
    if config.cores is not None:
        return {"cores": config.cores, **({"gpus": config.gpus} if config.gpus else {})}
    if label.startswith("local.") or job_manager.startswith("fork://"):
        return {"nodes": 1} if node_cores else {"cores": 1}
    raise ConfigurationError(
        f"how large a pilot do you need on {label!r}? Give nodes=... or cores=..."
        + (f" (a node has {node_cores} cores)" if node_cores else "")
    )
