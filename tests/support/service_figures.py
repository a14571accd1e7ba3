"""The truth about a service in the figures of a run, for the tests of each backend."""

from __future__ import annotations

import pytest
from radical.asyncflow.journal import RunRecord
from radical.asyncflow.report import Facts

__all__ = ["check_service_figures"]


def check_service_figures(run: RunRecord) -> None:
    """Check a run with one service that was stopped, and with tasks that ended."""
    (service,) = [task for task in run.tasks.values() if task.serves]
    assert (service.state, service.is_serving) == ("DONE", False)
    assert service.started < service.ended < service.served <= run.ended
    others = [task for task in run.tasks.values() if task is not service]
    life = service.served - service.started
    facts = Facts(run)
    (used,) = facts.backends
    assert used.busy == pytest.approx(life + sum(task.ended - task.started for task in others))
    assert facts.task_seconds == pytest.approx(used.busy)
    assert facts.utilisation == pytest.approx(used.busy / (used.slots * (used.down - used.up)))
    assert [task.name for task, _ in facts.slowest()] == [
        task.name for task in sorted(others, key=lambda task: task.started - task.ended)
    ]
    (served,) = [each for each in facts.functions if each.name == service.name]
    assert served.seconds == pytest.approx(life)
    # Whoever needs it waits until it is up, and no longer.
    after = [task for task in others if service.number in task.after]
    path = max((task.ended - task.started for task in after), default=0.0)
    assert facts.critical_seconds >= path + service.ended - service.started - 1e-5
