"""Checks: the backend keeps the contract when a test drives it by hand, or misuses it."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from ...backend import API_VERSION, Capabilities, Report
from ...errors import BackendError, BackendStartError
from ...model import Resources, TaskKind, TaskState
from .. import _functions as functions
from .bare import FIRST_ID, Bare
from .needs import needs
from .stalls import loop_never_stalls
from .suite import Suite
from .waiting import appears, beats_no_more, open_gate


class Protocol(Suite):
    async def test_it_declares_itself(self) -> None:
        backend = await self.new_backend()
        try:
            assert isinstance(backend.name, str)
            assert backend.name
            assert isinstance(backend.capabilities, Capabilities)
            assert backend.capabilities.kinds
            assert TaskKind.BLOCK not in backend.capabilities.kinds
            assert set(backend.capabilities.resources) <= {"cores", "gpus", "memory", "ranks"}
            assert set(backend.capabilities.kills_running) <= set(backend.capabilities.kinds)
            assert backend.api_version[0] == API_VERSION[0]
            assert backend.api_version <= API_VERSION
            assert backend.name in repr(backend)
        finally:
            await backend.shutdown()

    async def test_unmet_needs_names_the_needs_that_are_not_met(self) -> None:
        unmet, name = await self.unmet(), type(self).__name__
        assert self.unmet_needs is not None, (
            f"set unmet_needs on {name}, so that you notice if a check is no longer run; "
            f"this backend does not meet {sorted(unmet)}"
        )
        wrong = set(self.unmet_needs) - unmet
        assert not wrong, f"unmet_needs of {name} names what is met, or no need: {sorted(wrong)}"
        missing = unmet - set(self.unmet_needs)
        assert not missing, f"unmet_needs of {name} lacks what is not met: {sorted(missing)}"

    async def test_each_task_gets_exactly_one_terminal_report(self, bare: Bare) -> None:
        requests = [bare.plain(at) for at in range(min(500, self.load))]
        reports = await bare.run(*requests, deadline=self.patience)
        assert {report.state for report in reports} == {TaskState.DONE}
        await quiet(bare)
        ends = Counter(
            report.task_id for report in bare.sink.reports if report.state >= TaskState.DONE
        )
        assert {ends[request.task_id] for request in requests} == {1}

    async def test_reports_carry_the_attempt_that_they_are_about(self, bare: Bare) -> None:
        request = bare.plain()._replace(attempt=7)
        (report,) = await bare.run(request, deadline=self.patience)
        assert (report.task_id, report.attempt) == (request.task_id, 7)

    async def test_a_task_may_be_submitted_again_as_its_next_attempt(self, bare: Bare) -> None:
        first = bare.plain()
        await bare.run(first, deadline=self.patience)
        second = first._replace(attempt=2)
        (report,) = await bare.run(second, deadline=self.patience)
        assert (report.state, report.attempt) == (TaskState.DONE, 2)

    @needs("function", "executes")
    async def test_the_start_of_a_run_is_reported_before_its_end(
        self, bare: Bare, folder: str
    ) -> None:
        request = bare.request(functions.hold, folder)
        bare.submit(request)
        await bare.sink.until(lambda: bare.sink.has_begun(request), self.patience, [request])
        assert bare.sink.outcome(request) is None
        open_gate(folder)
        assert await bare.values(request, deadline=self.patience) == ["task"]

    async def test_an_empty_batch_is_nothing(self, bare: Bare) -> None:
        bare.backend.submit([])
        (report,) = await bare.run(bare.plain(), deadline=self.patience)
        assert report.state is TaskState.DONE

    async def test_a_batch_may_be_any_sequence(self, bare: Bare) -> None:
        requests = (bare.plain(1), bare.plain(2))
        bare.sink.expect(requests)
        bare.backend.submit(requests)
        assert len(await bare.sink.outcomes(requests, self.patience)) == 2

    async def test_a_batch_belongs_to_the_caller_again_after_submit(self, bare: Bare) -> None:
        batch = [bare.plain(at) for at in range(10)]
        requests = tuple(batch)
        bare.sink.expect(requests)
        bare.backend.submit(batch)
        batch.clear()
        reports = await bare.sink.outcomes(requests, self.patience)
        assert {report.state for report in reports} == {TaskState.DONE}

    @needs("function", "executes")
    async def test_submit_returns_while_the_work_is_still_to_do(
        self, bare: Bare, folder: str
    ) -> None:
        request = bare.request(functions.hold, folder)
        bare.submit(request)
        assert bare.sink.outcome(request) is None
        open_gate(folder)
        assert await bare.values(request, deadline=self.patience) == ["task"]

    @needs("function", "executes")
    async def test_submit_returns_at_once_however_much_there_is_to_do(
        self, bare: Bare, folder: str
    ) -> None:
        requests = [bare.request(functions.hold, folder, at) for at in range(50)]
        async with loop_never_stalls():
            # Ten in one turn of the loop: each has a tenth of what the loop may stand still.
            for first in range(0, 50, 10):
                for request in requests[first : first + 10]:
                    bare.submit(request)
                await asyncio.sleep(0)
        open_gate(folder)
        assert await bare.values(*requests, deadline=self.patience) == list(range(50))

    @needs("function", "executes", "workers")
    async def test_the_loop_turns_while_a_function_works(self, bare: Bare, folder: str) -> None:
        request = bare.request(functions.hold_blocking, folder)
        async with loop_never_stalls():
            bare.submit(request)
            await appears(folder, "began-task")
            # The function is at work now, and the loop has to go on turning meanwhile.
            for _ in range(50):
                await asyncio.sleep(0.01)
        assert bare.sink.outcome(request) is None
        open_gate(folder)
        assert await bare.values(request, deadline=self.patience) == ["task"]

    @needs("function", "executes")
    async def test_a_failure_is_reported_with_its_exception(self, bare: Bare) -> None:
        (report,) = await bare.run(bare.request(functions.fail, "x"), deadline=self.patience)
        assert report.state is TaskState.FAILED
        assert isinstance(report.value, ValueError)
        assert report.value.args == ("x",)

    @needs("function", "executes", "pickles")
    async def test_one_bad_request_in_a_batch_harms_no_other(self, bare: Bare) -> None:
        good = [bare.plain(at) for at in range(10)]
        bad = bare.request(functions.identity, functions.DumpBomb())
        reports = await bare.run(*good[:5], bad, *good[5:], deadline=self.patience)
        states = [report.state for report in reports]
        assert states.pop(5) is TaskState.FAILED
        assert set(states) == {TaskState.DONE}

    async def test_cancelling_nothing_is_nothing(self, bare: Bare) -> None:
        bare.backend.cancel([])
        (report,) = await bare.run(bare.plain(), deadline=self.patience)
        assert report.state is TaskState.DONE

    async def test_cancelling_an_unknown_id_is_ignored(self, bare: Bare) -> None:
        bare.backend.cancel([10**9, -1])
        (report,) = await bare.run(bare.plain(), deadline=self.patience)
        assert report.state is TaskState.DONE

    async def test_cancelling_a_finished_task_brings_no_second_report(self, bare: Bare) -> None:
        request = bare.plain()
        await bare.run(request, deadline=self.patience)
        bare.backend.cancel([request.task_id])
        await quiet(bare)
        assert ends(bare, request.task_id) == [TaskState.DONE]

    async def test_cancelling_twice_brings_one_report(self, bare: Bare) -> None:
        requests = [bare.plain(at) for at in range(100)]
        bare.submit(*requests)
        ids = {request.task_id for request in requests}
        bare.backend.cancel(ids)
        bare.backend.cancel(ids)
        await bare.sink.outcomes(requests, self.patience)
        await quiet(bare)
        assert {len(ends(bare, task_id)) for task_id in ids} == {1}

    @needs("function", "executes", "slots", "workers")
    async def test_a_queued_task_is_reported_cancelled_before_cancel_returns(
        self, bare: Bare, folder: str
    ) -> None:
        busy, queued = await self._busy_and_queued(bare, folder)
        bare.backend.cancel([queued.task_id])
        report = bare.sink.outcome(queued)
        assert report == Report(queued.task_id, 1, TaskState.CANCELLED)
        await asyncio.sleep(self.travel)
        open_gate(folder)
        await bare.sink.outcomes(busy, self.patience)
        assert not (Path(folder) / "began-queued").exists()

    async def _busy_and_queued(self, bare: Bare, folder: str):  # type: ignore[no-untyped-def]
        """Submit one task for each slot, and when they run one that waits for a slot."""
        busy = [bare.request(functions.hold_blocking, folder, at) for at in range(self.slots or 0)]
        bare.submit(*busy)
        for at in range(len(busy)):
            await appears(folder, f"began-{at}")
        queued = bare.request(functions.hold_blocking, folder, "queued")
        bare.submit(queued)
        return busy, queued

    @needs("function", "executes", "kills functions")
    async def test_a_running_task_is_reported_cancelled_when_its_work_has_ended(
        self, bare: Bare, folder: str
    ) -> None:
        request = bare.request(functions.beat, folder)
        bare.submit(request)
        await appears(folder, "beats")
        bare.backend.cancel([request.task_id])
        (report,) = await bare.sink.outcomes([request], self.patience)
        assert report.state is TaskState.CANCELLED
        await beats_no_more(folder)

    @needs("function", "executes", "kills functions")
    async def test_a_task_may_be_cancelled_the_moment_it_runs(
        self, bare: Bare, folder: str
    ) -> None:
        requests = [bare.request(functions.hold, folder, at) for at in range(16)]
        bare.submit(*requests)
        for request in requests:
            has_begun = partial(bare.sink.has_begun, request)
            await bare.sink.until(has_begun, self.patience, [request])
            bare.backend.cancel([request.task_id])
        reports = await bare.sink.outcomes(requests, self.patience)
        assert {report.state for report in reports} == {TaskState.CANCELLED}
        (later,) = await bare.run(bare.plain("alive"), deadline=self.patience)
        assert later.state is TaskState.DONE

    @needs("function", "executes", "spares functions", "workers")
    async def test_the_next_attempt_may_run_while_the_work_of_the_last_goes_on(
        self, bare: Bare, folder: str
    ) -> None:
        first = bare.request(functions.hold_blocking, folder)
        bare.submit(first)
        await appears(folder, "began-task")
        bare.backend.cancel([first.task_id])
        second = bare.request(functions.identity, "second")
        second = second._replace(task_id=first.task_id, attempt=2)
        bare.submit(second)
        assert await bare.values(second, deadline=self.patience) == ["second"]
        open_gate(folder)
        await bare.sink.outcomes([first], self.patience)

    @needs("cores", "function", "executes", "slots")
    async def test_tasks_that_take_all_cores_run_one_at_a_time(
        self, bare: Bare, folder: str
    ) -> None:
        assert self.slots is not None
        every = Resources(cores=self.slots)
        requests = [
            bare.request(functions.overlap, folder, resources=every) for _ in range(self.slots + 2)
        ]
        bare.submit(*requests)
        assert await bare.values(*requests, deadline=self.patience) == [1] * len(requests)

    @needs("function", "executes", "slots")
    async def test_no_more_tasks_run_at_once_than_there_are_slots(
        self, bare: Bare, folder: str
    ) -> None:
        assert self.slots is not None
        requests = [bare.request(functions.overlap, folder) for _ in range(4 * self.slots)]
        bare.submit(*requests)
        assert max(await bare.values(*requests, deadline=self.patience)) <= self.slots

    @needs("cores", "function", "executes", "slots")
    async def test_big_and_small_tasks_all_get_their_turn(self, bare: Bare, folder: str) -> None:
        assert self.slots is not None
        sizes = [1, self.slots, 1, self.slots, 1, 1]
        requests = [
            bare.request(functions.overlap, folder, 0.01, resources=Resources(cores=size))
            for size in sizes
        ]
        reports = await bare.run(*requests, deadline=self.patience)
        assert {report.state for report in reports} == {TaskState.DONE}

    async def test_starting_twice_is_refused(self, bare: Bare) -> None:
        with pytest.raises(BackendStartError):
            await bare.backend.start(bare.sink)
        (report,) = await bare.run(bare.plain(), deadline=self.patience)
        assert report.state is TaskState.DONE

    async def test_submitting_before_the_start_is_refused(self, bare: Bare) -> None:
        fresh = await self.new_backend()
        try:
            with pytest.raises(BackendError):
                fresh.submit([bare.plain()])
        finally:
            await fresh.shutdown()

    @pytest.mark.usefixtures("guard")
    async def test_cancelling_before_the_start_is_ignored(
        self, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        backend = await self.new_backend()
        backend.cancel([FIRST_ID])
        fresh = await Bare.started(backend, tmp_path_factory.mktemp("run"))
        try:
            (report,) = await fresh.run(fresh.plain(), deadline=self.patience)
        finally:
            await fresh.close()
        assert (report.task_id, report.state) == (FIRST_ID, TaskState.DONE)


async def quiet(bare: Bare) -> None:
    """Wait until later tasks have come and gone, so that late reports are here too."""
    await bare.run(*[bare.plain() for _ in range(8)])
    # A second report may be late: that none comes can only be seen over some time.
    await asyncio.sleep(0.05)


def ends(bare: Bare, task_id: int) -> list[TaskState]:
    """List the terminal states that were reported of a task."""
    return [
        report.state
        for report in bare.sink.reports
        if report.task_id == task_id and report.state >= TaskState.DONE
    ]
