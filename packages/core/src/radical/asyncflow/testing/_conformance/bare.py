"""A backend driven by hand, without an engine in between."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from ...backend import Command, ExecutionBackend, Prompt, RemoteValue, Report, TaskRequest
from ...model import Resources, TaskKind, TaskSpec
from .._sink import RecordingSink

FIRST_ID = 5 * 10**12 + 1
"""The first id, as large as that of a task of one of many engines that use a backend."""

_COMMANDS = (TaskKind.EXECUTABLE, TaskKind.PROMPT)


class Bare:
    """A started backend, and the sink that it reports to.

    Attributes:
        backend: the backend under test.
        sink: records what the backend reports.
    """

    def __init__(self, backend: ExecutionBackend, sink: RecordingSink) -> None:
        self.backend = backend
        self.sink = sink
        self._ids = itertools.count(FIRST_ID)

    @classmethod
    async def started(cls, backend: ExecutionBackend, work_dir: Path) -> Self:
        """Start *backend* with a sink of its own."""
        sink = RecordingSink(work_dir=work_dir)
        await backend.start(sink)
        return cls(backend, sink)

    async def close(self, *, cancel: bool = True) -> None:
        await self.backend.shutdown(cancel=cancel)

    def request(
        self,
        function: Callable[..., Any],
        *args: Any,
        kwargs: Mapping[str, Any] | None = None,
        attempt: int = 1,
        resources: Resources | None = None,
    ) -> TaskRequest:
        """Make a request for a function task with an id of its own."""
        spec = TaskSpec(
            name=getattr(function, "__name__", "callable"),
            kind=TaskKind.FUNCTION,
            function=function,
            resources=resources or Resources(),
        )
        return TaskRequest(next(self._ids), attempt, spec, args, kwargs or {})

    def plain(self, value: object = 1) -> TaskRequest:
        """Make a request for a small task of the first kind that the backend runs."""
        from .. import _functions as functions

        kinds = self.backend.capabilities.kinds
        kind = next(kind for kind in TaskKind if kind in kinds)
        spec = TaskSpec(name="plain", kind=kind, function=functions.identity)
        command: Command | Prompt[Any] | None = None
        if kind is TaskKind.EXECUTABLE:
            command = Command(("echo", str(value)))
        elif kind is TaskKind.PROMPT:
            command = Prompt(str(value))
        args = () if kind in _COMMANDS else (value,)
        return TaskRequest(next(self._ids), 1, spec, args, {}, command)

    def submit(self, *requests: TaskRequest) -> None:
        """Submit the requests as one batch."""
        self.sink.expect(requests)
        self.backend.submit(requests)

    async def run(self, *requests: TaskRequest, deadline: float = 30.0) -> list[Report]:
        """Submit the requests as one batch; return their terminal reports in the same order."""
        self.submit(*requests)
        return await self.sink.outcomes(requests, deadline)

    async def values(self, *requests: TaskRequest, deadline: float = 30.0) -> list[Any]:
        """Return the results of tasks that were submitted before, from wherever they are."""
        reports = await self.sink.outcomes(requests, deadline)
        return [
            await report.value.fetch() if isinstance(report.value, RemoteValue) else report.value
            for report in reports
        ]
