"""The model of one run: what is known of it now, without an object for each task."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import isnan, nan
from typing import NamedTuple

from ..journal import AttemptRecord, ErrorRecord, FunctionRecord, TaskRecord
from ..report._facts import is_consequence
from ..report._lanes import cores_of_function
from ..report.words import brief
from ._columns import UNKNOWN, Changes, Columns
from ._lanes import Lanes
from ._rates import Rate

__all__ = ["STATES", "BackendState", "FunctionState", "LiveFailure", "LiveRun", "RunHeader"]

STATES = ("DONE", "FAILED", "CANCELLED", "RUNNING", "SUBMITTED", "PENDING")
DONE, FAILED, CANCELLED, RUNNING, SUBMITTED, PENDING = range(6)
REUSED = 6
"""The state, in the column, of a task that is done because it reused an earlier result."""

MAX_CAUSES = 200
"""The most causes of failures that are described; the tasks of others are only counted."""

MAX_LINES = 500
"""The most errors that are kept as one line for the list of tasks."""

MAX_LINE = 200
"""The most characters of such a line."""

MAX_NAMED = 12
"""The most tasks of a cause that are kept."""

MAX_RETRIES = 2_000
"""The most failed attempts that are kept; others are only counted."""

MAX_SLOWEST = 20
"""The number of tasks that are known as the slowest."""

KEPT_CHANGES = 1 << 18
"""Changes that are kept for those who ask what is new."""


@dataclass(slots=True)
class FunctionState:
    """The tasks of one name, and how far they are.

    Attributes:
        states: the number of tasks in each state, in the order of `STATES`.
        ran, seconds: the number of tasks that ended after they ran, and how long they took.
        cores: those that each task takes, as the last of its functions says.
        longest, longest_seconds: the number of the task that took longest; 0 without one.
    """

    name: str
    kind: str
    rate: Rate
    states: list[int] = field(default_factory=lambda: [0] * len(STATES))
    cores: int = 1
    reused: int = 0
    retries: int = 0
    ran: int = 0
    seconds: float = 0.0
    longest: int = 0
    longest_seconds: float = 0.0

    @property
    def tasks(self) -> int:
        """The number of all tasks."""
        return sum(self.states)

    @property
    def ended(self) -> int:
        """The number of tasks that ended in any way."""
        return self.states[DONE] + self.states[FAILED] + self.states[CANCELLED]

    @property
    def unfinished(self) -> int:
        """The number of tasks that did not end yet."""
        return self.states[RUNNING] + self.states[SUBMITTED] + self.states[PENDING]

    @property
    def running(self) -> int:
        """The number of tasks that are known to run."""
        return self.states[RUNNING]

    @property
    def failed(self) -> int:
        """The number of tasks that failed."""
        return self.states[FAILED]

    def eta(self, now: float) -> float | None:
        """Return the seconds that the unfinished tasks will take; None if nobody can say."""
        rate = self.rate.at(now)
        return self.unfinished / rate if rate and self.unfinished else None


@dataclass(slots=True)
class BackendState:
    """One backend, and what it does now.

    Attributes:
        slots: the most tasks that each worker was seen to run at once, added up, or the most
            cores that all tasks took at once, if some take several and that is more.
        busy: the cores that its tasks take now.
        tasks: the number of tasks that it was given and that ended, without reused ones.
        seconds: the time of their attempts.
        up, down: seconds since the run began; None if it is not known, or not yet so.
        lost: why it was lost; "" if it was not.
    """

    name: str
    version: str = ""
    up: float | None = None
    down: float | None = None
    lost: str = ""
    moved: int = 0
    slots: int = 0
    busy: int = 0
    tasks: int = 0
    seconds: float = 0.0
    workers: set[int] = field(default_factory=set)


@dataclass(slots=True)
class LiveFailure:
    """The tasks of one name that failed with the same error: how many, and the first few."""

    name: str
    error: ErrorRecord
    tasks: list[TaskRecord]
    size: int = 0


class RunHeader(NamedTuple):
    """The facts of a run that are known from its beginning.

    Attributes:
        begun: seconds since the epoch.
    """

    uid: str
    begun: float
    host: str = ""
    pid: int = 0
    python: str = ""
    program: tuple[str, ...] = ()


class RunState:
    """The knowledge of a run now.

    Its header tells who it is.

    Attributes:
        latest: the latest time in its record, in seconds since it began.
        ended: when it ended, in the same seconds; None while it did not.
        outcome: "done", "failed", "cancelled" or "preempted"; "" without such an end.
        functions: in the order in which they were heard of.
        backends: by name, in the order in which they came up.
        running: the numbers of the tasks that are known to run, in the order of their starts.
        services: the services that are up, by number, and since when: they are done, and run on.
        failures: the causes that no other task is, in order.
        causes: errors in one line, to which the column `cause` refers; the first few hundred.
        undescribed: the number of failed tasks for which `failures` had no room.
        consequences, first_consequences: the number of tasks that failed because a dependency
            did, and the first of them.
        retries, retried: the number of failed attempts that others followed, and of their tasks.
        failed_attempts: the first of these attempts: the number of the task, its lane, and it.
        reused_from: how many results of which earlier run were reused.
        rate: of the ends of all tasks but blocks.
    """

    def __init__(self, header: RunHeader) -> None:
        self.uid, self.begun, self.host, self.pid, self.python, self.program = header
        self.latest = 0.0
        self.ended: float | None = None
        self.outcome = ""
        self.columns = Columns()
        self.functions: list[FunctionState] = []
        self.backends: dict[str, BackendState] = {}
        self.workers: list[str] = []
        self.workflows: list[str] = []
        self.running: dict[int, None] = {}
        self.services: dict[int, float] = {}
        self.failures: list[LiveFailure] = []
        self.undescribed = 0
        self.causes: list[str] = []
        self.consequences = 0
        self.first_consequences: list[TaskRecord] = []
        self.retries = self.retried = 0
        self.failed_attempts: list[tuple[int, int, AttemptRecord]] = []
        self.reused_from: dict[str, int] = {}
        self.rate = Rate(0.0)
        self.lanes = Lanes()


class LiveRun(RunState):
    """The model of a run: whoever feeds it calls the methods below, all in one thread."""

    def __init__(self, header: RunHeader) -> None:
        super().__init__(header)
        self._changes = Changes(KEPT_CHANGES)
        self._records: dict[int, FunctionRecord] = {}
        self._cores: dict[int, int] = {}  # of functions that take several
        self._wide: dict[int, int] = {}  # the cores of unfinished tasks that take several
        self._rows: dict[int, int] = {}
        self._row_places: dict[tuple[str, str], int] = {}
        self._backend_list: list[BackendState] = []
        self._backend_places: dict[str, int] = {}
        self._worker_places: dict[str, int] = {}
        self._workflow_places: dict[str, int] = {}
        self._attempts: dict[int, tuple[AttemptRecord, ...]] = {}
        self._causes: dict[tuple[str, str, str], LiveFailure] = {}
        self._cause_places: dict[str, int] = {}
        self._slowest: list[tuple[float, int]] = []
        self._ended_without_blocks = 0

    # --------------------------------------------------------------- to look at

    @property
    def cursor(self) -> int:
        """The number of changes of tasks so far; `changed_since` takes it later."""
        return self._changes.cursor

    def changed_since(self, cursor: int) -> Sequence[int] | None:
        """Return the numbers of the tasks that changed after *cursor*, in order, each once.

        Returns:
            None if that is too long ago to be known: then any task may have changed.
        """
        return self._changes.since(cursor)

    def numbers(self) -> Iterator[int]:
        """Return the numbers of all tasks that were heard of."""
        state = self.columns.state
        return (number for number in range(self.columns.size) if state[number] != UNKNOWN)

    @property
    def states(self) -> list[int]:
        """The number of tasks in each state, in the order of `STATES`."""
        return [
            sum(many) for many in zip(*(each.states for each in self.functions), strict=True)
        ] or [0] * len(STATES)

    @property
    def tasks(self) -> int:
        """The number of all tasks."""
        return sum(each.tasks for each in self.functions)

    @property
    def reused(self) -> int:
        """The number of tasks that reused an earlier result."""
        return sum(each.reused for each in self.functions)

    @property
    def unfinished(self) -> int:
        """The number of tasks that did not end yet, without blocks."""
        return sum(each.unfinished for each in self.functions if each.kind != "block")

    def eta(self, now: float) -> float | None:
        """Return the seconds that the unfinished tasks will take; None if nobody can say."""
        for each in self.functions:
            if each.kind != "block" and each.unfinished and each.ended == each.reused:
                return None  # no task like these has run to its end
        rate = self.rate.at(now)
        unfinished = self.unfinished
        return unfinished / rate if rate and unfinished else None

    @property
    def slowest(self) -> list[tuple[int, float]]:
        """The numbers of the tasks whose attempts took longest, with their seconds."""
        return [(-number, took) for took, number in sorted(self._slowest, reverse=True)]

    @property
    def backend_names(self) -> list[str]:
        """The names to which the column `backend` refers."""
        return [backend.name for backend in self._backend_list]

    def function_of(self, number: int) -> FunctionState:
        """Return the function of the task *number*, which was heard of."""
        return self.functions[self.columns.function[number]]

    def state_of(self, number: int) -> str:
        """Return the state of the task *number*; "" if it was not heard of."""
        columns = self.columns
        known = 0 <= number < columns.size and columns.state[number] != UNKNOWN
        return STATES[columns.state[number] % REUSED] if known else ""

    def record(self, number: int) -> TaskRecord:
        """Return what the columns say of the task *number*, which was heard of.

        The record has neither error nor output nor files; a `Follower` can read those.
        """
        columns = self.columns
        function = self.function_of(number)
        return TaskRecord(
            number,
            FunctionRecord(0, function.name, function.kind, ""),
            STATES[columns.state[number] % REUSED],
            after=columns.after(number),
            attempt=columns.attempt[number],
            backend=_named(self.backend_names, columns.backend[number]) or "",
            worker=_named(self.workers, columns.worker[number]),
            workflow=_named(self.workflows, columns.workflow[number]),
            added=_time(columns.added[number]),
            ready=_time(columns.ready[number]),
            started=_time(columns.started[number]),
            ended=self.services.get(number, _time(columns.ended[number])),
            serves=number in self.services,
            failed=self.attempts_of(number),
        )

    def attempts_of(self, number: int) -> tuple[AttemptRecord, ...]:
        """Return the failed attempts of the task *number*, as far as they are kept."""
        known = self._attempts.get(number)
        if known is not None:
            return known
        return tuple(failed for other, _, failed in self.failed_attempts if other == number)

    # --------------------------------------------------------------- to feed it

    def backend_up(self, name: str, version: str, time: float) -> None:
        """Note that the backend *name* came up."""
        backend = self._backend_list[self._backend(name)]
        backend.version, backend.up, backend.down = version, time, None
        self._at(time)

    def backend_down(self, name: str, time: float, lost: str = "", moved: int = 0) -> None:
        """Note that the backend *name* went down."""
        backend = self._backend_list[self._backend(name)]
        backend.down, backend.lost, backend.moved = time, lost, moved
        self._at(time)

    def end(self, time: float, outcome: str) -> None:
        """Note that the run ended."""
        self.ended, self.outcome = time, outcome
        self._at(time)

    def function(self, record: FunctionRecord) -> None:
        """Note a function, before its first task."""
        self._records[record.number] = record
        row = self._rows[record.number] = self._row(record.name, record.kind)
        cores = self.functions[row].cores = cores_of_function(record)
        if cores > 1:
            self._cores[record.number] = cores

    def called(
        self,
        first: int,
        size: int,
        function: int,
        added: float,
        after: Sequence[int] = (),
        workflow: str | None = None,
    ) -> None:
        """Note that tasks with consecutive numbers were called."""
        columns = self.columns
        columns.reach(first + size - 1)
        row = self._row_of(function)
        place = self._place(workflow, self.workflows, self._workflow_places)
        new = [n for n in range(first, first + size) if columns.state[n] == UNKNOWN]
        for number in new:
            columns.state[number] = PENDING
            columns.function[number] = row
            columns.added[number] = added
            columns.workflow[number] = place
        self.functions[row].states[PENDING] += len(new)
        columns.set_after(first, after)
        self._changes.extend(new)
        self._at(added)

    def sent(self, backend: str, numbers: Iterable[int], time: float) -> None:
        """Note that *backend* was given the tasks *numbers*."""
        columns = self.columns
        place = self._backend(backend)
        for number in numbers:
            if number < columns.size and columns.state[number] == PENDING:
                columns.state[number] = SUBMITTED
                columns.backend[number] = place
                states = self.functions[columns.function[number]].states
                states[PENDING] -= 1
                states[SUBMITTED] += 1
                self._changes.add(number)
        self._at(time)

    def ready(self, number: int, time: float) -> None:
        """Note that the engine took the task *number* to send it."""
        self.columns.reach(number)
        self.columns.ready[number] = time
        self._at(time)

    def started(
        self,
        number: int,
        function: int,
        times: Sequence[float | None],
        *,
        attempt: int = 1,
        backend: str = "",
        worker: str | None = None,
        after: Sequence[int] = (),
        workflow: str | None = None,
    ) -> None:
        """Note that a worker began with a task; *times* are of its call, readiness and start."""
        added, ready, started = times
        row = self._move(number, function, RUNNING)
        self._describe(number, attempt, backend, worker, after, workflow)
        self._set_times(number, added, ready, started)
        columns = self.columns
        if number not in self.running:
            self.running[number] = None
            begun = ready if started is None else started
            self._occupy(number, row, 0.0 if begun is None else begun)
        columns.ended[number] = nan
        self._at(started)

    def attempt_failed(self, number: int, function: int, failed: AttemptRecord) -> None:
        """Note that an attempt failed and that another one follows."""
        columns = self.columns
        row = self._move(number, function, PENDING)
        self.retries += 1
        row.retries += 1
        known = self._attempts.get(number, ())
        self.retried += not known
        self._attempts[number] = (*known, failed)
        lane = -1
        if failed.started is not None:
            if number not in self.running:
                worker = self._place(failed.worker, self.workers, self._worker_places)
                columns.worker[number] = worker
                self._occupy(number, row, failed.started)
            lane = columns.lane[number]
            self._count_seconds(number, row, max(failed.ended - failed.started, 0.0))
        self._release(number, failed.ended)
        columns.lane[number] = -1
        columns.attempt[number] = failed.attempt + 1
        columns.started[number] = nan
        if len(self.failed_attempts) < MAX_RETRIES:
            self.failed_attempts.append((number, lane, failed))
        self._at(failed.ended)

    def task_ended(
        self,
        number: int,
        function: int,
        state: str,
        times: Sequence[float | None],
        *,
        attempt: int = 1,
        backend: str = "",
        worker: str | None = None,
        after: Sequence[int] = (),
        workflow: str | None = None,
        reused: str | None = None,
        offset: int = -1,
    ) -> None:
        """Note that a task ended; *times* are of its call, readiness, start and end."""
        added, ready, started, ended = times
        row = self._move(number, function, STATES.index(state))
        self._describe(number, attempt, backend, worker, after, workflow)
        self._set_times(number, added, ready, started)
        columns = self.columns
        columns.offset[number] = offset
        end = self.latest if ended is None else ended
        columns.ended[number] = end
        if reused is not None:
            row.reused += 1
            columns.state[number] = REUSED
            origin = reused.rpartition("/")[0]
            self.reused_from[origin] = self.reused_from.get(origin, 0) + 1
        else:
            self._ran(number, row, state, end)
        self._attempts.pop(number, None)
        self._release(number, end)
        self._at(end)
        row.rate.add(self.latest, row.ended)
        if row.kind != "block":
            self._ended_without_blocks += 1
            self.rate.add(self.latest, self._ended_without_blocks)

    def service_up(self, number: int) -> None:
        """Note that the task *number*, which is done, is a service that runs on."""
        if self.state_of(number) != "DONE" or number in self.services:
            return
        columns = self.columns
        up = self.services[number] = columns.ended[number]
        row = self.function_of(number)
        if row.cores > 1:
            self._wide[number] = row.cores
        self._occupy(number, row, up)
        columns.ended[number] = nan
        self._changes.add(number)

    def service_ended(self, number: int, time: float) -> None:
        """Note that a service ended that was up."""
        up = self.services.pop(number, None)
        if up is None:
            return
        columns = self.columns
        columns.ended[number] = time
        self._count_seconds(number, self.function_of(number), max(time - up, 0.0))
        self._release(number, time)
        self._changes.add(number)
        self._at(time)

    def describe_failure(self, number: int, error: ErrorRecord | None, **details: object) -> None:
        """Note why the task *number* failed, after its end.

        Args:
            details: further fields of its `TaskRecord`, such as ``stdout``.
        """
        error = error or ErrorRecord("", "no error was recorded")
        name = self.function_of(number).name
        self.columns.cause[number] = self._cause(error)
        if is_consequence(error):
            self.consequences += 1
            if len(self.first_consequences) < MAX_NAMED:
                self.first_consequences.append(self.record(number)._replace(error=error))
            return
        key = name, error.type, error.text
        cause = self._causes.get(key)
        if cause is None:
            if len(self.failures) >= MAX_CAUSES:
                self.undescribed += 1
                return
            cause = self._causes[key] = LiveFailure(name, error, [])
            self.failures.append(cause)
        cause.size += 1
        if len(cause.tasks) < MAX_NAMED:
            cause.tasks.append(self.record(number)._replace(error=error, **details))  # type: ignore[arg-type]

    def _cause(self, error: ErrorRecord) -> int:
        """Return the place of *error* among the causes; -1 if there are too many."""
        line = brief(error)[:MAX_LINE]
        if line not in self._cause_places and len(self.causes) >= MAX_LINES:
            return -1
        return self._place(line, self.causes, self._cause_places)

    def trim(self) -> None:
        """Let go of what is kept for those who ask what changed, beyond its limit."""
        self._changes.trim()

    # ------------------------------------------------------------------ inside

    def _move(self, number: int, function: int, state: int) -> FunctionState:
        """Let the task *number* be in *state*, and return its function."""
        columns = self.columns
        columns.reach(number)
        before = columns.state[number]
        if before == UNKNOWN:
            columns.function[number] = self._row_of(function)
        row = self.functions[columns.function[number]]
        if before != UNKNOWN:
            row.states[before % REUSED] -= 1
        row.states[state] += 1
        if function in self._cores:
            self._wide[number] = self._cores[function]
        columns.state[number] = state
        self._changes.add(number)
        return row

    def _describe(
        self,
        number: int,
        attempt: int,
        backend: str,
        worker: str | None,
        after: Sequence[int],
        workflow: str | None,
    ) -> None:
        columns = self.columns
        columns.attempt[number] = attempt
        if backend:
            columns.backend[number] = self._backend(backend)
        if worker is not None:
            columns.worker[number] = self._place(worker, self.workers, self._worker_places)
        if workflow is not None:
            columns.workflow[number] = self._place(workflow, self.workflows, self._workflow_places)
        columns.set_after(number, after)

    def _set_times(
        self, number: int, added: float | None, ready: float | None, started: float | None
    ) -> None:
        columns = self.columns
        if added is not None:
            columns.added[number] = added
        if ready is not None:
            columns.ready[number] = ready
        if started is not None:
            columns.started[number] = started

    def _ran(self, number: int, row: FunctionState, state: str, end: float) -> None:
        """Count the last attempt of a task that ended and was not reused."""
        columns = self.columns
        backend = columns.backend[number]
        if row.kind != "block" and backend >= 0:
            self._backend_list[backend].tasks += 1
        start = columns.started[number]
        if isnan(start) and backend >= 0 and state != "CANCELLED":
            start = columns.ready[number]  # a backend that does not say when a task starts
        if isnan(start):
            return
        if number not in self.running:
            self._occupy(number, row, start)
        row.ran += 1
        took = max(end - start, 0.0)
        self._count_seconds(number, row, took)
        total = took + sum(
            max(failed.ended - failed.started, 0.0)
            for failed in self._attempts.get(number, ())
            if failed.started is not None
        )
        if total > row.longest_seconds or not row.longest:
            row.longest, row.longest_seconds = number, total
        if row.kind == "block":
            return
        if len(self._slowest) < MAX_SLOWEST:
            heapq.heappush(self._slowest, (total, -number))
        elif total > self._slowest[0][0]:
            heapq.heapreplace(self._slowest, (total, -number))

    def _count_seconds(self, number: int, row: FunctionState, took: float) -> None:
        row.seconds += took
        backend = self.columns.backend[number]
        if row.kind != "block" and backend >= 0:
            self._backend_list[backend].seconds += took

    def _occupy(self, number: int, row: FunctionState, start: float) -> None:
        """Put the attempt of the task *number* on a lane."""
        columns = self.columns
        backend, worker = columns.backend[number], columns.worker[number]
        if row.kind == "block":
            backend = -1
        known = len(self.lanes.listed)
        columns.lane[number] = self.lanes.take(backend, worker, start)
        if backend < 0:
            return
        place = self._backend_list[backend]
        cores = self._wide.get(number, 1)
        place.busy += cores
        place.slots += len(self.lanes.listed) - known
        if cores > 1:
            place.slots = max(place.slots, place.busy)
        if worker >= 0:
            place.workers.add(worker)

    def _release(self, number: int, end: float) -> None:
        """Free the lane of the task *number*, if it has one."""
        self.running.pop(number, None)
        cores = self._wide.pop(number, 1)
        lane = self.columns.lane[number]
        if lane < 0:
            return
        self.lanes.give(lane, end)
        backend = self.lanes.listed[lane][0]
        if backend >= 0:
            self._backend_list[backend].busy -= cores

    def _at(self, time: float | None) -> None:
        if time is not None and time > self.latest:
            self.latest = time

    def _row_of(self, function: int) -> int:
        row = self._rows.get(function)
        return self._row("?", "function") if row is None else row  # its line is damaged

    def _row(self, name: str, kind: str) -> int:
        place = self._row_places.get((name, kind))
        if place is None:
            place = self._row_places[name, kind] = len(self.functions)
            self.functions.append(FunctionState(name, kind, Rate(self.latest)))
        return place

    def _backend(self, name: str) -> int:
        place = self._backend_places.get(name)
        if place is None:
            place = self._backend_places[name] = len(self._backend_list)
            self.backends[name] = backend = BackendState(name)
            self._backend_list.append(backend)
        return place

    @staticmethod
    def _place(name: str | None, names: list[str], places: dict[str, int]) -> int:
        if name is None:
            return -1
        place = places.get(name)
        if place is None:
            place = places[name] = len(names)
            names.append(name)
        return place


def _named(names: Sequence[str], place: int) -> str | None:
    return names[place] if place >= 0 else None


def _time(value: float) -> float | None:
    return None if isnan(value) else value
