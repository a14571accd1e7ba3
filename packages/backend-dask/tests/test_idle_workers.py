"""When the scheduler looks for Dask tasks that idle workers can do, and what it asks for."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from asyncflow_backend_dask._scheduler import idle_workers
from asyncflow_backend_dask._scheduler.idle_workers import IdleWorkers
from asyncflow_backend_dask._worker.run import run
from dask._task_spec import Task


class DaskTask:
    dependencies = actor = worker_restrictions = host_restrictions = resource_restrictions = None

    def __init__(self, number: int) -> None:
        self.key = f"task-{number}"
        self.run_spec = Task(self.key, run)
        self.priority = (number,)


class Worker:
    def __init__(self, address: str, *tasks: DaskTask) -> None:
        self.address = address
        self.nthreads = 1
        self.processing = list(tasks)


class Stealing:
    """What Dask's stealing has to do with it; it answers when the test says so."""

    def __init__(self) -> None:
        self.in_flight: dict[DaskTask, Worker] = {}
        self.in_flight_tasks: Counter[Worker] = Counter()
        self.asked: list[tuple[str, str]] = []

    def move_task_request(self, task: DaskTask, victim: Worker, thief: Worker) -> None:
        self.in_flight[task] = thief
        self.in_flight_tasks[victim] -= 1
        self.in_flight_tasks[thief] += 1
        self.asked.append((task.key, thief.address))

    def refuse(self, task: DaskTask, victim: Worker) -> None:
        self.in_flight_tasks[victim] += 1
        self.in_flight_tasks[self.in_flight.pop(task)] -= 1


class Scheduler:
    """Three workers: one that runs a task and has three more, and two with one task each."""

    def __init__(self) -> None:
        self.tasks = [DaskTask(number) for number in range(6)]
        self.full = Worker("full", *self.tasks[:4])
        self.others = [Worker("a", self.tasks[4]), Worker("b", self.tasks[5])]
        self.running = [self.full, *self.others]
        self.workers = {worker.address: worker for worker in self.running}
        self.queued: list[Any] = []
        self.stealing = Stealing()
        self.extensions = {"stealing": self.stealing}
        self.plugin = IdleWorkers("idle", "client")
        self.looks = 0
        self._look = self.plugin._look
        self.plugin._look = self._count  # type: ignore[method-assign]

    def _count(self) -> None:
        self.looks += 1
        self._look()

    def end(self, worker: Worker) -> None:
        """Let *worker* end its only task."""
        task = worker.processing.pop()
        self.plugin.transition(task.key, "processing", "memory")

    async def looked(self, count: int) -> None:
        """Wait until the plugin has looked so often."""
        async with asyncio.timeout(30):
            while self.looks < count:  # noqa: ASYNC110 - a timer looks
                await asyncio.sleep(0)

    async def asked(self, count: int) -> list[tuple[str, str]]:
        """Wait until so many tasks were asked for; return them, each with the thief."""
        async with asyncio.timeout(30):
            while len(self.stealing.asked) < count:  # noqa: ASYNC110 - a timer looks
                await asyncio.sleep(0)
        return self.stealing.asked


@pytest.fixture
async def scheduler() -> Scheduler:
    made = Scheduler()
    await made.plugin.start(made)
    return made


async def test_a_worker_that_comes_free_does_not_wait_for_the_answer_to_another(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle_workers, "_NEXT_LOOK_S", 3600)
    first, second = scheduler.others
    scheduler.end(first)
    assert await scheduler.asked(1) == [("task-3", "a")]
    scheduler.end(second)
    assert await scheduler.asked(2) == [("task-3", "a"), ("task-2", "b")]


async def test_while_a_worker_is_asked_there_is_another_look_whatever_ends_meanwhile(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle_workers, "_NEXT_LOOK_S", 3600)
    first, _ = scheduler.others
    scheduler.end(first)
    await scheduler.asked(1)
    monkeypatch.setattr(idle_workers, "_NEXT_LOOK_S", 0.001)
    scheduler.plugin.transition("another", "processing", "memory")
    await scheduler.looked(2)  # and found nobody idle
    scheduler.stealing.refuse(scheduler.tasks[3], scheduler.full)
    # A task that the worker kept is not asked for again.
    assert await scheduler.asked(2) == [("task-3", "a"), ("task-2", "a")]


async def test_nobody_looks_again_when_nothing_was_asked_for(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle_workers, "_NEXT_LOOK_S", 0)
    scheduler.plugin.transition("another", "processing", "memory")
    scheduler.plugin.transition("another", "processing", "memory")
    await scheduler.looked(1)
    for _ in range(20):
        await asyncio.sleep(0)
    assert scheduler.looks == 1
    assert scheduler.stealing.asked == []
