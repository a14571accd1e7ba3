"""Tasks without a pilot: what is sent to one, and what is reported."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from asyncflow_backend_radical._host.messages import (
    CancelTasks,
    Order,
    SubmitTasks,
    TaskChange,
    TaskStage,
)
from asyncflow_backend_radical._pilot.plan import plan_pilot
from asyncflow_backend_radical._tasks.tasks import Tasks
from asyncflow_backend_radical._tasks.traces import Traces
from asyncflow_backend_radical._worker.traces import Wanted
from asyncflow_backend_radical.config import RadicalConfig
from radical.asyncflow.backend import (
    Command,
    Report,
    Resources,
    TaskKind,
    TaskRequest,
    TaskSpec,
    TaskState,
)


class Held:
    """Tasks, what they sent to the pilot, and what they reported."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.orders: list[Order] = []
        self.reports: list[Report] = []
        self.served: list[Any] = []
        self.tasks = Tasks(
            folder,
            capture=folder,
            report=self.reports.extend,
            serving=lambda *served: self.served.append(served),
            traces=Traces(lambda *_: None, Wanted()),
            plan=plan_pilot(RadicalConfig(**config)),
        )

    def submit(self, request: Any) -> dict[str, Any]:
        """Submit *request*, and return the only description that was sent."""
        self.tasks.attach(self.orders.append)
        self.tasks.submit([request])
        (order,) = self.orders
        assert isinstance(order, SubmitTasks)
        (description,) = order.descriptions
        return description


@pytest.fixture
def held(tmp_path: Path) -> Held:
    return Held(tmp_path)


def request(task_id: int = 7) -> TaskRequest:
    spec = TaskSpec("simulate", TaskKind.EXECUTABLE, print)
    return TaskRequest(task_id, 1, spec, command=Command("true"))


@pytest.mark.parametrize(
    ("config", "given", "sent"),
    [
        ({}, {}, "CUDA"),
        ({}, {"gpu_type": "ROCm"}, "ROCm"),
        ({"resource": "ornl.frontier", "nodes": 1, "project": "X1"}, {}, None),  # srun binds them
    ],
    ids=["fork", "of the user", "srun"],
)
def test_a_task_with_gpus_is_told_which_unless_its_launcher_shows_it_no_others(
    tmp_path: Path, config: dict[str, Any], given: dict[str, Any], sent: str | None
) -> None:
    spec = TaskSpec(
        "train", TaskKind.EXECUTABLE, print, resources=Resources(gpus=1), description=given
    )
    asks = TaskRequest(7, 1, spec, command=Command("true"))
    assert Held(tmp_path / "gpus", **config).submit(asks).get("gpu_type") == sent
    assert "gpu_type" not in Held(tmp_path / "none", **config).submit(request())


def test_fields_that_a_later_contract_adds_are_ignored(held: Held) -> None:
    later = namedtuple("later", [*TaskRequest._fields, "more"])
    description = held.submit(later(*request(), "more"))
    held.tasks.change([TaskChange(description["uid"], TaskStage.DONE, 0)])
    assert [report[:3] for report in held.reports] == [(7, 1, TaskState.DONE)]


def test_a_task_that_is_cancelled_before_there_is_a_pilot_is_not_sent_to_one(held: Held) -> None:
    held.tasks.submit([request(1), request(2)])
    held.tasks.cancel([1])
    assert held.reports == [Report(1, 1, TaskState.CANCELLED)]
    held.tasks.attach(held.orders.append)
    (order,) = held.orders
    assert isinstance(order, SubmitTasks)
    (description,) = order.descriptions
    assert description["uid"].startswith("task.2.")


def test_output_that_cannot_be_read_fails_its_task_alone(held: Held) -> None:
    description = held.submit(request())
    uid = description["uid"]
    (held.tasks._streams / f"{uid}.stdout").mkdir()
    held.tasks.change([TaskChange(uid, TaskStage.DONE, 0)])
    (report,) = held.reports
    assert (report.state, type(report.value)) == (TaskState.FAILED, IsADirectoryError)


def test_cancelling_a_task_that_runs_is_left_to_the_pilot(held: Held) -> None:
    uid = held.submit(request())["uid"]
    (held.tasks._marks / uid).touch()  # as its script does when it begins
    held.tasks.cancel([7])
    assert held.orders[1:] == [CancelTasks([uid])]
    assert held.reports == []
    held.tasks.change([TaskChange(uid, TaskStage.CANCELED)])
    assert held.reports == [Report(7, 1, TaskState.CANCELLED)]
