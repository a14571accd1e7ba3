"""One attempt at one task, between its submission and its terminal report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from radical.asyncflow.backend import TaskId, TaskKind, TaskRequest, TaskSpec
from radical.asyncflow.errors import ConfigurationError, UnsupportedOptionError
from radical.asyncflow.worker import Code

from ..capabilities import WORKER_RESOURCES

__all__ = ["DESCRIPTION", "Job", "annotations_of", "check_description", "resources_of"]

DESCRIPTION = ("workers", "priority", "allow_other_workers")
"""What ``task_description`` may hold: options of Dask's ``submit``."""


class Job:
    """What is known of it.

    Attributes:
        code: its function; None for a command.
        payload: its pickled arguments, where nothing in them can change until it is sent.
        after: the task in the same Dask task that it waits for; 0 for none.
        key, index: the Dask task that runs it, and which of that one's calls it is;
            the key is empty until it is sent.
        worker: where it runs, once that was told.
        kept: it is done, but for Dask's word that its value is safe.
        ending: it runs and was told to end, which it will report.
        over: it has its terminal report.
    """

    __slots__ = (
        "after",
        "attempt",
        "code",
        "ending",
        "index",
        "kept",
        "key",
        "over",
        "payload",
        "request",
        "task_id",
        "worker",
    )

    def __init__(self, request: TaskRequest) -> None:
        self.request = request
        self.task_id: TaskId = request.task_id
        self.attempt = request.attempt
        self.code: Code | None = None
        self.payload: bytes | None = None
        self.after: TaskId = 0
        self.key = ""
        self.index = 0
        self.worker: str | None = None
        self.kept = False
        self.ending = False
        self.over = False

    @property
    def name(self) -> str:
        return self.request.spec.name

    @property
    def is_command(self) -> bool:
        return self.request.spec.kind is TaskKind.EXECUTABLE


def annotations_of(request: TaskRequest, *, count_cores: bool) -> dict[str, Any]:
    """What Dask is told of how and where to run it; empty for most.

    With *count_cores* every task takes its share of the workers' CPU resource.
    """
    spec = request.spec
    found: dict[str, Any] = dict(spec.description) if spec.description else {}
    if isinstance(found.get("workers"), str):
        found["workers"] = [found["workers"]]
    resources = resources_of(spec.resources, count_cores=count_cores)
    if resources:
        found["resources"] = resources
    return found


def resources_of(asked: Any, *, count_cores: bool) -> Mapping[str, float]:
    """Dask's worker resources for the resources of a task."""
    names = WORKER_RESOURCES
    amounts = {names["gpus"]: asked.gpus, names["memory"]: asked.memory}
    if count_cores or asked.cores > 1:
        amounts[names["cores"]] = asked.cores
    return {name: amount for name, amount in amounts.items() if amount}


def check_description(spec: TaskSpec, backend: str) -> None:
    """Refuse a ``task_description`` that this backend would not understand.

    Raises:
        UnsupportedOptionError, ConfigurationError: it names what is wrong.
    """
    problems = []
    for key, value in spec.description.items():
        if key == "retries":
            problems.append("'retries' are the engine's: use retries= of the task")
        elif key not in DESCRIPTION:
            problems.append(f"unknown key {key!r}")
        elif key == "priority":
            if isinstance(value, bool) or not isinstance(value, int | float):
                problems.append(f"'priority' must be a number, not {value!r}")
        elif key == "allow_other_workers":
            if not isinstance(value, bool):
                problems.append(f"'allow_other_workers' must be true or false, not {value!r}")
        elif not isinstance(value, str) and not (
            isinstance(value, list | tuple | set)
            and value
            and all(isinstance(item, str) for item in value)
        ):
            problems.append(f"'workers' must be an address or a list of them, not {value!r}")
    if problems:
        raise UnsupportedOptionError(
            f"task {spec.name!r}: backend {backend!r} takes task_description with "
            f"{', '.join(map(repr, DESCRIPTION))}: {'; '.join(problems)}"
        )
    if spec.description.get("allow_other_workers") and not spec.description.get("workers"):
        raise ConfigurationError(
            f"task {spec.name!r}: 'allow_other_workers' says whether others than 'workers' "
            "will do: give those, too"
        )
