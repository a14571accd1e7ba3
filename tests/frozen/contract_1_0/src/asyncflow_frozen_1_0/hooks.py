"""The hooks that act on every run; a file gets what they see, if a variable names one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from radical.asyncflow.events import BackendEvent, Event, RunEvent, TaskEvent
from radical.asyncflow.hookspecs import Carrier, hookimpl


@hookimpl
def asyncflow_events(events: Sequence[Event]) -> None:
    file = os.environ.get("FROZEN_1_0_FILE")
    if file is None:
        return
    with Path(file).open("a", encoding="utf-8") as lines:
        for event in events:
            if isinstance(event, RunEvent):
                lines.write(f"run {event.state} {event.outcome}\n")
            elif isinstance(event, BackendEvent):
                lines.write(f"backend {event.backend} {event.state}\n")
            elif isinstance(event, TaskEvent):
                lines.write(f"task {event.task_id} {event.name} {event.state.name}\n")


@hookimpl
def asyncflow_carrier(run: str) -> Carrier | None:
    return None


@hookimpl
def asyncflow_profiles() -> Mapping[str, Mapping[str, Any]]:
    return {"frozen_1_0_hook": {"backend": "frozen_1_0", "config": {"max_workers": 2}}}


@hookimpl
def asyncflow_cli(group: Any) -> None:
    @group.command("frozen-1-0-hook")
    def command() -> None:
        """Say that the command of a hook runs."""
        print("hook 1.0")
