"""All that is known of one task, in lines."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

from .._live import Follower
from .._text import duration, printable
from ..journal import TaskRecord
from ..journal._output import tails
from ..journal._waits import RunWaits
from ._tables import MOST_SHARE, STYLES, Cell, LineTable, waiting_of

__all__ = ["TaskLines", "task_lines"]

TITLE = "bold"

LEAST_S = 0.5
"""Seconds after which what is shown of a task is made again."""


def task_lines(follower: Follower, number: int, told: RunWaits | None) -> list[Cell]:
    """Return all that is known of the task *number*, with the end of its output last."""
    task = follower.task(number)
    if task is None:
        return [Cell(f"task {number} was not heard of", "dim")]
    return list(_lines(follower, task, told))


def _lines(follower: Follower, task: TaskRecord, told: RunWaits | None) -> Iterator[Cell]:
    yield Cell(f"{task.id}  {printable(task.name)}", TITLE)
    took = _time(task, follower.now)
    again = f", attempt {task.attempt}" if task.attempt > 1 else ""
    reused = f", reused from {task.reused}" if task.reused else ""
    yield Cell(f"{task.state}{took}{again}{reused}", STYLES.get(task.state, ""))
    if task.backend:
        worker = f", worker {task.worker}" if task.worker else ""
        yield Cell(printable(f"on {task.backend}{worker}"))
    times = [
        f"{word} {duration(time)}"
        for word, time in (("called", task.added), ("begun", task.started), ("ended", task.ended))
        if time is not None
    ]
    if times:
        yield Cell(f"after the start of the run: {', '.join(times)}", "dim")
    if task.after:
        shown = ", ".join(map(str, task.after[:12]))
        more = f" and {len(task.after) - 12:,} more" if len(task.after) > 12 else ""
        yield Cell(f"takes the results of {shown}{more}")
    if task.arguments:
        yield Cell(printable(f"called with {task.arguments}"))
    waiting = waiting_of(follower, task.number, told)
    if waiting:
        yield Cell("")
        yield Cell("Waits", TITLE)
        for line in str(waiting).splitlines():
            yield Cell(printable(line))
    for failed in task.failed:
        yield Cell("")
        yield Cell(f"Attempt {failed.attempt} failed", TITLE)
        yield from _text(f"{failed.error.type}: {failed.error.text}", "red")
    if task.error is not None:
        yield Cell("")
        yield Cell("Error", TITLE)
        yield from _text(f"{task.error.type}: {task.error.text}", "red")
    if task.exit_code:
        yield Cell(f"exit code {task.exit_code}", "red")
    if task.error is not None and task.error.traceback:
        yield Cell("")
        yield Cell("Traceback", TITLE)
        yield from _text(task.error.traceback)
    yield from _output(follower, task)


def _output(follower: Follower, task: TaskRecord) -> Iterator[Cell]:
    """Yield the end of what *task* has written, which is last, because it grows."""
    shown = [("Output", task.stdout or ""), ("Error output", task.stderr or "")]
    if follower.run is not None:
        titles = {"stdout": "Output", "stderr": "Error output"}
        shown += [
            (f"{titles[tail.stream]} ({printable(tail.about)})", tail.text or " ")
            for tail in tails(task, follower.run.uid, follower.path)
        ]
    shown = [(title, text) for title, text in shown if text]
    for title, text in shown:
        yield Cell("")
        yield Cell(title, TITLE)
        yield from _text(text)
    if not shown and task.state == "RUNNING":
        yield Cell("")
        command = task.kind == "executable"
        words = "it has written nothing yet" if command else "its output is here when it has ended"
        yield Cell(words, "dim")


def _time(task: TaskRecord, now: float) -> str:
    if task.started is None:
        age = task.age(now)
        return "" if age is None else f" for {duration(age)}"
    if task.ended is None:
        return f" for {duration(max(now - task.started, 0.0))}"
    return f" after {duration(max(task.ended - task.started, 0.0))}"


def _text(text: str, style: str = "") -> Iterator[Cell]:
    for line in text.splitlines():
        yield Cell(printable(line.expandtabs()), style)


class TaskLines(LineTable):
    """The lines of one task, made again while it changes, in a bounded share of the time."""

    def __init__(self, follower: Follower, number: int) -> None:
        self.number = number
        self.told: RunWaits | None = None
        self._follower = follower
        self._made = self._took = 0.0
        self._ended = False
        super().__init__(())
        self.update()

    def update(self) -> None:
        begun = perf_counter()
        if self._made and begun - self._made < max(LEAST_S, self._took / MOST_SHARE):
            return
        if self._made and self._ended:
            return
        run = self._follower.run
        state = "" if run is None else run.state_of(self.number)
        serves = run is not None and self.number in run.services
        self._ended = state in ("DONE", "FAILED", "CANCELLED") and not serves
        self._lines = task_lines(self._follower, self.number, self.told)
        self._made = perf_counter()
        self._took = self._made - begun
