"""The kinds and options of tasks that mean the same on every backend, or are refused there.

Each `Row` is a row of the table in "Portability", and a program in the conformance kit shows that
what the table says of a backend is true.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..errors import ConfigurationError, ResourceError
from ..model import Resources, RetryPolicy, TaskKind, TaskSpec
from . import Capabilities, ExecutionBackend
from ._lane import Lane, missing_capabilities

__all__ = ["ROWS", "Row", "declared_refusal", "refusal"]


def _body() -> None:
    """Stand for the body of a task that only its options describe."""


async def _async_body() -> None:
    """Stand for the body of an async task."""


def _nothing(_able: Capabilities) -> str:
    return ""


def _ends_functions(able: Capabilities) -> str:
    if TaskKind.FUNCTION in able.kills_running:
        return ""
    return "the task fails in time, but its function runs on until it returns"


def _ends_commands(able: Capabilities) -> str:
    if TaskKind.EXECUTABLE in able.kills_running:
        return ""
    return "the task fails in time, but its command runs on"


def _passes_contexts(able: Capabilities) -> str:
    if able.contexts:
        return ""
    return "functions run in other processes, and a context cannot be sent there"


def _survives_crashes(able: Capabilities) -> str:
    return "" if able.isolates else "a crash ends every task of the process that it happens in"


class Row(NamedTuple):
    """One kind of task or option, which a backend has or lacks.

    Attributes:
        title: what it is, in the words of a user.
        kind: the kind of the task.
        options: fields of a `TaskSpec` that ask for it.
        lacks: returns, for capabilities that let the call pass, what is missing all the same;
            "" if nothing is.
        body: the function of the task.
        is_deadly: True if a backend that lacks it takes the program with it.
    """

    title: str
    kind: TaskKind
    options: Mapping[str, Any] = {}
    lacks: Callable[[Capabilities], str] = _nothing
    body: Callable[..., Any] = _body
    is_deadly: bool = False

    def spec(self) -> TaskSpec:
        """Return the spec of a task that asks for what the row is about."""
        return TaskSpec("task", self.kind, self.body, **self.options)


_FUNCTION = TaskKind.FUNCTION
_EXECUTABLE = TaskKind.EXECUTABLE

ROWS = (
    Row("function", _FUNCTION),
    Row("async function", _FUNCTION, body=_async_body),
    Row("command", _EXECUTABLE),
    Row("block", TaskKind.BLOCK),
    Row("prompt", TaskKind.PROMPT),
    Row("command with `ranks` (MPI)", _EXECUTABLE, {"resources": Resources(ranks=2)}),
    Row("function with `ranks` (MPI)", _FUNCTION, {"resources": Resources(ranks=2)}),
    Row("command as a service", _EXECUTABLE, {"service": True}),
    Row("class as a service", _FUNCTION, {"service": True}),
    Row("`cores`", _FUNCTION, {"resources": Resources(cores=2)}),
    Row("`gpus`", _FUNCTION, {"resources": Resources(gpus=1)}),
    Row("`memory`", _FUNCTION, {"resources": Resources(memory=10**6)}),
    Row("`priority`", _FUNCTION, {"priority": 1.0}),
    Row("`timeout` that ends a function", _FUNCTION, {"timeout": 0.5}, _ends_functions),
    Row("`timeout` that ends a command", _EXECUTABLE, {"timeout": 0.5}, _ends_commands),
    Row("`retries` of a function", _FUNCTION, {"retries": RetryPolicy(2)}),
    Row("a crash costs one task alone", _FUNCTION, {}, _survives_crashes, is_deadly=True),
    Row("input and output files", _EXECUTABLE),
    Row("`capture_stdio`", _EXECUTABLE, {"capture_stdio": True}),
    Row("context variables", _FUNCTION, {}, _passes_contexts),
    Row("result of a function from a journal", _FUNCTION),
)
"""The rows of the table, from the kinds of tasks to what surrounds them."""


def declared_refusal(row: Row, able: Capabilities) -> str:
    """Return what a backend with these capabilities lacks for *row*; "" if it has all."""
    if row.kind is TaskKind.BLOCK:
        return ""  # the engine runs blocks
    spec = row.spec()
    if missing := missing_capabilities(able, spec):
        return "it " + " and ".join(missing)
    return row.lacks(able)


def refusal(row: Row, backend: ExecutionBackend) -> str:
    """Return what *backend*, with its settings, lacks for *row*; "" if it has all.

    That it has too little of a resource here does not count.
    """
    lacking = declared_refusal(row, backend.capabilities)
    if lacking or row.kind is TaskKind.BLOCK:
        return lacking
    try:
        Lane(0, backend).check(row.spec())
    except ResourceError:
        return ""  # it is about how much this one has
    except ConfigurationError as error:
        return str(error).removeprefix("task 'task': ")
    return ""
