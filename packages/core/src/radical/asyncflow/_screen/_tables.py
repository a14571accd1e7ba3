"""Rows to look at, made from the model of a run only when they are drawn."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from time import perf_counter
from typing import NamedTuple, Protocol

from .._graph.waiting import explain
from .._live import Follower, LiveRun
from .._live._run import STATES
from .._text import duration, printable
from ..journal import TaskRecord
from ..journal._waits import RunWaits, TaskGroup
from ..model._waiting import Waiting
from ..report._waiting import RecordedTasks, reason_text

__all__ = [
    "BACKENDS",
    "Cell",
    "Column",
    "FailureTable",
    "FunctionTable",
    "LineTable",
    "RunningTable",
    "Table",
    "TaskTable",
    "WaitTable",
    "bar",
    "waiting_of",
]

UNFINISHED = frozenset({"RUNNING", "SUBMITTED", "PENDING"})
STYLES = {
    "DONE": "green",
    "FAILED": "bold red",
    "CANCELLED": "magenta",
    "RUNNING": "cyan",
    "SUBMITTED": "yellow",
    "PENDING": "dim",
}
"""The styles of states, in colours that every terminal has in its own light or dark palette."""

MOST_SHARE = 0.05
"""The share of the time that looking for the tasks that a filter lets through may take."""

BACKENDS = "backend"


class Column(NamedTuple):
    """A column: its title, its width in characters, or 0 for what the others leave."""

    title: str
    width: int
    right: bool = False


class Cell(NamedTuple):
    """The text in one place of a row, and its style."""

    text: str
    style: str = ""


class Table(Protocol):
    """Some rows, as `RowList` draws them.

    Attributes:
        columns: those of all rows.
        empty: what stands in the place of rows if there are none.
    """

    @property
    def columns(self) -> Sequence[Column]: ...
    @property
    def empty(self) -> str: ...

    def __len__(self) -> int: ...

    def row(self, at: int) -> Sequence[Cell]:
        """Return the row number *at*, one cell for each column."""

    def update(self) -> None:
        """Take in what has changed."""


def bar(share: float, width: int) -> str:
    """Return a bar of *width* characters, of which *share* (from 0 to 1) is full."""
    eighths = max(0, min(width * 8, round(share * width * 8)))
    full, part = divmod(eighths, 8)
    return ("█" * full + (" ▏▎▍▌▋▊▉"[part] if part else "")).ljust(width, "·")


def short(number: float) -> str:
    """Return a rate in at most six characters."""
    if number >= 10_000:
        return f"{number / 1000:.0f}k"
    return f"{number:.0f}" if number >= 100 else f"{number:.1f}"


class FunctionTable:
    """The functions with their progress, the one that was called first above."""

    columns = (
        Column("function", 0),
        Column("", 10),
        Column("ended", 17, right=True),
        Column("run", 5, right=True),
        Column("fail", 5, right=True),
        Column("/s", 6, right=True),
        Column("mean", 7, right=True),
        Column("left", 7, right=True),
    )
    empty = "no task was called yet"

    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    def __len__(self) -> int:
        run = self._follower.run
        return 0 if run is None else len(run.functions)

    def update(self) -> None:
        """Do nothing: the rows are read when they are drawn."""

    def row(self, at: int) -> Sequence[Cell]:
        follower = self._follower
        assert follower.run is not None
        function = follower.run.functions[at]
        now, tasks = follower.now, function.tasks
        ended = function.ended
        alive = follower.life == "running"
        rate = function.rate.at(now) if alive else 0.0
        left = function.eta(now) if alive else None
        reused = f" ={function.reused:,}" if function.reused else ""
        return (
            Cell(f"{printable(function.name)}{reused}"),
            Cell(bar(ended / tasks if tasks else 0.0, 10), "red" if function.failed else "green"),
            Cell(f"{ended:,}/{tasks:,}"),
            Cell(f"{function.running:,}" if function.running else "", STYLES["RUNNING"]),
            Cell(f"{function.failed:,}" if function.failed else "", STYLES["FAILED"]),
            Cell(short(rate) if rate else ""),
            Cell(duration(function.seconds / function.ran) if function.ran else ""),
            Cell("" if left is None else duration(left)),
        )


class TaskFilter(NamedTuple):
    """The tasks to show: all that are in one of *states*, and whose names have *text*."""

    function: int = -1
    states: frozenset[str] = frozenset()
    text: str = ""
    backend: str = ""


class TaskTable:
    """All tasks of the run, or those that a filter lets through, in the order of the calls.

    Without a filter the number of the row is that of the task, so that nothing has to be looked
    for.  With one, the columns are searched again when something changed, in a bounded share of
    the time.
    """

    columns = (
        Column("task", 12),
        Column("state", 9),
        Column("function", 0),
        Column("time", 8, right=True),
        Column("backend", 12),
        Column("worker", 16),
    )

    def __init__(self, follower: Follower, chosen: TaskFilter | None = None) -> None:
        self._follower = follower
        self._chosen = chosen or TaskFilter()
        self._numbers: Sequence[int] = range(0)
        self._model: LiveRun | None = None
        self._cursor = -1
        self._searched = 0.0
        self._took = 0.0
        self.update()

    @property
    def empty(self) -> str:
        return "no task is like that" if self._chosen != TaskFilter() else "no task was called yet"

    def __len__(self) -> int:
        return len(self._numbers)

    def number(self, at: int) -> int:
        """Return the number of the task in the row *at*."""
        return self._numbers[at]

    def place(self, number: int) -> int:
        """Return the row of the task *number*, or of the first one behind it."""
        if isinstance(self._numbers, range):
            return max(number - 1, 0)
        return next((at for at, each in enumerate(self._numbers) if each >= number), 0)

    def update(self) -> None:
        run = self._follower.run
        if run is None:
            self._numbers = range(0)
            return
        if self._chosen == TaskFilter():
            self._numbers = range(1, run.columns.size)
            return
        if run is self._model and run.cursor == self._cursor:
            return
        begun = perf_counter()
        if run is self._model and (begun - self._searched) * MOST_SHARE < self._took:
            return  # it is looked for again later
        self._model, self._cursor = run, run.cursor
        self._numbers = self._search(run)
        self._searched = perf_counter()
        self._took = self._searched - begun

    def _search(self, run: LiveRun) -> list[int]:
        chosen, columns = self._chosen, run.columns
        text = chosen.text.lower()
        wanted = bytearray(256)
        for at, word in enumerate(STATES):
            wanted[at] = word in chosen.states if chosen.states else True
        functions = {
            at
            for at, function in enumerate(run.functions)
            if (chosen.function < 0 or at == chosen.function) and text in function.name.lower()
        }
        backend = -1
        if chosen.backend:
            if chosen.backend not in run.backend_names:
                return []
            backend = run.backend_names.index(chosen.backend)
        state, function = columns.state, columns.function
        found = [n for n in range(1, columns.size) if wanted[state[n]] and function[n] in functions]
        return found if backend < 0 else [n for n in found if columns.backend[n] == backend]

    def row(self, at: int) -> Sequence[Cell]:
        run = self._follower.run
        assert run is not None
        number = self.number(at)
        state = run.state_of(number)
        if not state:
            return (Cell(f"{number}"), Cell("?", "dim"), *[Cell("")] * 4)
        columns = run.columns
        backend, worker = columns.backend[number], columns.worker[number]
        return (
            Cell(f"{number}"),
            Cell(state, STYLES[state]),
            Cell(printable(run.function_of(number).name)),
            Cell(_time_of(run, number, state, self._follower.now)),
            Cell(printable(run.backend_names[backend]) if backend >= 0 else ""),
            Cell(printable(run.workers[worker]) if worker >= 0 else ""),
        )


def _time_of(run: LiveRun, number: int, state: str, now: float) -> str:
    """Return how long a task runs or ran; nothing for one that waits."""
    started, ended = run.columns.started[number], run.columns.ended[number]
    if isnan(started) or state in ("SUBMITTED", "PENDING"):
        return ""
    return duration(max((now if state == "RUNNING" else ended) - started, 0.0))


class RunningTable(TaskTable):
    """The tasks that run, the oldest above."""

    def update(self) -> None:
        run = self._follower.run
        self._numbers = [] if run is None else list(run.running)

    @property
    def empty(self) -> str:
        return "no task runs"


class FailureTable:
    """The causes of failures, the first above."""

    columns = (
        Column("times", 6, right=True),
        Column("function", 18),
        Column("first", 8, right=True),
        Column("error", 0),
    )
    empty = "no task has failed"

    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    def __len__(self) -> int:
        run = self._follower.run
        return 0 if run is None else len(run.failures)

    def number(self, at: int) -> int:
        """Return the number of the first task that failed for the cause in the row *at*."""
        assert self._follower.run is not None
        return self._follower.run.failures[at].tasks[0].number

    def update(self) -> None:
        """Do nothing: the rows are read when they are drawn."""

    def row(self, at: int) -> Sequence[Cell]:
        assert self._follower.run is not None
        failure = self._follower.run.failures[at]
        error = failure.error
        text = " ".join(printable(f"{error.type}: {error.text}"[:400].replace("\n", " ")).split())
        return (
            Cell(f"{failure.size:,}", STYLES["FAILED"]),
            Cell(printable(failure.name)),
            Cell(f"{failure.tasks[0].number}"),
            Cell(text),
        )


@dataclass(slots=True)
class _WaitRow:
    """Some tasks that wait for the same, and the filter that shows them."""

    number: int
    style: str
    text: str
    chosen: TaskFilter


class WaitTable:
    """The reasons why tasks wait, the most frequent above."""

    columns = (Column("tasks", 10, right=True), Column("wait for", 0))
    empty = "no task waits"

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self.told: RunWaits | None = None
        self._rows: list[_WaitRow] = []

    def __len__(self) -> int:
        return len(self._rows)

    def chosen(self, at: int) -> TaskFilter:
        """Return the filter that shows the tasks of the row *at*."""
        return self._rows[at].chosen

    def update(self) -> None:
        run = self._follower.run
        self._rows = []
        if run is None:
            return
        states = dict(zip(STATES, run.states, strict=True))
        tasks = RecordedTasks(_Records(run), self._follower.now, self.told)
        groups = sorted(self.told.groups if self.told else (), key=lambda one: -one.number)
        sent = pending = 0
        for group in groups:
            if group.backend and group.kind != "retry":
                sent += group.number
            else:
                pending += group.number
            self._rows.append(_of_group(tasks, group))
        if (left := states["SUBMITTED"] - sent) > 0:
            which = frozenset({"SUBMITTED"})
            text = "their backends, which have them" if not groups else "something else there"
            self._rows.append(_WaitRow(left, STYLES["SUBMITTED"], text, TaskFilter(states=which)))
        if (left := states["PENDING"] - pending) > 0:
            which = frozenset({"PENDING"})
            self._rows.append(_WaitRow(left, "", "other tasks", TaskFilter(states=which)))

    def row(self, at: int) -> Sequence[Cell]:
        row = self._rows[at]
        return Cell(f"{row.number:,}", row.style), Cell(printable(row.text))


def _of_group(tasks: RecordedTasks, group: TaskGroup) -> _WaitRow:
    states = frozenset({"SUBMITTED", "RUNNING"} if group.backend else {"PENDING"})
    chosen = TaskFilter(states=states - {"RUNNING"}, backend=group.backend)
    return _WaitRow(group.number, STYLES["SUBMITTED"], reason_text(tasks, group), chosen)


class _Records(Mapping[int, TaskRecord]):
    """The tasks of a model by number, each made when it is asked for."""

    def __init__(self, run: LiveRun) -> None:
        self._run = run

    def __getitem__(self, number: int) -> TaskRecord:
        if not self._run.state_of(number):
            raise KeyError(number)
        return self._run.record(number)

    def __iter__(self) -> Iterator[int]:
        return self._run.numbers()

    def __len__(self) -> int:
        return self._run.tasks


def waiting_of(follower: Follower, number: int, told: RunWaits | None) -> Waiting | None:
    """Say what the unfinished task *number* waits for; None if it has ended or is not known."""
    run = follower.run
    if run is None or run.state_of(number) not in UNFINISHED:
        return None
    return explain(RecordedTasks(_Records(run), follower.now, told), number)


class LineTable:
    """Lines of text, such as all that is known of a task."""

    columns = (Column("", 0),)
    empty = ""

    def __init__(self, lines: Collection[Cell]) -> None:
        self._lines = list(lines)

    def __len__(self) -> int:
        return len(self._lines)

    def update(self) -> None:
        """Do nothing: the lines stay."""

    def row(self, at: int) -> Sequence[Cell]:
        return (self._lines[at],)
