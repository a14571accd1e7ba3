"""Invented runs from a seed, with failures, retries, cache hits and several backends."""

from __future__ import annotations

import heapq
import random
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from radical.asyncflow.journal import (
    AttemptRecord,
    ErrorRecord,
    FunctionRecord,
    RunRecord,
    TaskRecord,
    _format,
)
from radical.asyncflow.journal._format import HEADER

BEGUN = 1_790_000_000.0

FUNCTIONS = {
    1: FunctionRecord(1, "prepare", "function", "a1" * 16),
    2: FunctionRecord(2, "simulate", "executable", "b2" * 16, "2.1", resources={"cores": 2}),
    3: FunctionRecord(3, "analyse", "function", "c3" * 16),
    4: FunctionRecord(4, "reduce", "function", "d4" * 16),
    5: FunctionRecord(5, "plot", "function", "e5" * 16, cache="no"),
    6: FunctionRecord(6, "campaign", "block", "f6" * 16),
}
PREPARE, SIMULATE, ANALYSE, REDUCE, PLOT, CAMPAIGN = FUNCTIONS.values()
BACKENDS = {
    "concurrent": {"version": "1.0.0", "up": 0.05},
    "dask": {"version": "1.0.0", "up": 1.2},
}
HOSTS = {
    "concurrent": [f"process-{number}" for number in range(8)],
    "dask": [f"tcp://node{1 + number // 4:03}:4{number:04}" for number in range(24)],
}
TRACEBACK = """Traceback (most recent call last):
  File "campaign.py", line 41, in analyse
    return fit(samples, order=3)
  File "fitting.py", line 118, in fit
    raise ValueError("matrix is singular")
ValueError: matrix is singular
"""


def synthetic(tasks: int, seed: int = 0, **options: Any) -> RunRecord:
    """Make a campaign of *tasks* tasks: chains of prepare, simulate, analyse; twenty are reduced.

    Args:
        killed: part of the run after which it was killed, or None.
        reused: uid of the run whose results the first third of the tasks got, or None.
    """
    return _Campaign(tasks, random.Random(seed), **options).run()


