"""From the settings to the pilot that is submitted; pure, but for reading configurations."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from radical.asyncflow.backend import Resources
from radical.asyncflow.errors import ConfigurationError

from .catalogue import find_resource, schema_of

if TYPE_CHECKING:
    from ..config import RaptorConfig

__all__ = ["PilotPlan", "plan_pilot"]


@dataclass(frozen=True, slots=True)
class PilotPlan:
    """A pilot, and what is known about it before it is there.

    Attributes:
        description: attributes of `radical.pilot.PilotDescription`.
        nodes, cores, gpus: what the pilot will have in all; 0 nodes if unknown.
        queued: a batch system starts it, some day.
        shared: the folder for what program and nodes exchange; variables that are not
            set here are still in it.
        missing: settings without which RADICAL-Pilot refuses to submit it.
        launchers: RADICAL-Pilot's ways to start tasks there.
        most_workers, worker_cores: what the setting ``raptor`` says of workers, or 0.
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
    missing: tuple[str, ...] = field(default=())
    launchers: tuple[str, ...] = ()
    most_workers: int = 0
    worker_cores: int = 0

    def worker(self, resources: Resources) -> Resources:
        """What a worker gets that runs functions which ask for *resources*."""
        return replace(resources, cores=max(resources.cores, self.worker_cores))

    def workers(self, resources: Resources) -> int:
        """How many workers with *resources* there may be at a time."""
        fits = [self.cores // resources.cores]
        if resources.gpus:
            fits.append(self.gpus // resources.gpus)
        if self.most_workers:
            fits.append(self.most_workers)
        return max(1, min(fits))

    @property
    def local(self) -> bool:
        """It is this machine alone."""
        return str(self.description["resource"]).startswith("local.")

    @property
    def queued(self) -> bool:
        return not self.job_manager.startswith(("fork://", "ssh://"))


def plan_pilot(config: Mapping[str, Any]) -> PilotPlan:
    """The pilot for these settings.

    Raises:
        ConfigurationError: they do not fit the resource; names every difference.
    """
    label = config.get("resource", "local.localhost")
    entry = find_resource(label)
    schema = schema_of(label, entry, config.get("access_schema"))
    job_manager = str(schema.get("job_manager_endpoint") or "")
    smt = int((entry.get("system_architecture") or {}).get("smt") or 1)
    blocked = entry.get("system_architecture") or {}
    per_node = int(entry.get("cores_per_node") or 0) * smt
    gpus_per_node = int(entry.get("gpus_per_node") or 0)
    _compare(label, config, per_node, gpus_per_node)
    usable = per_node - len(blocked.get("blocked_cores") or ())
    usable_gpus = gpus_per_node - len(blocked.get("blocked_gpus") or ())

    size = _size(label, config, per_node, job_manager)
    description: dict[str, Any] = {
        "resource": label,
        **size,
        "runtime": config.get("walltime", 60),
        "exit_on_error": False,
    }
    for key in ("queue", "project", "access_schema", "sandbox"):
        if config.get(key) is not None:
            description[key] = config[key]
    description.update(config.get("pilot", {}))

    nodes = size.get("nodes", 0)
    if not nodes:
        wanted = [size["cores"] / usable] if usable else []
        wanted += [size.get("gpus", 0) / usable_gpus] if usable_gpus else []
        nodes = math.ceil(max(wanted, default=0))
    raptor: RaptorConfig | None = config.get("raptor")
    if raptor is not None and usable and (raptor.cores_per_worker or 0) > usable:
        raise ConfigurationError(
            f"raptor: cores_per_worker={raptor.cores_per_worker}, and a node of {label!r} has "
            f"{usable} cores"
        )
    missing = [key for key in entry.get("mandatory_args") or () if description.get(key) is None]
    if "pd.project" in str(entry.get("default_remote_workdir")) and not (
        description.get("project") or description.get("sandbox") or "project" in missing
    ):
        missing.append("project")
    return PilotPlan(
        description=description,
        nodes=nodes,
        cores=nodes * usable or size.get("cores", 0),
        gpus=nodes * usable_gpus or size.get("gpus", 0),
        cores_per_node=usable or config.get("cores_per_node") or size.get("cores", 0),
        gpus_per_node=usable_gpus or config.get("gpus_per_node") or size.get("gpus", 0),
        memory_per_node=int(entry.get("mem_per_node") or 0),
        job_manager=job_manager,
        filesystem=str(schema.get("filesystem_endpoint") or ""),
        shared=_shared(entry, description),
        missing=tuple(missing),
        launchers=_launchers(entry),
        most_workers=(raptor and raptor.workers) or 0,
        worker_cores=(raptor and raptor.cores_per_worker) or 0,
    )


def _launchers(entry: Mapping[str, Any]) -> tuple[str, ...]:
    known = entry.get("launch_methods") or {}
    return tuple(known.get("order") or (name for name in known if name.isupper()))


def _shared(entry: Mapping[str, Any], description: Mapping[str, Any]) -> str:
    """Where RADICAL-Pilot would put its files, too."""
    place = str(description.get("sandbox") or entry.get("default_remote_workdir") or "")
    for key, value in description.items():
        place = place.replace(f"%(pd.{key})s", str(value))
    return os.path.expandvars(place)


def _compare(label: str, config: Mapping[str, Any], cores: int, gpus: int) -> None:
    differences = [
        f"{key}={config[key]}, but RADICAL-Pilot's configuration of {label!r} says {known}"
        for key, known in (("cores_per_node", cores), ("gpus_per_node", gpus))
        # A configuration without node sizes has nothing to compare with.
        if cores and config.get(key) is not None and config[key] != known
    ]
    if differences:
        raise ConfigurationError(
            "; ".join(differences)
            + f": leave it out, or correct the node size in an entry of your own for {label!r}"
        )


def _size(label: str, config: Mapping[str, Any], per_node: int, job_manager: str) -> dict[str, int]:
    """The attributes that say how large the pilot is."""
    nodes, cores = config.get("nodes"), config.get("cores")
    if nodes is not None:
        if per_node:
            return {"nodes": nodes}
        if config.get("cores_per_node") is None:
            raise ConfigurationError(
                f"RADICAL-Pilot does not know the node size of {label!r}: give cores_per_node "
                "beside nodes, or cores"
            )
        size = {"cores": nodes * config["cores_per_node"]}
        if config.get("gpus_per_node"):
            size["gpus"] = nodes * config["gpus_per_node"]
        return size
    if cores is not None:
        gpus = config.get("gpus")
        return {"cores": cores, **({"gpus": gpus} if gpus else {})}
    if label.startswith("local.") or job_manager.startswith("fork://"):
        return {"nodes": 1} if per_node else {"cores": 1}
    raise ConfigurationError(
        f"say how large the pilot on {label!r} is to be: nodes=... or cores=..."
        + (f" (a node has {per_node} cores)" if per_node else "")
    )
