"""From a task to the attributes of `radical.pilot.TaskDescription`, and whether it can run."""

from __future__ import annotations

import math
import shlex
import shutil
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from radical.asyncflow.backend import Resources, TaskKind, TaskSpec
from radical.asyncflow.config import closest
from radical.asyncflow.errors import ResourceError, UnsupportedOptionError
from radical.asyncflow.worker import FreeGpus, file_stem

from .._host.environment import plain_path
from .._pilot.plan import PilotPlan

__all__ = [
    "check_description",
    "check_kind",
    "check_resources",
    "describe",
]

_MEGABYTE = 2**20
_LAUNCHER_PROGRAMS = {"MPIEXEC": "mpiexec", "MPIRUN": "mpirun"}
_RAPTOR = "functions have workers of the backend's own; use a function task"
_INSTEAD = {
    "uid": "the backend names the tasks",
    "mode": "the kind of the task decides it",
    "executable": "the command is what the task's body returns",
    "arguments": "the command is what the task's body returns",
    "command": "the command is what the task's body returns",
    "stdout": "use capture_stdio=True",
    "stderr": "use capture_stdio=True",
    "info_pattern": "use info_pattern=, beside service=True",
    "startup_timeout": "use timeout=, which for a service counts until it is up",
    "pilot": "the backend has one pilot at a time",
    "raptor_id": _RAPTOR,
    "raptor_class": _RAPTOR,
    "raptor_file": _RAPTOR,
    "scheduler": _RAPTOR,
    "worker_class": _RAPTOR,
    "worker_file": _RAPTOR,
    "function": "use a function task",
    "args": "use a function task",
    "kwargs": "use a function task",
    "code": "use a function task",
}


def check_description(spec: TaskSpec, known: Collection[str]) -> None:
    """Check the ``task_description`` of *spec*, of which RADICAL-Pilot knows the keys *known*.

    Raises:
        UnsupportedOptionError: names every key that is unknown or the backend's own.
    """
    problems = []
    for key in spec.description:
        if key in _INSTEAD:
            problems.append(f"{key!r} is not for task_description: {_INSTEAD[key]}")
        elif key not in known:
            problems.append(
                f"radical.pilot.TaskDescription has no attribute {key!r}{closest(key, known)}"
            )
    if problems:
        raise UnsupportedOptionError(f"task {spec.name!r}: {'; '.join(problems)}")


def check_kind(spec: TaskSpec, plan: PilotPlan, backend: str) -> None:
    """Raise UnsupportedOptionError if the pilot of *plan* has no way to start *spec*."""
    is_function = spec.kind is TaskKind.FUNCTION
    if is_function and spec.resources.ranks > 1 and plan.is_local and not find_spec("mpi4py"):
        raise UnsupportedOptionError(
            f"task {spec.name!r}: a function with ranks needs mpi4py: pip install mpi4py, or "
            "radical.asyncflow[mpi]"
        )
    if spec.resources.ranks > 1 and plan.is_local:
        # RADICAL-Pilot would let the task fail, or wait for ever.
        known = _LAUNCHER_PROGRAMS
        programs = [known[name] for name in plan.launchers if name in known]
        if not any(shutil.which(program, path=plain_path()) for program in programs):
            wanted = " or ".join(programs) or "a launcher, which its configuration does not name"
            raise UnsupportedOptionError(
                f"task {spec.name!r}: ranks={spec.resources.ranks} needs {wanted} on the PATH of "
                f"backend {backend!r}; install an MPI (pip install mpich)"
            )


def check_resources(spec: TaskSpec, plan: PilotPlan) -> None:
    """Raise ResourceError if the pilot of *plan* can never have what *spec* asks for."""
    asked = spec.resources
    node = "one node"
    ranks = f"ranks={asked.ranks} × "
    limits = (
        (f"cores={asked.cores}", asked.cores, plan.cores_per_node, node),
        (f"gpus={asked.gpus}", asked.gpus, plan.gpus_per_node, node),
        (
            f"memory={asked.memory}",
            asked.memory,
            plan.memory_per_node * _MEGABYTE or asked.memory,
            node,
        ),
        (f"{ranks}cores={asked.cores}", asked.total_cores, plan.cores, "the pilot"),
        (f"{ranks}gpus={asked.gpus}", asked.total_gpus, plan.gpus, "the pilot"),
    )
    problems = [
        f"{what}, and {where} has {there}"
        for what, wanted, there, where in limits
        if wanted > there
    ]
    if not (problems or FreeGpus(range(plan.gpus)).could_fit(asked.gpus, asked.ranks)):
        problems.append(
            f"gpus={asked.gpus} for each of {asked.ranks} ranks, each on one GPU, and the pilot "
            f"has {plan.gpus}"
        )
    if problems:
        raise ResourceError(f"task {spec.name!r} asks for {'; '.join(problems)}")


def describe(
    uid: str,
    name: str,
    script: str,
    resources: Resources,
    more: Mapping[str, Any],
    environment: Path,
) -> dict[str, Any]:
    """Return the attributes of a task.

    Args:
        more: the user's own ``task_description``.
        environment: the script with the environment of the program.
    """
    steps = more.get("pre_exec") or []
    description: dict[str, Any] = {
        **{key: value for key, value in more.items() if key != "info_pattern"},
        "pre_exec": [
            f". {shlex.quote(str(environment))}",
            *(steps if isinstance(steps, list | tuple) else [steps]),
        ],
        "uid": uid,
        "name": file_stem(name),
        "executable": script,
        "ranks": resources.ranks,
        "cores_per_rank": resources.cores,
    }
    if resources.gpus:
        description["gpus_per_rank"] = float(resources.gpus)
    if resources.memory:
        description["mem_per_rank"] = math.ceil(resources.memory / _MEGABYTE)
    return description
