"""The observer: it writes a line for each task that ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from radical.asyncflow import TaskEvent
from radical.asyncflow.errors import ConfigurationError
from radical.asyncflow.events import Event
from radical.asyncflow.model import TaskState


class TaskLog:
    """Appends to a file, as one JSON object in a line, how each task of a run ended.

    An instance belongs to one run.  It is called in a thread of its own, so it may block.
    """

    def __init__(self, run: str, text: str) -> None:
        """Get ready, and open nothing yet: the run may still fail to begin.

        Args:
            run: the uid of the run.
            text: what the user wrote behind the name: the path of the file.

        Raises:
            ConfigurationError: there is no such folder; then the run does not begin.
        """
        self._run = run
        self._path = Path(text or f"{run}.jsonl").absolute()
        self._begun: dict[int, float] = {}
        folder = self._path.parent
        if not folder.is_dir():
            raise ConfigurationError(f"skeleton: there is no folder {folder}")

    def __call__(self, events: Sequence[Event]) -> None:
        """Take the events since the last call."""
        lines = []
        for event in events:
            if not isinstance(event, TaskEvent):
                continue
            if event.state is TaskState.RUNNING:
                self._begun[event.task_id] = event.time
            elif event.state >= TaskState.DONE:
                lines.append(self._line(event))
        if lines:
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(lines)

    def _line(self, event: TaskEvent) -> str:
        begun = self._begun.pop(event.task_id, None)
        ended = {
            "run": self._run,
            "task": event.task_id,
            "name": event.name,
            "state": event.state.name,
            "seconds": None if begun is None else round(event.time - begun, 6),
        }
        return json.dumps(ended) + "\n"
