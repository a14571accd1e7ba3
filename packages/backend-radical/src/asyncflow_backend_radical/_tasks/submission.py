"""From a task's request to the attributes of `radical.pilot.TaskDescription`."""

from __future__ import annotations

import codecs
import math
import re
import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from radical.asyncflow._text import closest
from radical.asyncflow.backend import Resources, TaskSpec
from radical.asyncflow.errors import ResourceError, UnsupportedOptionError
from radical.asyncflow.model import TaskKind
from radical.asyncflow.worker import Output

from .._pilot.places import search_path
from .._pilot.plan import PilotPlan
from .services import watch_of

__all__ = [
    "check_description",
    "check_kind",
    "check_resources",
    "describe",
    "file_stem",
    "gather",
    "parts",
    "read_text",
]

_MEGABYTE = 2**20
_LIMIT = 16 * _MEGABYTE
_LAUNCHERS = {"MPIEXEC": "mpiexec", "MPIRUN": "mpirun"}
_RAPTOR = "functions have workers of the backend's own; use a function task"
_OWN = {
    "uid": "the backend names the tasks",
    "mode": "the kind of task says it",
    "executable": "the command is what the task's body returns",
    "arguments": "the command is what the task's body returns",
    "command": "the command is what the task's body returns",
    "environment": "use Command(env=...)",
    "stdout": "use capture_stdio=True",
    "stderr": "use capture_stdio=True",
    "timeout": "use timeout=",
    "startup_timeout": "use timeout=, which counts for a service until it is up",
    "cores_per_rank": "use resources={'cores': ...}",
    "gpus_per_rank": "use resources={'gpus': ...}",
    "mem_per_rank": "use resources={'memory': ...}",
    "ranks": "use resources={'ranks': ...}",
    "cpu_threads": "use resources={'cores': ...}",
    "gpu_processes": "use resources={'gpus': ...}",
    "mem_per_process": "use resources={'memory': ...}",
    "cpu_processes": "use resources={'ranks': ...}",
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
    """Raise UnsupportedOptionError unless *known* holds every key and none is the backend's."""
    problems = []
    for key in spec.description:
        if key in _OWN:
            problems.append(f"{key!r} is not for task_description: {_OWN[key]}")
        elif key not in known:
            problems.append(
                f"radical.pilot.TaskDescription has no attribute {key!r}{closest(key, known)}"
            )
    if "info_pattern" in spec.description and not spec.service:
        problems.append("'info_pattern' is for a task with service=True")
    if problems:
        raise UnsupportedOptionError(f"task {spec.name!r}: {'; '.join(problems)}")
    watch_of(spec)


def check_kind(spec: TaskSpec, plan: PilotPlan, backend: str) -> None:
    """Raise UnsupportedOptionError if the pilot has no way to start *spec*."""
    if spec.kind is TaskKind.FUNCTION:
        if spec.service:
            raise UnsupportedOptionError(
                f"task {spec.name!r}: a service is an executable task on backend {backend!r}"
            )
        if spec.resources.ranks > 1:
            raise UnsupportedOptionError(
                f"task {spec.name!r}: a function runs in one rank on backend {backend!r}; "
                "make it an executable task to start MPI ranks"
            )
    if spec.resources.ranks > 1 and plan.local:
        # RADICAL-Pilot would fail it, or let it wait for ever.
        names = [_LAUNCHERS[name] for name in plan.launchers if name in _LAUNCHERS]
        if not any(shutil.which(name, path=search_path()) for name in names):
            wanted = " or ".join(names) or "a launcher, which its configuration does not name"
            raise UnsupportedOptionError(
                f"task {spec.name!r}: ranks={spec.resources.ranks} needs {wanted} on the PATH of "
                f"backend {backend!r}; install an MPI (pip install mpich)"
            )


def check_resources(spec: TaskSpec, plan: PilotPlan) -> None:
    """Raise ResourceError if the pilot can never have what *spec* asks for."""
    asked = spec.resources
    node = "one node"
    limits = (
        ("cores", asked.cores, plan.cores_per_node, node),
        ("gpus", asked.gpus, plan.gpus_per_node, node),
        ("memory", asked.memory, plan.memory_per_node * _MEGABYTE or asked.memory, node),
        ("ranks × cores", asked.total_cores, plan.cores, "the pilot"),
        ("ranks × gpus", asked.total_gpus, plan.gpus, "the pilot"),
    )
    problems = [
        f"{what}={wanted}, and {where} has {there}"
        for what, wanted, there, where in limits
        if wanted > there
    ]
    if problems:
        raise ResourceError(f"task {spec.name!r} asks for {'; '.join(problems)}")


def describe(
    uid: str, name: str, script: str, resources: Resources, more: Mapping[str, Any]
) -> dict[str, Any]:
    """The attributes; *more* is the user's own ``task_description``."""
    description: dict[str, Any] = {
        **{key: value for key, value in more.items() if key != "info_pattern"},
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


def file_stem(name: str) -> str:
    """*name* as part of a file's name, and safe between a shell's double quotes."""
    return re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)[:80] or "task"


def gather(path: Path, ranks: int) -> None:
    """Make one file of those that the ranks wrote, in their order."""
    if ranks == 1:
        path.touch()
        return
    with path.open("ab") as whole:
        for part in parts(path, ranks):
            with suppress(FileNotFoundError), part.open("rb") as file:
                shutil.copyfileobj(file, whole)


def parts(path: Path, ranks: int) -> list[Path]:
    """The files of the ranks that share the stream *path*."""
    return [path.with_name(f"{path.name}.{rank}") for rank in range(ranks)]


def read_text(path: Path, keep: Path) -> str:
    """What a stream's file holds, decoded with replacement.

    A file of more than 16 MB is moved into the folder *keep*, and only its beginning read.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return ""
    if size <= _LIMIT:
        return path.read_bytes().decode("utf-8", "replace")
    kept = keep / path.name
    shutil.move(path, kept)
    with kept.open("rb") as file:
        # A character that the limit cuts in two is left out.
        head = codecs.getincrementaldecoder("utf-8")("replace").decode(file.read(_LIMIT))
    return Output(head, kept, size, truncated=True)
