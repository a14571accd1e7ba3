"""Checks: values stay where they were made, and tasks may come before their turn."""

from __future__ import annotations

import asyncio

import pytest

from ...backend import RemoteValue, TaskKind, TaskRef, TaskRequest
from ...engine import WorkflowEngine
from ...model import TaskState
from .. import _functions as functions
from .bare import Bare
from .needs import needs
from .suite import Suite
from .waiting import appears, open_gate


class Remote(Suite):
    @needs("function", "executes", "native dependencies")
    async def test_it_orders_a_subgraph_handed_over_as_a_whole(self, bare: Bare) -> None:
        first = bare.request(functions.add, 1, 1)
        second = bare.request(functions.add, TaskRef(first.task_id), 40)
        second = second._replace(dependencies=(first.task_id,))
        third = bare.request(
            functions.total, [TaskRef(first.task_id), {"x": TaskRef(second.task_id)}]
        )
        third = third._replace(dependencies=(first.task_id, second.task_id))
        bare.submit(first, second, third)
        assert await bare.values(first, second, third, deadline=self.patience) == [2, 42, 44]

    @needs("function", "executes", "native dependencies")
    async def test_a_dependent_may_come_long_after_its_dependency(self, bare: Bare) -> None:
        first = bare.request(functions.add, 1, 1)
        await bare.run(first, deadline=self.patience)
        second = bare.request(functions.add, TaskRef(first.task_id), 40)
        second = second._replace(dependencies=(first.task_id,))
        bare.submit(second)
        assert await bare.values(second, first, deadline=self.patience) == [42, 2]

    @needs("function", "executes", "native dependencies")
    async def test_a_failed_dependency_ends_what_was_handed_over_behind_it(
        self, bare: Bare
    ) -> None:
        bad = bare.request(functions.fail, "the root")
        behind = bare.request(functions.identity, TaskRef(bad.task_id))
        behind = behind._replace(dependencies=(bad.task_id,))
        reports = await bare.run(bad, behind, deadline=self.patience)
        assert [report.state for report in reports] == [TaskState.FAILED, TaskState.FAILED]

    @needs("function", "executes", "native dependencies")
    async def test_a_cancelled_dependency_ends_what_was_handed_over_behind_it(
        self, bare: Bare, folder: str
    ) -> None:
        first = bare.request(functions.hold, folder)
        behind = bare.request(functions.identity, TaskRef(first.task_id))
        behind = behind._replace(dependencies=(first.task_id,))
        bare.submit(first, behind)
        await appears(folder, "began-task")
        bare.backend.cancel([first.task_id, behind.task_id])
        open_gate(folder)
        reports = await bare.sink.outcomes([first, behind], self.patience)
        assert reports[1].state in (TaskState.FAILED, TaskState.CANCELLED)

    @needs("function", "executes", "chains")
    async def test_a_chain_runs_in_its_order_with_the_values_passed_on(self, bare: Bare) -> None:
        chain = [bare.request(functions.add, 1, 1)]
        for _ in range(29):
            # The value stands twice, among the arguments and among the keywords.
            reference = TaskRef(chain[-1].task_id)
            link = bare.request(functions.add, reference, kwargs={"right": reference})
            chain.append(link._replace(dependencies=(reference.task_id,)))
        other = bare.request(functions.identity, "another")
        bare.submit(*chain, other)
        values = await bare.values(*chain, other, deadline=self.patience)
        assert values.pop() == "another"
        assert values == [2**power for power in range(1, 31)]
        ends = [report.task_id for report in bare.sink.reports if report.state is TaskState.DONE]
        ids = [request.task_id for request in chain]
        assert [task_id for task_id in ends if task_id in ids] == ids

    @needs("function", "executes", "chains")
    async def test_nothing_of_a_chain_runs_behind_a_failure(self, bare: Bare, folder: str) -> None:
        bad = bare.request(functions.fail, "as planned")
        chain = [bad, *_behind(bare, bad, folder)]
        reports = await bare.run(*chain, deadline=self.patience)
        assert reports[0].state is TaskState.FAILED
        assert {report.state for report in reports[1:]} <= {TaskState.FAILED, TaskState.CANCELLED}
        ids = [request.task_id for request in chain]
        ends = [report.task_id for report in bare.sink.reports if report.state >= TaskState.DONE]
        assert [task_id for task_id in ends if task_id in ids] == ids
        assert functions.next_number(folder) == 1

    @needs("function", "executes", "chains")
    async def test_a_chain_that_waits_can_be_cancelled_from_the_middle(
        self, bare: Bare, folder: str
    ) -> None:
        first = bare.request(functions.hold, folder)
        chain = [first, *_behind(bare, first, folder)]
        bare.submit(*chain)
        await appears(folder, "began-task")
        bare.backend.cancel([chain[1].task_id])
        reports = await bare.sink.outcomes(chain[1:], self.patience)
        assert TaskState.DONE not in {report.state for report in reports}
        await asyncio.sleep(self.travel)
        open_gate(folder)
        (report,) = await bare.sink.outcomes([first], self.patience)
        assert report.state is TaskState.DONE
        assert functions.next_number(folder) == 1

    @needs("function", "executes", "chains")
    async def test_nothing_of_a_chain_runs_behind_a_task_cancelled_while_it_ran(
        self, bare: Bare, folder: str
    ) -> None:
        first = bare.request(functions.hold, folder)
        chain = [first, *_behind(bare, first, folder)]
        bare.submit(*chain)
        await appears(folder, "began-task")
        bare.backend.cancel([first.task_id])
        if TaskKind.FUNCTION not in bare.backend.capabilities.kills_running:
            open_gate(folder)  # a worker elsewhere might see it before it hears of the cancel
        reports = await bare.sink.outcomes(chain, self.patience)
        assert TaskState.DONE not in {report.state for report in reports[1:]}
        assert functions.next_number(folder) == 1

    @needs("function", "executes", "remote results")
    async def test_a_remote_value_can_be_fetched_again_and_again(self, bare: Bare) -> None:
        (report,) = await bare.run(bare.request(functions.add, 40, 2), deadline=self.patience)
        assert isinstance(report.value, RemoteValue)
        values = await asyncio.gather(report.value.fetch(), report.value.fetch())
        assert list(values) == [42, 42]

    @needs("function", "executes", "remote results")
    async def test_a_released_value_can_be_released_once_more(self, bare: Bare) -> None:
        (report,) = await bare.run(bare.request(functions.add, 40, 2), deadline=self.patience)
        assert isinstance(report.value, RemoteValue)
        report.value.release()
        report.value.release()
        (later,) = await bare.run(bare.plain("alive"), deadline=self.patience)
        assert later.state is TaskState.DONE

    @needs("function", "executes", "remote results")
    async def test_awaiting_a_task_brings_its_value_here(self, flow: WorkflowEngine) -> None:
        assert await flow.function_task(functions.add)(40, 2) == 42

    @needs("function", "executes", "remote results")
    async def test_a_failure_is_never_remote(self, flow: WorkflowEngine) -> None:
        with pytest.raises(ValueError, match="as planned"):
            await flow.function_task(functions.fail)()


def _behind(bare: Bare, first: TaskRequest, folder: str) -> list[TaskRequest]:
    """Make two links behind *first*; each would take a number from *folder*."""
    links: list[TaskRequest] = []
    for before in (first, None):
        before = before or links[-1]
        link = bare.request(
            lambda place, _: functions.next_number(place), folder, TaskRef(before.task_id)
        )
        links.append(link._replace(dependencies=(before.task_id,)))
    return links
