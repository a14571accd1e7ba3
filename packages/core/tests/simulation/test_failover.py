"""Random runs of the whole engine that lose backends and go on with the next ones.

The variables of `test_simulation` set the seeds; here it is a tenth of them.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from radical.asyncflow import BackendLostError
from radical.asyncflow.backend import TaskId

from .run import CANCELLED, DONE, FAILED, Call, Run
from .test_simulation import COUNT, FIRST, PARTS
from .world import PlannedError, SimulatedBackend, SimulatedValue

SEEDS = max(COUNT // 10, PARTS)

REGRESSIONS = [225, 412, 2546, 3973]
"""Seeds whose runs meet a mistake that failover once made, or that would be easy to make."""


class LosableBackend(SimulatedBackend):
    """A backend that says what had not begun when it is lost; sometimes it does not know.

    Attributes:
        doubtful: what had not begun, though it did not say so.
    """

    def __init__(self, name: str, rng: random.Random, **options: Any) -> None:
        super().__init__(name, rng, **options)
        self.doubtful: set[TaskId] = set()

    def lose(self) -> None:
        if self.closed or self.gone:
            return
        self.gone = True
        waiting = set(self._waiting)
        self._waiting.clear()
        self._running.clear()
        error = PlannedError("the cluster burnt down")
        if self._rng.random() < 0.8:
            self._sink.lost(error, waiting)
        else:
            self.doubtful = waiting
            self._sink.lost(error)

    def finished(self, task_id: TaskId) -> int:
        """Return how often the task finished here, and its value was lost."""
        ends = [state for (number, _), (state, _) in self.first.items() if number == task_id]
        return ends.count(DONE) if self.gone else 0

    def _keep(self, value: Any) -> SimulatedValue:
        return LosableValue(self, self._rng, value)


class LosableValue(SimulatedValue):
    def __init__(self, backend: LosableBackend, rng: random.Random, value: Any) -> None:
        super().__init__(rng, value)
        self._backend = backend

    async def fetch(self) -> Any:
        value = await super().fetch()
        if self._backend.gone:
            raise BackendLostError("it burnt with the cluster")
        return value


class LosingRun(Run):
    """A run that loses some of its backends."""

    backend_class = LosableBackend
    failover = True

    def step(self) -> None:
        if self.rng.random() < 0.05:
            backend = self.rng.choice(list(self.backends.values()))
            self.loop.call_later(2 * self.rng.random(), backend.lose)
        else:
            super().step()

    def judge_call(self, call: Call) -> None:
        future, state = call.future, call.future._stage
        assert state >= DONE, "never ended"
        if call.watched:
            assert call.ends == int(call.counted), f"ended {call.ends} times"
            assert future.done()
        if not call.is_block:
            begun = sum(backend.begun[future._number] for backend in self.backends.values())
            # One that had finished may run again for its value, if that was lost.
            lost = sum(backend.finished(future._number) for backend in self.backends.values())
            assert begun <= call.attempts + lost, f"it began {begun} times"
        if state is CANCELLED:
            assert self.may_be_cancelled(call), "cancelled for no reason"
        elif state is FAILED:
            error = future.exception()
            assert error is not None
            self.judge_failure(call, error)
        elif future.done() and not future.cancelled():
            assert all(need.future._stage is DONE for need in call.needs)
            error = future.exception()
            if error is None:
                assert future.result() == self.expected(call)
            else:  # its value was lost, and did not come when it was computed again
                assert any(backend.gone for backend in self.backends.values())

    def judge_failure(self, call: Call, error: BaseException) -> None:
        if call.is_block or self.closed_early or not isinstance(error, BackendLostError):
            return
        number = call.future._number
        gone = [backend for backend in self.backends.values() if backend.gone]
        assert (
            len(gone) == len(self.backends)
            or any(backend.begun[number] or number in backend.doubtful for backend in gone)
        ), "it had not begun on a lost backend, and another one was there"  # fmt: skip

    def may_be_cancelled(self, call: Call) -> bool:
        # A value that is computed again may be cancelled by a scope that asked for it.
        return super().may_be_cancelled(call) or any(
            need.future.done() and need.future.cancelled() for need in call.needs
        )


def play(seed: int) -> LosingRun:
    run = LosingRun(seed)
    try:
        run.play()
    except BaseException as error:
        error.add_note(f"simulation seed {seed}, with failover")
        raise
    return run


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.timeout(0)
def test_every_run_ends_and_nothing_begins_twice(part: int) -> None:
    lost = 0
    for seed in range(FIRST + part, FIRST + SEEDS, PARTS):
        run = play(seed)
        assert run.flow.closed
        lost += sum(backend.gone for backend in run.backends.values())
    assert lost > 0


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_a_seed_that_once_failed_does_not_again(seed: int) -> None:
    assert play(seed).flow.closed
