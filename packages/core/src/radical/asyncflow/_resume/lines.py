"""Make the lines that the journal gets about tasks, with as much of each as is kept."""

from __future__ import annotations

import re
import traceback
from collections.abc import Sequence
from typing import Any

from .._task.future import TaskFuture
from .._text import cut_middle, safe_message
from ..backend import Serving
from ..errors import ExecutableError
from ..journal import ErrorRecord, _format
from ..model import ExecutableResult, TaskState, TaskTrace
from .entry import Entry

__all__ = [
    "called_line",
    "done_line",
    "ended_line",
    "error_record",
    "reused_line",
    "service_line",
    "started_line",
]

TAIL_CHARS = 4000
"""Characters that are kept of an executable's output and of a traceback."""

CALLS_AT_ONCE_S = 0.001
"""Seconds within which calls of one function are told with the time of the first."""


def called_line(nodes: Sequence[TaskFuture[Any]]) -> bytes:
    """Return the line of tasks that were called; any thread may call this.

    Calls of one function that follow each other at once stand there as one.
    """
    calls = []
    first, body, block, added, count = 0, None, None, 0.0, 0
    for node in nodes:
        entry: Entry = node._entry
        plain = node._extras is None and not entry.after
        if (
            plain
            and entry.body is body
            and entry.block == block
            and node._number == first + count
            and entry.added - added < CALLS_AT_ONCE_S
        ):
            count += 1
            continue
        if body is not None:
            calls.append(_format.Calls(first, body.number, added, count, (), None, block))
        first, body, added, count = node._number, entry.body, entry.added, 1
        block = entry.block
        if not plain:
            workflow = node.workflow_id
            one = _format.Calls(first, body.number, added, 1, entry.after, workflow, block)
            calls.append(one)
            body = None
    if body is not None:
        calls.append(_format.Calls(first, body.number, added, count, (), None, block))
    return _format.tasks_called(calls)


def started_line(node: TaskFuture[Any]) -> bytes:
    """Return the line of a task that runs."""
    entry: Entry = node._entry
    return _format.task_started(
        node._number,
        entry.body.number,
        (entry.added, entry.ready, entry.started),
        attempt=node._attempt,
        backend="" if node._lane is None else node._lane.name,
        worker=entry.worker,
        after=entry.after,
        workflow=node.workflow_id,
        block=entry.block,
    )


def done_line(node: TaskFuture[Any], entry: Entry, ended: float, result: str) -> bytes:
    """Return `ended_line` for DONE, on a quicker way for a plain task, as most tasks are."""
    ready, started, worker, trace = entry.ready, entry.started, entry.worker, entry.trace
    if (
        node._extras is not None
        or node._attempt != 1
        or ready is None
        or started is None
        or worker is None
        or entry.key is None
        or entry.after
        or entry.block is not None
        or entry.arguments is not None
        or entry.why is not None
        or (trace is not None and has_text(trace))
    ):
        return ended_line(node, TaskState.DONE, ended, result=result)
    return _format.task_done(
        node._number,
        entry.body.number,
        (entry.added, ready, started, ended),
        key=entry.key,
        result=result,
        backend=node._lane.name,
        worker=worker,
        usage=None if trace is None else trace.usage,
    )


def has_text(trace: TaskTrace) -> bool:
    """Tell whether a task printed or logged something."""
    return bool(trace.logs or trace.stdout or trace.stderr)


def reused_line(node: TaskFuture[Any], entry: Entry, ended: float) -> bytes:
    """Return `ended_line` for a result of an earlier run, on a quicker way for a plain task."""
    plain = (
        node._extras is None and not entry.after and entry.arguments is None and entry.block is None
    )
    if not plain or entry.key is None or entry.reused is None:
        return ended_line(node, TaskState.DONE, ended)
    return _format.task_reused(
        node._number,
        entry.body.number,
        entry.added,
        ended if entry.ready is None else entry.ready,
        ended,
        key=entry.key,
        reused=entry.reused,
        backend=node._lane.name,
    )


def ended_line(
    node: TaskFuture[Any],
    state: TaskState,
    time: float,
    *,
    result: str = "",
    error: ErrorRecord | None = None,
    files: Sequence[Any] = (),
    facts: Sequence[Any] = (),
) -> bytes:
    """Return the line of a task that ended *time* seconds after the run began.

    Any thread may call this.
    """
    entry: Entry = node._entry
    spec = node._spec
    executed = None if node._extras is None else node._extras.result
    printed = executed is not None and not spec.capture_stdio
    serves = spec.service and state is TaskState.DONE
    return _format.task_ended(
        node._number,
        entry.body.number,
        state.name,
        (entry.added, entry.ready, entry.started, time),
        key=entry.key,
        result=result,
        attempt=node._attempt,
        backend="" if node._lane is None else node._lane.name,
        worker=entry.worker,
        after=entry.after,
        workflow=node.workflow_id,
        block=entry.block,
        place=entry.scope,
        arguments=entry.arguments,
        reused=entry.reused,
        why=entry.why,
        error=error,
        exit_code=None if executed is None else executed.exit_code,
        stdout=executed.stdout[-TAIL_CHARS:] if executed is not None and printed else None,
        stderr=executed.stderr[-TAIL_CHARS:] if executed is not None and printed else None,
        paths=None if executed is None or printed else (executed.stdout, executed.stderr),
        serves=serves,
        files=files,
        facts=facts,
        trace=entry.trace,
    )


def service_line(
    node: TaskFuture[Any], time: float, serving: Serving, result: ExecutableResult | None
) -> bytes:
    """Return the line of a service that *node* brought up, and that ended; any thread may call it.

    Args:
        serving: the files that have its output.
        result: that of its command; None if that is not known, or if it is a function.
    """
    entry: Entry = node._entry
    printed = result is not None and not node._spec.capture_stdio
    files = serving.stdout, serving.stderr
    return _format.service_ended(
        node._number,
        time,
        exit_code=None if result is None else result.exit_code,
        stdout=result.stdout[-TAIL_CHARS:] if result is not None and printed else None,
        stderr=result.stderr[-TAIL_CHARS:] if result is not None and printed else None,
        paths=files if any(files) and not printed else None,
        trace=entry.trace,
    )


def error_record(error: BaseException, *, arguments: bool) -> ErrorRecord:
    """Return what the journal keeps of *error*; without *arguments* it has no command line."""
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ != "builtins":
        name = f"{kind.__module__}.{name}"
    text = safe_message(error)
    try:
        trace = "".join(traceback.format_exception(error))
    except BaseException:  # foreign code
        trace = ""
    if not arguments:
        for failed in (error, error.__cause__):
            if isinstance(failed, ExecutableError):
                text, trace = _without_command(failed, text), _without_command(failed, trace)
    return ErrorRecord(name, text[: 2 * TAIL_CHARS], cut_middle(trace, 2 * TAIL_CHARS))


def _without_command(error: ExecutableError, text: str) -> str:
    """Remove the command of *error*, or the beginning of it, from *text*."""
    text = text.replace(f"{error.summary}: {error.command}", error.summary)
    return re.sub(f"({re.escape(error.summary)}): .*", r"\1", text)
