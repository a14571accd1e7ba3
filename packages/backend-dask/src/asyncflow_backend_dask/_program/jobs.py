"""One attempt at one task, between its submission and its terminal report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from radical.asyncflow.backend import TaskId, TaskKind, TaskRequest, TaskSpec
from radical.asyncflow.errors import ConfigurationError, UnsupportedOptionError
from radical.asyncflow.worker import Code

from ..capabilities import WORKER_RESOURCES

__all__ = [
    "DESCRIPTION_KEYS",
    "Job",
    "annotations_of",
    "check_description",
    "dask_priority",
    "resources_of",
]

DESCRIPTION_KEYS = ("workers", "priority", "allow_other_workers")
"""The keys of ``task_description``, which are options of Dask's ``submit``."""


_DEPTH_STEP = 2.0**-32  # of the priority; 256 of them are less than any that users tell apart
_PARTS = 1024  # into which a GPU is divided


class Job:
    """One attempt at one task.

    Attributes:
        code: its function; None for a command.
        payload: its pickled arguments, if nothing in them can change before it is sent.
        predecessor: the id of the task in the same Dask task that it waits for; 0 for none.
        key: the Dask task that runs it; empty until it is sent.
        index: the index of its call in that Dask task.
        worker: the address of the worker that runs it, once that was reported.
        computed: when its value was made, by this machine's clock, if it is on a worker and Dask
            has not confirmed that yet.
        cancelling: whether it runs and was told to end; its worker will report the end.
        ended: whether it has its terminal report.
    """

    __slots__ = (
        "attempt",
        "cancelling",
        "code",
        "computed",
        "ended",
        "index",
        "key",
        "payload",
        "predecessor",
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
        self.predecessor: TaskId = 0
        self.key = ""
        self.index = 0
        self.worker: str | None = None
        self.computed: float | None = None
        self.cancelling = False
        self.ended = False

    @property
    def order(self) -> tuple[float, int]:
        """The negative priority and depth, which are smaller for a job that begins first."""
        return -self.request.spec.priority, -self.request.depth

    @property
    def name(self) -> str:
        return self.request.spec.name

    @property
    def is_command(self) -> bool:
        return self.request.spec.kind is TaskKind.EXECUTABLE


def dask_priority(request: TaskRequest) -> float:
    """Return the priority of the Dask task of *request*: what is higher begins first.

    Dask has one number for it, so the depth counts as a very small part of a priority.
    """
    return request.spec.priority + request.depth * _DEPTH_STEP


def annotations_of(request: TaskRequest, *, count_cores: bool) -> dict[str, Any]:
    """Return what tells Dask how and where to run the task; empty for most tasks.

    With *count_cores* every task takes its share of the workers' CPU resource.
    """
    spec = request.spec
    annotations: dict[str, Any] = dict(spec.description) if spec.description else {}
    if isinstance(annotations.get("workers"), str):
        annotations["workers"] = [annotations["workers"]]
    resources = resources_of(spec.resources, count_cores=count_cores)
    if resources:
        annotations["resources"] = resources
    return annotations


def resources_of(asked: Any, *, count_cores: bool) -> Mapping[str, float]:
    """Return Dask's worker resources for the resources of a task."""
    names = WORKER_RESOURCES
    gpus = asked.gpus
    if 0 < gpus < 1:
        # In binary fractions the sums of Dask's scheduler are exact.
        gpus = max(int(gpus * _PARTS + 1e-6), 1) / _PARTS
    amounts = {names["gpus"]: gpus * asked.ranks, names["memory"]: asked.total_memory}
    if count_cores or asked.total_cores > 1:
        amounts[names["cores"]] = asked.total_cores
    return {name: amount for name, amount in amounts.items() if amount}


def check_description(spec: TaskSpec, backend: str) -> None:
    """Refuse a ``task_description`` that this backend cannot follow.

    Raises:
        UnsupportedOptionError, ConfigurationError: it names everything that is wrong.
    """
    given = spec.description
    problems = [problem for key, value in given.items() if (problem := _problem_with(key, value))]
    if spec.priority and "priority" in given:
        problems.append("'priority' is there beside priority= of the task: leave one of them out")
    if problems:
        keys = ", ".join(map(repr, DESCRIPTION_KEYS))
        raise UnsupportedOptionError(
            f"task {spec.name!r}: backend {backend!r} takes {keys} in task_description, beside "
            f"those of every backend: {'; '.join(problems)}"
        )
    if given.get("allow_other_workers") and not given.get("workers"):
        raise ConfigurationError(
            f"task {spec.name!r}: 'allow_other_workers' has no meaning without 'workers' in "
            "task_description; add 'workers', or leave it out"
        )


def _problem_with(key: str, value: Any) -> str | None:
    """Return what is wrong with one entry of a ``task_description``; None if nothing is."""
    if key == "retries":
        return "'retries' does not belong there: use retries= of the task"
    if key == "resources":
        return "'resources' of Dask's workers are cores_per_rank, gpus_per_rank and mem_per_rank"
    if key not in DESCRIPTION_KEYS:
        return f"unknown key {key!r}"
    if key == "priority":
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"'priority' must be a number, not {value!r}"
    elif key == "allow_other_workers":
        if not isinstance(value, bool):
            return f"'allow_other_workers' must be true or false, not {value!r}"
    elif not isinstance(value, str) and not _is_list_of_texts(value):
        return f"'workers' must be an address or a list of addresses, not {value!r}"
    return None


def _is_list_of_texts(value: Any) -> bool:
    return (
        isinstance(value, list | tuple | set)
        and bool(value)
        and all(isinstance(item, str) for item in value)
    )