class _Campaign:
    def __init__(
        self,
        size: int,
        chance: random.Random,
        *,
        uid: str = "run.5eed0001",
        killed: float | None = None,
        reused: str | None = None,
    ) -> None:
        self._size = size
        self._chance = chance
        self._uid = uid
        self._killed = killed
        self._reused = reused
        self._tasks: dict[int, TaskRecord] = {}
        self._free = {name: [(0.0, worker) for worker in HOSTS[name]] for name in HOSTS}

    def run(self) -> RunRecord:
        self._call()
        self._simulate()
        ends = (task.ended for task in self._tasks.values() if task.ended is not None)
        length = round(max(ends, default=0.0) + 0.2, 6)
        if CAMPAIGN.number == self._tasks[1].function.number:
            self._tasks[1] = self._tasks[1]._replace(state="DONE", ended=length - 0.1)
        bad = any(task.state == "FAILED" for task in self._tasks.values())
        run = RunRecord(
            self._uid,
            BEGUN,
            length,
            "failed" if bad else "done",
            "login02.cluster",
            4711,
            "3.11.9",
            ("campaign.py", "--samples", str(self._size)),
            {name: {**facts, "down": length - 0.05} for name, facts in BACKENDS.items()},
            FUNCTIONS,
            self._tasks,
        )
        return run if self._killed is None else self._cut(run, self._killed * length)

    def _call(self) -> None:
        """Make all tasks in the order of their calls."""
        number = 1
        self._add(number, CAMPAIGN, ())
        waiting: list[int] = []
        reduced: list[int] = []
        while number < self._size:
            chain: tuple[int, ...] = ()
            for function in (PREPARE, SIMULATE, ANALYSE):
                if number < self._size - 1:
                    number += 1
                    self._add(number, function, chain)
                    chain = (number,)
            waiting += chain
            if len(waiting) == 20 and number < self._size - 1:
                number += 1
                self._add(number, REDUCE, tuple(waiting))
                reduced.append(number)
                waiting = []
            if number == self._size - 1:
                number += 1
                self._add(number, PLOT, tuple(reduced or waiting))

    def _add(self, number: int, function: FunctionRecord, after: tuple[int, ...]) -> None:
        added = round(number * 2e-5, 6)
        self._tasks[number] = TaskRecord(
            number,
            function,
            "PENDING",
            after,
            workflow=f"branch-{number % 7}" if number % 3 else None,
            added=added,
            ready=None if after else added,
            started=added if function is CAMPAIGN else None,
            key=f"{zlib.crc32(f'{function.name} {number}'.encode()):08x}" * 4,
        )

    def _simulate(self) -> None:
        """Run the tasks that are ready, in the order in which they became so."""
        below: dict[int, list[int]] = {}
        left = {}
        for task in self._tasks.values():
            left[task.number] = len(task.after)
            for other in task.after:
                below.setdefault(other, []).append(task.number)
        ready = [(task.added, task.number) for task in self._tasks.values() if not task.after]
        ready = [entry for entry in ready if entry[1] > 1]
        heapq.heapify(ready)
        while ready:
            when, number = heapq.heappop(ready)
            task = self._tasks[number] = self._end(self._tasks[number], when or 0.0)
            for other in below.get(number, ()):
                left[other] -= 1
                if not left[other]:
                    last = max(self._tasks[each].ended or 0.0 for each in self._tasks[other].after)
                    heapq.heappush(ready, (last, other))

    def _end(self, task: TaskRecord, ready: float) -> TaskRecord:
        bad = [other for other in task.after if self._tasks[other].state == "FAILED"]
        task = task._replace(state="DONE")
        if bad:
            error = ErrorRecord(
                "radical.asyncflow.errors.DependencyFailureError",
                f"not run, because task.{bad[0]:06d} failed",
            )
            return task._replace(state="FAILED", error=error, ended=round(ready, 6))
        if self._reused is not None and task.number <= self._size // 3:
            origin = f"{self._reused}/{task.number}"
            ended = round(ready + 1e-4, 6)
            return task._replace(reused=origin, ready=ready, ended=ended, result_bytes=100)
        return self._execute(task, ready)

    def _execute(self, task: TaskRecord, ready: float) -> TaskRecord:
        chance = self._chance
        name = "dask" if task.function in (SIMULATE, REDUCE) else "concurrent"
        median = {"simulate": 4.0, "analyse": 1.2, "reduce": 2.0}.get(task.name, 0.4)
        failed: list[AttemptRecord] = []
        start = ready
        while True:
            free, worker = heapq.heappop(self._free[name])
            start = max(start, free) + 0.004
            end = start + median * chance.lognormvariate(0, 0.5)
            heapq.heappush(self._free[name], (end, worker))
            if len(failed) < 2 and chance.random() < 0.01:
                lost = ErrorRecord(
                    "radical.asyncflow.errors.WorkerLostError", f"{worker} was ended by SIGKILL"
                )
                end = start + (end - start) * chance.random()
                failed.append(
                    AttemptRecord(len(failed) + 1, round(start, 6), round(end, 6), worker, lost)
                )
                start = end
                continue
            break
        task = task._replace(
            backend=name,
            worker=worker,
            ready=round(ready, 6),
            started=round(start, 6),
            ended=round(end, 6),
            attempt=len(failed) + 1,
            failed=tuple(failed),
            result_bytes=chance.randrange(40, 40_000),
        )
        if task.kind == "executable":
            out = f"step 1000 of 1000\nenergy {chance.random():.4f}\n"
            task = task._replace(exit_code=0, stdout=out)
        if chance.random() < 0.004:
            task = task._replace(state="FAILED", result_bytes=None)
            if task.kind == "executable":
                error = ErrorRecord(
                    "radical.asyncflow.errors.ExecutableError", "simulate --cells 64: exit code 3"
                )
                return task._replace(
                    error=error, exit_code=3, stderr="fatal: the grid does not converge\n"
                )
            return task._replace(error=ErrorRecord("ValueError", "matrix is singular", TRACEBACK))
        return task

    def _cut(self, run: RunRecord, when: float) -> RunRecord:
        """Return *run* as its journal has it if it was killed at *when*."""
        tasks = {}
        for number, task in run.tasks.items():
            if (task.ended is not None and task.ended > when) or number == 1:
                started = task.started if (task.started or when) < when else None
                state = "PENDING" if started is None else "RUNNING"
                task = TaskRecord(number, task.function, state, task.after, added=task.added)
                if started is not None:
                    old = run.tasks[number]
                    task = task._replace(started=started, backend=old.backend, worker=old.worker)
            tasks[number] = task
        backends = {name: {**facts, "down": None} for name, facts in run.backends.items()}
        return run._replace(ended=None, outcome="", tasks=tasks, backends=backends)


def write_journal(path: Path, *runs: RunRecord) -> Path:
    """Write *runs* into a journal."""
    path.write_bytes(HEADER + b"".join(line for run in runs for line in _lines(run)))
    path.chmod(0o600)
    return path


def _lines(run: RunRecord) -> Iterator[bytes]:
    yield _format.run_begun(run.uid, run.begun, run.host, run.pid, run.python, run.program)
    for name, facts in run.backends.items():
        yield _format.backend_up(name, str(facts["version"]), float(str(facts["up"])))
    for function in run.functions.values():
        yield _format.function_used(function)
    for task in run.tasks.values():
        yield from _task_lines(task)
    for name, facts in run.backends.items():
        if facts.get("down") is not None:
            lost, moved = str(facts.get("lost", "")), int(str(facts.get("moved", 0)))
            yield _format.backend_down(name, float(str(facts["down"])), lost=lost, moved=moved)
    if run.ended is not None:
        yield _format.run_ended(run.ended, run.outcome)


def _task_lines(task: TaskRecord) -> Iterator[bytes]:
    function = task.function.number
    for failed in task.failed:
        yield _format.attempt_failed(
            *(task.number, function, failed.started, failed.ended, failed.error),
            attempt=failed.attempt,
            worker=failed.worker,
        )
    shared: dict[str, Any] = {
        "attempt": task.attempt,
        "backend": task.backend,
        "worker": task.worker,
        "after": task.after,
        "workflow": task.workflow,
    }
    times = (task.added, task.ready, task.started)
    if task.state == "RUNNING":
        yield _format.task_started(task.number, function, times, **shared)
    elif task.state != "PENDING":
        result = "" if task.unstored is None else _format.unstored(task.unstored)
        yield _format.task_ended(
            *(task.number, function, task.state, (*times, task.ended)),
            key=task.key,
            result=result or ('"value":1' if task.result_bytes is not None else ""),
            reused=task.reused,
            why=task.why,
            error=task.error,
            exit_code=task.exit_code,
            stdout=task.stdout,
            stderr=task.stderr,
            **shared,
        )
