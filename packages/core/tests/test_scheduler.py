"""The scheduler, with plain nodes and no loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from radical.asyncflow._graph.scheduler import MOST_DEPTH, Node, Resolution, Scheduler
from radical.asyncflow.errors import CycleError, DependencyFailureError
from radical.asyncflow.model import TaskKind, TaskSpec, TaskState
from radical.asyncflow.model._states import TransitionError

PENDING, READY = TaskState.PENDING, TaskState.READY
SUBMITTED, RUNNING = TaskState.SUBMITTED, TaskState.RUNNING
DONE, FAILED, CANCELLED = TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED


class PlainNode(Node):
    __slots__ = (*Node._FIELDS, "_lane", "_native", "_origin", "_spec")

    def __init__(self, number: int, *args: Any, lane: Any = "here", native: bool = False) -> None:
        self._number = number
        self._spec = TaskSpec(f"t{number}", TaskKind.FUNCTION, print)
        self._args = args
        self._kwargs = {}
        self._lane = lane
        self._native = native
        self._attempt = 1
        self._dependents = self._followers = self._origin = None
        self._stage = PENDING
        self._blockers = self._depth = 0

    def __repr__(self) -> str:
        return f"{self._spec.name}:{self._stage.name}"


class Graph:
    """A scheduler and short ways to feed it."""

    def __init__(self) -> None:
        self.scheduler = Scheduler()
        self.nodes: list[PlainNode] = []

    def add(self, *dependencies: PlainNode, holds: int = 0, **how: Any) -> PlainNode:
        node = PlainNode(len(self.nodes) + 1, *dependencies, **how)
        self.nodes.append(node)
        self.ended: Sequence[Resolution] = self.scheduler.add(node, dependencies or None, holds)
        return node

    def send(self, node: PlainNode) -> PlainNode:
        """As the engine does: out of the queue, to the backend."""
        self.scheduler.put_first()
        self.scheduler.ready.remove(node)
        self.scheduler.tasks[node._number] = node
        self.scheduler.submitted(node)
        return node

    def ready(self) -> list[Node]:
        return [*self.scheduler.first, *self.scheduler.ready]


@pytest.fixture
def graph() -> Graph:
    return Graph()


def test_a_task_without_dependencies_is_ready_at_once(graph: Graph) -> None:
    node = graph.add()
    assert graph.ready() == [node]


def test_a_task_waits_for_its_dependency(graph: Graph) -> None:
    first = graph.add()
    second = graph.add(first)
    assert (second._stage, graph.ready()) == (PENDING, [first])


def test_the_last_dependency_makes_a_task_ready(graph: Graph) -> None:
    first, second = graph.add(), graph.add()
    third = graph.add(first, second)
    graph.scheduler.succeed(graph.send(first))
    assert third._stage is PENDING
    graph.scheduler.succeed(graph.send(second))
    assert graph.ready() == [third]


def test_a_dependency_named_twice_is_counted_twice_and_opens_once(graph: Graph) -> None:
    first = graph.add()
    second = graph.add(first, first)
    graph.scheduler.succeed(graph.send(first))
    assert graph.ready() == [second]


def test_a_finished_dependency_does_not_hold(graph: Graph) -> None:
    first = graph.add()
    graph.scheduler.succeed(graph.send(first))
    assert graph.add(first)._stage is READY


def test_tasks_become_ready_in_the_order_of_their_calls(graph: Graph) -> None:
    first = graph.add()
    others = [graph.add(first) for _ in range(5)]
    graph.scheduler.succeed(graph.send(first))
    assert graph.ready() == others


def test_a_hold_keeps_a_task_until_it_is_released(graph: Graph) -> None:
    node = graph.add(holds=2)
    graph.scheduler.release(node)
    assert node._stage is PENDING
    graph.scheduler.release(node)
    assert graph.ready() == [node]


def test_a_release_after_the_end_changes_nothing(graph: Graph) -> None:
    node = graph.add(holds=1)
    graph.scheduler.cancel(node)
    graph.scheduler.release(node)
    assert (node._stage, graph.ready()) == (CANCELLED, [])


def test_only_the_first_running_is_news(graph: Graph) -> None:
    node = graph.send(graph.add())
    assert [graph.scheduler.running(node), graph.scheduler.running(node)] == [True, False]


@pytest.mark.parametrize("early", [PENDING, READY])
def test_a_task_that_was_not_sent_cannot_succeed(graph: Graph, early: TaskState) -> None:
    node = graph.add(holds=1 if early is PENDING else 0)
    with pytest.raises(TransitionError):
        graph.scheduler.succeed(node)
    assert node._stage is early


@pytest.mark.parametrize("end", ["succeed", "cancel", "fail"])
def test_a_task_ends_only_once(graph: Graph, end: str) -> None:
    node = graph.send(graph.add())
    graph.scheduler.succeed(node)
    with pytest.raises(TransitionError):
        getattr(graph.scheduler, end)(node, *([ValueError()] if end == "fail" else []))
    assert node._stage is DONE


def test_a_failure_ends_all_that_depends_on_it_nearest_first(graph: Graph) -> None:
    root = graph.add()
    near = [graph.add(root), graph.add(root)]
    far = graph.add(near[0])
    ended = graph.scheduler.fail(graph.send(root), ValueError("bad"))
    assert [item.node for item in ended] == [root, *near, far]
    assert {node._stage for node in graph.nodes} == {FAILED}


def test_a_cancellation_ends_all_that_depends_on_it_without_an_error(graph: Graph) -> None:
    root = graph.add()
    graph.add(graph.add(root))
    ended = graph.scheduler.cancel(root)
    assert [(item.state, item.error) for item in ended] == [(CANCELLED, None)] * 3


def test_a_resolution_tells_which_state_was_left(graph: Graph) -> None:
    root = graph.add()
    graph.add(root)
    assert [item.was for item in graph.scheduler.fail(graph.send(root), ValueError())] == [
        SUBMITTED,
        PENDING,
    ]


def test_a_resolution_tells_who_has_heirs(graph: Graph) -> None:
    root = graph.add()
    heir = graph.add(root)
    assert [item.heir for item in graph.scheduler.cancel(root)] == [heir, None]


def test_a_resolution_tells_which_dependents_had_failed_before(graph: Graph) -> None:
    roots = [graph.add() for _ in range(2)]
    heir = graph.add(*roots, roots[1])
    ends = [graph.scheduler.fail(graph.send(root), ValueError()) for root in roots]
    assert [item.late for end in ends for item in end] == [(), (), (heir,)]


def test_a_dependent_of_two_failures_ends_once(graph: Graph) -> None:
    first, second = graph.add(), graph.add()
    graph.add(first, second)
    ends = graph.scheduler.fail(first, ValueError()) + graph.scheduler.fail(second, ValueError())
    assert [item.node._number for item in ends] == [1, 3, 2]


def test_the_cause_is_the_root_however_long_the_chain(graph: Graph) -> None:
    node = root = graph.add()
    for _ in range(1000):
        node = graph.add(node)
    cause = ValueError("root")
    last = graph.scheduler.fail(root, cause)[-1]
    assert isinstance(last.error, DependencyFailureError)
    assert (last.error.root, last.error.__cause__, last.error.failed) == ("t1", cause, ("t1000",))
    assert cause.__cause__ is None


def test_a_late_dependent_of_a_failure_fails_with_the_same_root(graph: Graph) -> None:
    root = graph.add()
    middle = graph.add(root)
    cause = ValueError()
    graph.scheduler.fail(root, cause)
    graph.add(middle)
    (end,) = graph.ended
    assert isinstance(end.error, DependencyFailureError)
    assert (end.error.root, end.error.__cause__) == ("t1", cause)


def test_a_late_dependent_of_a_cancelled_task_is_cancelled(graph: Graph) -> None:
    root = graph.add()
    graph.scheduler.cancel(root)
    assert graph.add(root)._stage is CANCELLED


def test_all_failed_dependencies_are_named(graph: Graph) -> None:
    first, second = graph.add(), graph.add()
    graph.scheduler.fail(first, ValueError())
    graph.scheduler.fail(second, ValueError())
    graph.add(first, second)
    error = graph.ended[0].error
    assert isinstance(error, DependencyFailureError)
    assert error.failed == ("t1", "t2")


def test_a_chain_of_a_hundred_thousand_fails_without_recursion(graph: Graph) -> None:
    node = root = graph.add()
    for _ in range(100_000):
        node = graph.add(node)
    assert len(graph.scheduler.cancel(root)) == 100_001


def test_a_retry_is_the_next_attempt(graph: Graph) -> None:
    node = graph.send(graph.add())
    graph.scheduler.retry(node, now=True)
    assert (node._attempt, graph.ready()) == (2, [node])


def test_a_delayed_retry_waits_for_its_requeue(graph: Graph) -> None:
    node = graph.send(graph.add())
    graph.scheduler.retry(node, now=False)
    assert graph.ready() == []
    graph.scheduler.requeue(node)
    assert graph.ready() == [node]


def test_a_requeue_after_a_cancel_does_nothing(graph: Graph) -> None:
    node = graph.send(graph.add())
    graph.scheduler.retry(node, now=False)
    graph.scheduler.cancel(node)
    graph.scheduler.requeue(node)
    assert graph.ready() == []


def test_a_ready_task_can_wait_for_more(graph: Graph) -> None:
    other, node = graph.add(), graph.add()
    graph.scheduler.ready.remove(node)
    graph.scheduler.tasks[node._number] = node
    graph.scheduler.wait_more(node, [other])
    assert node._stage is PENDING
    graph.scheduler.succeed(graph.send(other))
    assert graph.ready() == [node]


def test_to_wait_for_itself_through_another_is_a_cycle(graph: Graph) -> None:
    node = graph.add()
    other = graph.add(graph.add(node))
    with pytest.raises(CycleError, match="'t1', which 't3' waits for, would wait for 't3'"):
        graph.scheduler.wait_more(node, [other])
    assert node._stage is READY


def test_a_finished_task_is_not_held(graph: Graph) -> None:
    first = graph.add()
    second = graph.add(first)
    graph.scheduler.succeed(graph.send(first))
    assert graph.scheduler.unfinished() == [second]
    assert first._dependents is None


# ------------------------------------------------------- native dependencies


def test_a_native_dependent_is_sent_as_soon_as_its_dependency_was(graph: Graph) -> None:
    first = graph.add(native=True)
    second = graph.add(first, native=True)
    graph.send(first)
    assert graph.ready() == [second]


def test_a_call_after_the_submission_follows_too(graph: Graph) -> None:
    first = graph.send(graph.add(native=True))
    assert graph.add(first, native=True)._stage is READY


@pytest.mark.parametrize("other", [{"lane": "there", "native": True}, {"native": False}])
@pytest.mark.parametrize("late", [False, True])
def test_who_cannot_take_references_waits_for_the_value(
    graph: Graph, other: dict[str, Any], late: bool
) -> None:
    first = graph.add(native=True)
    if late:
        graph.send(first)
    second = graph.add(first, **other)
    if not late:
        graph.send(first)
    assert second._stage is PENDING
    graph.scheduler.succeed(first)
    assert graph.ready() == [second]


def test_a_follower_that_was_sent_fails_with_its_dependency(graph: Graph) -> None:
    first = graph.send(graph.add(native=True))
    second = graph.send(graph.add(first, native=True))
    ended = graph.scheduler.fail(first, ValueError())
    assert [(item.node, item.was) for item in ended] == [(first, SUBMITTED), (second, SUBMITTED)]


def test_a_follower_of_a_success_goes_on(graph: Graph) -> None:
    first = graph.send(graph.add(native=True))
    second = graph.send(graph.add(first, native=True))
    graph.scheduler.succeed(first)
    assert (second._stage, first._followers) == (SUBMITTED, None)


def test_the_depth_is_that_of_the_longest_chain_before(graph: Graph) -> None:
    root, other = graph.add(), graph.add()
    middle = graph.add(root)
    end = graph.add(other, middle, other)
    assert [node._depth for node in (root, other, middle, end)] == [0, 0, 1, 2]
    graph.scheduler.succeed(graph.send(root))
    late = graph.add(root)  # what is done counts, too
    assert late._depth == 1
    for _ in range(MOST_DEPTH + 5):
        end = graph.add(end)
    assert end._depth == MOST_DEPTH


def test_what_has_to_wait_for_more_becomes_deeper(graph: Graph) -> None:
    deep = graph.add(graph.add())
    node = graph.add()
    graph.send(node)
    node._stage = READY
    graph.scheduler.wait_more(node, [deep])
    assert node._depth == 2


def test_what_became_ready_goes_before_what_was_ready(graph: Graph) -> None:
    first = graph.add()
    dependents = [graph.add(first) for _ in range(2)]
    waiting = [graph.add() for _ in range(2)]
    graph.scheduler.succeed(graph.send(first))
    late = graph.add(first)
    graph.scheduler.put_first()
    assert list(graph.scheduler.ready) == [*dependents, late, *waiting]


def test_a_retried_task_keeps_its_place_before_those_that_never_waited(graph: Graph) -> None:
    first = graph.add()
    dependent, waiting = graph.add(first), graph.add()
    graph.scheduler.succeed(graph.send(first))
    graph.scheduler.retry(graph.send(dependent), now=True)
    assert graph.ready() == [dependent, waiting]
