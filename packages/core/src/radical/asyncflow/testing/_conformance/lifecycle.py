"""Checks: it comes and goes at every moment, and takes everything along."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from ...backend import ExecutionBackend
from ...errors import BackendError, EngineClosedError
from ...model import TaskState
from .. import _functions as functions
from .._leaks import LeakGuard
from .._sink import RecordingSink
from .bare import Bare
from .stalls import loop_never_stalls
from .suite import Suite, appears, needs, open_gate


class Lifecycle(Suite):
    """These all have a backend of their own, whatever `backend_scope` says."""

    @pytest_asyncio.fixture(loop_scope="class")
    async def fresh(
        self, _declared: None, _elsewhere: None, tmp_path_factory: pytest.TempPathFactory
    ) -> AsyncIterator[Bare]:
        """A backend of this check's own, and nothing left after it."""
        async with LeakGuard():
            folder = tmp_path_factory.mktemp("run")
            bare = await Bare.started(await self.new_backend(), folder)
            yield bare
            await bare.close()
            assert bare.sink.violations == []

    async def test_shutdown_right_after_the_start(self, fresh: Bare) -> None:
        await self._ends(fresh.backend)

    async def test_shutdown_without_a_start(self) -> None:
        async with LeakGuard():
            await self._ends(await self.new_backend())

    async def test_shutdown_after_work(self, fresh: Bare) -> None:
        await fresh.run(*[fresh.plain(at) for at in range(20)], deadline=self.patience)
        await self._ends(fresh.backend)

    async def test_shutdown_twice(self, fresh: Bare) -> None:
        await self._ends(fresh.backend)
        await self._ends(fresh.backend)

    async def test_shutdown_twice_at_once(self, fresh: Bare) -> None:
        requests = [fresh.plain(at) for at in range(20)]
        fresh.submit(*requests)
        async with loop_never_stalls(), asyncio.timeout(self.patience):
            await asyncio.gather(fresh.backend.shutdown(), fresh.backend.shutdown())
        assert all(fresh.sink.outcome(request) for request in requests)

    async def test_shutdown_with_work_queued_answers_for_all_of_it(self, fresh: Bare) -> None:
        requests = [fresh.plain(at) for at in range(min(2_000, self.load))]
        fresh.submit(*requests)
        await self._ends(fresh.backend)
        reports = await fresh.sink.outcomes(requests, self.patience)
        assert {report.state for report in reports} <= {TaskState.DONE, TaskState.CANCELLED}

    @needs("function", "executes")
    async def test_shutdown_with_work_running_answers_for_it(
        self, fresh: Bare, folder: str
    ) -> None:
        request = fresh.request(functions.hold, folder)
        fresh.submit(request)
        await appears(folder, "began-task")
        ending = asyncio.ensure_future(self._ends(fresh.backend))
        # What cannot be killed has to come to its own end.
        await asyncio.sleep(0.1)
        open_gate(folder)
        await ending
        (report,) = await fresh.sink.outcomes([request], self.patience)
        assert report.state in (TaskState.CANCELLED, TaskState.DONE)

    @needs("function", "executes", "kills functions")
    async def test_shutdown_stops_running_work(self, fresh: Bare, folder: str) -> None:
        request = fresh.request(functions.beat, folder)
        fresh.submit(request)
        await appears(folder, "beats")
        await self._ends(fresh.backend)
        size = (Path(folder) / "beats").stat().st_size
        await asyncio.sleep(0.2)
        assert (Path(folder) / "beats").stat().st_size == size

    async def test_shutdown_without_cancel_finishes_everything(self, fresh: Bare) -> None:
        requests = [fresh.plain(at) for at in range(100)]
        fresh.submit(*requests)
        await self._ends(fresh.backend, cancel=False)
        reports = await fresh.sink.outcomes(requests, self.patience)
        assert {report.state for report in reports} == {TaskState.DONE}

    @needs("function", "executes")
    async def test_shutdown_without_cancel_waits_for_running_work(
        self, fresh: Bare, folder: str
    ) -> None:
        request = fresh.request(functions.hold, folder)
        fresh.submit(request)
        await appears(folder, "began-task")
        ending = asyncio.ensure_future(fresh.backend.shutdown(cancel=False))
        done, _ = await asyncio.wait([ending], timeout=0.1)
        assert not done
        open_gate(folder)
        await asyncio.wait_for(ending, self.patience)
        (report,) = await fresh.sink.outcomes([request], self.patience)
        assert report.state is TaskState.DONE

    @needs("function", "executes", "kills functions")
    async def test_a_shutdown_that_cancels_overtakes_one_that_waits(
        self, fresh: Bare, folder: str
    ) -> None:
        request = fresh.request(functions.beat, folder)
        fresh.submit(request)
        await appears(folder, "beats")
        patient = asyncio.ensure_future(fresh.backend.shutdown(cancel=False))
        await asyncio.sleep(0)
        await self._ends(fresh.backend)
        await asyncio.wait_for(patient, self.patience)
        (report,) = await fresh.sink.outcomes([request], self.patience)
        assert report.state is TaskState.CANCELLED

    async def test_submitting_after_the_end_is_refused(self, fresh: Bare) -> None:
        await self._ends(fresh.backend)
        with pytest.raises((BackendError, EngineClosedError)):
            fresh.backend.submit([fresh.plain()])

    async def test_cancelling_after_the_end_is_ignored(self, fresh: Bare) -> None:
        request = fresh.plain()
        await fresh.run(request, deadline=self.patience)
        await self._ends(fresh.backend)
        fresh.backend.cancel([request.task_id, 10**9])

    async def test_starting_after_the_end_is_refused(self, fresh: Bare) -> None:
        await self._ends(fresh.backend)
        with pytest.raises((BackendError, EngineClosedError)):
            await fresh.backend.start(fresh.sink)

    async def test_no_report_comes_after_the_end(self, fresh: Bare) -> None:
        fresh.submit(*[fresh.plain(at) for at in range(100)])
        await self._ends(fresh.backend)
        # Reports handed in by a thread are in the list already; none may follow.
        count = len(fresh.sink.reports)
        await asyncio.sleep(0.2)
        assert len(fresh.sink.reports) == count

    async def test_it_is_an_async_context_manager(self) -> None:
        async with LeakGuard():
            backend = await self.new_backend()
            async with backend as entered:
                assert entered is backend
            with pytest.raises((BackendError, EngineClosedError)):
                await backend.start(RecordingSink())

    async def test_two_at_once_do_not_disturb_each_other(
        self, fresh: Bare, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        other = await Bare.started(await self.new_backend(), tmp_path_factory.mktemp("run"))
        try:
            await fresh.run(fresh.plain(), deadline=self.patience)
            await self._ends(fresh.backend)
            (report,) = await other.run(other.plain(), deadline=self.patience)
            assert report.state is TaskState.DONE
        finally:
            await other.close()
        assert other.sink.violations == []

    async def test_one_after_the_other_leaves_nothing(
        self, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        async with LeakGuard():
            for _ in range(3):
                bare = await Bare.started(await self.new_backend(), tmp_path_factory.mktemp("run"))
                await bare.run(bare.plain(), deadline=self.patience)
                await bare.close()

    async def test_the_environment_and_the_folder_are_left_alone(self, fresh: Bare) -> None:
        environment, folder = dict(os.environ), Path.cwd()
        await fresh.run(fresh.plain(), deadline=self.patience)
        await self._ends(fresh.backend)
        assert dict(os.environ) == environment
        assert Path.cwd() == folder

    async def _ends(self, backend: ExecutionBackend, *, cancel: bool = True) -> None:
        """It shuts down in time, while the loop goes on turning."""
        async with loop_never_stalls(), asyncio.timeout(self.patience):
            await backend.shutdown(cancel=cancel)
