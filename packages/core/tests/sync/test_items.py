"""Items of results in a program without an event loop."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from radical.asyncflow.sync import Flow, TaskItem


@pytest.fixture
def flow() -> Iterator[Flow]:
    with Flow("concurrent", {"max_workers": 2}) as flow:
        yield flow


def both(number: int) -> dict[str, Any]:
    return {"half": number / 2, "many": [number, number + 1]}


def identity(value: Any) -> Any:
    return value


def test_items_are_arguments_and_have_a_result(flow: Flow) -> None:
    made = flow.function_task(both)(3)
    task = flow.function_task(identity)
    assert task(made["half"]).result() == 1.5
    assert task([{"a": made["many"][0]}, made]).result() == [{"a": 3}, both(3)]
    assert made["many"][1].result(60) == 4
    assert made["many"][1].task is made
    assert flow.executor().submit(identity, made["half"]).result() == 1.5
    assert len(flow.plan().tasks) == 4


def test_an_item_that_is_not_there_fails_what_needs_it(flow: Flow) -> None:
    made = flow.function_task(both)(3)
    message = r"task 'both' \(task\.000001\) returned a dict, which has no item 'no'"
    with pytest.raises(LookupError, match=message):
        made["no"].result()
    with pytest.raises(LookupError, match=message):
        flow.function_task(identity)(made["no"]).result()


def test_an_item_of_another_flow_is_waited_for(flow: Flow) -> None:
    with Flow("concurrent", {"max_workers": 1}) as other:
        item = other.function_task(both)(3)["half"]
        assert flow.function_task(identity)(item).result() == 1.5


def test_an_item_is_no_sequence_and_does_not_travel(flow: Flow) -> None:
    made: Any = flow.function_task(both)(3)
    item = made["many"]
    for thing in (made, item):
        with pytest.raises(TypeError, match="not iterable"):
            list(thing)
    with pytest.raises(TypeError, match="cannot be sent to a worker"):
        pickle.dumps(item)
    assert isinstance(item, TaskItem)
    assert repr(item["a"]).startswith("<TaskItem ['many']['a'] of <TaskFuture 'both' ")
    made.result()
