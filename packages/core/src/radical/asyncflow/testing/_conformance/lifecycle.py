"""Checks: the backend starts and ends at any moment, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from ...backend import ExecutionBackend
from ...errors import EngineClosedError
from ...model import TaskState
from .. import _functions as functions
from .._leaks import LeakGuard
from .._sink import RecordingSink
from .bare import Bare
from .needs import needs
from .protocol import ends
from .stalls import loop_never_stalls
from .suite import Suite
from .waiting import adds_nothing, appears, beats_no_more, open_gate


class Lifecycle(Suite):
    """Each check has a backend of its own, whatever `backend_scope` says."""

    @pytest_asyncio.fixture(loop_scope="class")
    async def fresh(
        self, _declared: None, _elsewhere: None, tmp_path_factory: pytest.TempPathFactory
    ) -> AsyncIterator[Bare]:
        """Give a started backend of this check's own; fail if it leaves anything."""
        async with LeakGuard():
            folder = tmp_path_factory.mktemp("run")
            bare = await Bare.started(await self.new_backend(), folder)
            yield bare
            await bare.close()
            assert bare.sink.violations == []

    async def test_shutdown_right_after_the_start(self, fresh: Bare) -> None:
        await self._ends(fresh.backend)
        self._refuses_work(fresh)

    async def test_shutdown_without_a_start(self) -> None:
        async with LeakGuard():
            backend = await self.new_backend()
            await self._ends(backend)
            with pytest.raises(EngineClosedError):
                await backend.start(RecordingSink())

    async def test_shutdown_after_work(self, fresh: Bare) -> None:
        requests = [fresh.plain(at) for at in range(20)]
        reports = await fresh.run(*requests, deadline=self.patience)
        await self._ends(fresh.backend)
        assert [report.state for report in reports] == [TaskState.DONE] * 20
        self._refuses_work(fresh)

    async def test_shutdown_twice(self, fresh: Bare) -> None:
        await self._ends(fresh.backend)
        await self._ends(fresh.backend)
        self._refuses_work(fresh)

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
        async with loop_never_stalls(), asyncio.timeout(self.patience):
            ending = asyncio.ensure_future(fresh.backend.shutdown())
            await asyncio.sleep(0)  # it has begun
            # What cannot be killed has to come to its own end.
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
        await beats_no_more(folder)
        (report,) = await fresh.sink.outcomes([request], self.patience)
        assert report.state is TaskState.CANCELLED

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
        await asyncio.sleep(0)  # it has begun; one that does not wait ends before the work does
        open_gate(folder)
        await asyncio.wait_for(ending, self.patience)
        report = fresh.sink.outcome(request)
        assert report is not None
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
        self._refuses_work(fresh)

    async def test_cancelling_after_the_end_is_ignored(self, fresh: Bare) -> None:
        request = fresh.plain()
        await fresh.run(request, deadline=self.patience)
        await self._ends(fresh.backend)
        fresh.backend.cancel([request.task_id, 10**9])
        await adds_nothing(lambda: len(fresh.sink.reports))
        assert ends(fresh, request.task_id) == [TaskState.DONE]

    async def test_starting_after_the_end_is_refused(self, fresh: Bare) -> None:
        await self._ends(fresh.backend)
        with pytest.raises(EngineClosedError):
            await fresh.backend.start(fresh.sink)

    async def test_no_report_comes_after_the_end(self, fresh: Bare) -> None:
        fresh.submit(*[fresh.plain(at) for at in range(100)])
        await self._ends(fresh.backend)
        # Reports handed in by a thread are in the list already; none may follow.
        await adds_nothing(lambda: len(fresh.sink.reports))

    async def test_it_is_an_async_context_manager(self) -> None:
        async with LeakGuard():
            backend = await self.new_backend()
            async with backend as entered:
                assert entered is backend
            with pytest.raises(EngineClosedError):
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
                (report,) = await bare.run(bare.plain(), deadline=self.patience)
                await bare.close()
                assert report.state is TaskState.DONE
                assert bare.sink.violations == []

    @pytest.mark.usefixtures("guard")
    async def test_the_environment_and_the_folder_are_left_alone(
        self, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        environment, folder = dict(os.environ), Path.cwd()
        bare = await Bare.started(await self.new_backend(), tmp_path_factory.mktemp("run"))
        try:
            await bare.run(bare.plain(), deadline=self.patience)
        finally:
            await bare.close()
        assert dict(os.environ) == environment
        assert Path.cwd() == folder

    def _refuses_work(self, bare: Bare) -> None:
        """Fail if the backend takes a task after its end."""
        with pytest.raises(EngineClosedError):
            bare.backend.submit([bare.plain()])

    async def _ends(self, backend: ExecutionBackend, *, cancel: bool = True) -> None:
        """Shut the backend down in time, while the loop goes on turning."""
        async with loop_never_stalls(), asyncio.timeout(self.patience):
            await backend.shutdown(cancel=cancel)
