"""The carrier: each task knows the label of its run, wherever it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from radical.asyncflow.hookspecs import Carrier
from radical.asyncflow.model import TaskSpec


class Label(Carrier):
    """Sends a label along with each task.

    An instance belongs to one run.  Its methods are called in the program; an error in one of them
    is logged, and harms no run.
    """

    enter = "asyncflow_skeleton.worker:enter"

    def __init__(self, run: str, text: str) -> None:
        """Take the label.

        Args:
            run: the uid of the run.
            text: what the user wrote behind the name: the label.
        """
        self._label = text or run

    def carry(self, spec: TaskSpec, task_id: int) -> dict[str, Any]:
        """Return what goes with this call; it is pickled, and must be quick to make."""
        return {"label": self._label, "task": f"{spec.name} {task_id}"}

    def environment(self, headers: Mapping[str, Any]) -> Mapping[str, str]:
        """Return the variables that the command of an executable task gets."""
        return {"ASYNCFLOW_RUN_LABEL": headers["label"]}
