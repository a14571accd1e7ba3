"""A run in the trace event format, which Perfetto and chrome://tracing read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .._public import public
from .._text import printable_lines
from ..journal import RunRecord
from ._facts import Facts
from ._lanes import Bar, TimelineLane, waited_seconds

__all__ = ["MAX_ARROWS", "render_trace"]

MAX_ARROWS = 20_000
"""The most dependencies that are drawn as arrows."""

_MICROSECONDS = 1e6

TraceEvent = dict[str, Any]


@public("radical.asyncflow.report")
def render_trace(run: RunRecord) -> str:
    """Return *run* as a trace: its processes are backends, its threads are workers.

    Attempts are complete events, the ends of failed attempts are instant events, and
    dependencies (at most `MAX_ARROWS`) are flow events.  Times are microseconds.
    """
    facts = Facts(run)
    arrows = list(_arrows(run, facts.lanes))
    events = [*_names(facts.lanes), *_attempts(facts.lanes), *arrows]
    trace = {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {
            "run": run.uid,
            "outcome": run.outcome or "unfinished",
            "host": run.host,
            "begun": run.begun,
            "program": list(run.program),
            "dependencies drawn": len(arrows) // 2,
            "dependencies": sum(len(task.after) for task in run.tasks.values()),
        },
    }
    return json.dumps(trace, separators=(",", ":"))


def _place(lanes: tuple[TimelineLane, ...]) -> Iterator[tuple[int, int, TimelineLane]]:
    """Yield the numbers of process and thread for each lane, and the lane."""
    processes: dict[str, int] = {}
    for thread, lane in enumerate(lanes, start=1):
        yield processes.setdefault(lane.backend, len(processes) + 1), thread, lane


def _names(lanes: tuple[TimelineLane, ...]) -> Iterator[TraceEvent]:
    named: set[int] = set()
    for pid, tid, lane in _place(lanes):
        if pid not in named:
            named.add(pid)
            yield _meta("process_name", pid, 0, {"name": printable_lines(lane.backend) or "?"})
            yield _meta("process_sort_index", pid, 0, {"sort_index": pid})
        name = printable_lines(lane.worker) if lane.worker is not None else "slot"
        if lane.worker is None or lane.place:
            name += f" {lane.place + 1}"
        yield _meta("thread_name", pid, tid, {"name": name})
        yield _meta("thread_sort_index", pid, tid, {"sort_index": tid})


def _meta(name: str, pid: int, tid: int, args: TraceEvent) -> TraceEvent:
    return {"ph": "M", "name": name, "pid": pid, "tid": tid, "args": args}


def _attempts(lanes: tuple[TimelineLane, ...]) -> Iterator[TraceEvent]:
    for pid, tid, lane in _place(lanes):
        place = {"pid": pid, "tid": tid}
        for bar in lane.bars:
            task = bar.task
            name = printable_lines(task.name)
            yield {
                "ph": "X",
                "name": name,
                "cat": task.kind,
                "ts": _micro(bar.started),
                "dur": _micro(bar.ended - bar.started),
                **place,
                "args": _args(bar),
            }
            error = bar.error or (task.error if bar.attempt == task.attempt else None)
            if error is not None:
                what = "retry" if bar.error is not None else task.state.lower()
                yield {
                    "ph": "i",
                    "s": "t",
                    "name": f"{what}: {name}",
                    "cat": what,
                    "ts": _micro(bar.ended),
                    **place,
                    "args": {
                        "task": task.id,
                        "error": f"{error.type}: {printable_lines(error.text)}",
                    },
                }


def _args(bar: Bar) -> TraceEvent:
    task = bar.task
    state = "FAILED" if bar.error is not None else task.state
    args: TraceEvent = {"task": task.id, "state": state, "attempt": bar.attempt}
    if task.workflow is not None:
        args["workflow"] = printable_lines(task.workflow)
    waited = waited_seconds(task)
    if waited is not None:
        args["waited_us"] = _micro(waited)
    if task.exit_code is not None:
        args["exit_code"] = task.exit_code
    return args


def _arrows(run: RunRecord, lanes: tuple[TimelineLane, ...]) -> Iterator[TraceEvent]:
    """Yield an arrow from the last attempt of each dependency to the first of its task."""
    first: dict[int, tuple[int, int, Bar]] = {}
    last: dict[int, tuple[int, int, Bar]] = {}
    for pid, tid, lane in _place(lanes):
        for bar in lane.bars:
            number = bar.task.number
            if number not in first or bar.attempt < first[number][2].attempt:
                first[number] = (pid, tid, bar)
            if number not in last or bar.attempt > last[number][2].attempt:
                last[number] = (pid, tid, bar)
    arrow = 0
    for task in run.tasks.values():
        for source in task.after:
            if arrow == MAX_ARROWS:
                return
            if source in last and task.number in first:
                arrow += 1
                head = {"name": "dependency", "cat": "dependency", "id": arrow}
                pid, tid, bar = last[source]
                # Who needs a service begins when it is up.
                done = bar.task.ended if bar.task.serves else None
                ended = bar.ended if done is None else done
                yield {"ph": "s", **head, "ts": _micro(ended), "pid": pid, "tid": tid}
                pid, tid, bar = first[task.number]
                yield {
                    "ph": "f",
                    "bp": "e",
                    **head,
                    "ts": _micro(bar.started),
                    "pid": pid,
                    "tid": tid,
                }


def _micro(value: float) -> int:
    return round(value * _MICROSECONDS)
