"""From a task's request to the attributes of `radical.pilot.TaskDescription`."""

from __future__ import annotations

import codecs
import math
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from radical.asyncflow.backend import Resources, TaskSpec
from radical.asyncflow.errors import ResourceError, UnsupportedOptionError
from radical.asyncflow.model import closest
from radical.asyncflow.worker import Output

from ._pilot import PilotPlan

__all__ = ["check_description", "check_resources", "describe", "file_stem", "read_text"]

_MEGABYTE = 2**20
_LIMIT = 16 * _MEGABYTE
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
    "cores_per_rank": "use resources={'cores': ...}",
    "gpus_per_rank": "use resources={'gpus': ...}",
    "mem_per_rank": "use resources={'memory': ...}",
    "ranks": "use resources={'ranks': ...}",
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
    if problems:
        raise UnsupportedOptionError(f"task {spec.name!r}: {'; '.join(problems)}")


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
        **more,
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
