"""Items of results that are not there yet, as arguments and on their own."""

from __future__ import annotations

import asyncio
import dataclasses
import pickle
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow import (
    CycleError,
    DependencyFailureError,
    InputFile,
    TaskItem,
    WorkflowEngine,
)
from radical.asyncflow.testing import ScriptedBackend

from .resuming import Program
from .waiting import turns, until


def both(number: int) -> dict[str, Any]:
    return {"half": number / 2, "many": [number, (number + 1, {"deep": number + 2})]}


def identity(value: Any) -> Any:
    return value


async def test_an_item_is_an_argument_and_no_task(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    made = flow.function_task(both)(3)
    got = flow.function_task(identity)(made["half"])
    assert await got == 1.5
    assert len(backend.submitted) == 2
    assert flow.plan().edges == ((1, 2),)


async def test_items_are_found_where_futures_are(flow: WorkflowEngine) -> None:
    made = flow.function_task(both)(3)
    many = made["many"]
    task = flow.function_task(lambda *args, **kwargs: (args, kwargs))
    got = await task([many[0], {"a": many[1][1]["deep"]}], last=(made["half"], made))
    assert got == (([3, {"a": 5}],), {"last": (1.5, both(3))})


async def test_an_item_can_be_awaited(flow: WorkflowEngine) -> None:
    made = flow.function_task(both)(3)
    assert await made["many"][-1][0] == 4
    assert await asyncio.gather(made["half"], made["many"][0]) == [1.5, 3]
    assert made["many"][0].task is made


async def test_commands_and_blocks_take_items(flow: WorkflowEngine) -> None:
    made = flow.function_task(both)(3)
    say = flow.executable_task(lambda value: ["echo", str(value)])

    @flow.block
    async def inside(value: float) -> float:
        return await flow.function_task(identity)(value + 1)

    assert await say(made["half"]) == "echo 1.5"
    assert await inside(made["half"]) == 2.5


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["no"], r"returned a dict, which has no item 'no'; its keys are 'half', 'many'"),
        (
            ["many", 7],
            r"the item \['many'\] of what task 'both' \(task\.000001\) returned is a list",
        ),
        (["many", 7], r"which has no item 7: its length is 2"),
        (["half", 0], r"is a float, which has no items, so no 0 either"),
    ],
)
async def test_an_item_that_is_not_there_fails_what_needs_it(
    flow: WorkflowEngine, keys: list[Any], message: str
) -> None:
    item: Any = flow.function_task(both)(3)
    for key in keys:
        item = item[key]
    with pytest.raises(LookupError, match=message):
        await item
    with pytest.raises(LookupError, match=message):
        await flow.function_task(identity)([item])
    assert await item.task == both(3)


async def test_an_item_of_a_failed_or_a_cancelled_task_ends_what_needs_it(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    failed = flow.function_task(both)("3")  # type: ignore[arg-type]
    with pytest.raises(DependencyFailureError, match="its dependency 'both' failed"):
        await flow.function_task(identity)(failed["half"])
    backend.hold()
    cancelled = flow.function_task(both)(3)
    needs = flow.function_task(identity)(cancelled["half"])
    await until(backend.waiting)
    cancelled.cancel()
    await turns()
    assert needs.cancelled()


async def test_what_waits_for_an_item_says_for_which_task(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    made = flow.function_task(both)(3)
    needs = flow.function_task(identity)({"a": made["half"]})
    await until(backend.waiting)
    assert "task.000001" in str(flow.why(needs))
    backend.release(1)
    await until(backend.waiting)
    backend.release(2)
    assert await needs == {"a": 1.5}


async def test_an_item_that_is_put_in_after_the_call_is_waited_for(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold("both")
    gate, made = flow.function_task(both, name="gate")(1), flow.function_task(both)(3)
    numbers: list[Any] = [gate]
    backend.hold("gate")
    needs = flow.function_task(identity)(numbers)
    numbers.append(made["half"])
    await until(lambda: len(backend.waiting()) == 2)
    backend.release(1)
    await turns()
    assert not needs.done()
    backend.release(2)
    assert await needs == [both(1), 1.5]


async def test_an_own_item_among_the_arguments_is_a_circle(flow: WorkflowEngine) -> None:
    numbers: list[Any] = []
    needs = flow.function_task(identity)(numbers)
    numbers.append(needs[0])
    with pytest.raises(CycleError, match="its own future"):
        await needs


async def test_an_item_of_another_engine_is_awaited(flow: WorkflowEngine) -> None:
    async with WorkflowEngine.create(ScriptedBackend(name="other")) as other:
        item = other.function_task(both)(3)["half"]
        assert await flow.function_task(identity)(item) == 1.5


@pytest.mark.parametrize("remote", [False, True])
async def test_backends_that_order_tasks_and_keep_values_take_items(remote: bool) -> None:
    backend = ScriptedBackend(native_dependencies=True, remote_results=remote)
    async with WorkflowEngine.create(backend) as flow:
        made = flow.function_task(both)(3)
        again = flow.function_task(identity)(made)
        got = flow.function_task(identity)([again["many"][0], made["half"]])
        assert await flow.function_task(identity)(got[1]) == 1.5
        assert await got == [3, 1.5]


async def test_a_file_may_be_an_item(flow: WorkflowEngine, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("content")
    made = flow.function_task(lambda: {"path": str(tmp_path / "data")})()
    read = flow.function_task(lambda path: Path(path).read_text())
    assert await read(InputFile(made["path"])) == "content"
    with pytest.raises(LookupError, match="no item"):
        await read(InputFile(made["no"]))


async def test_an_item_inside_of_an_object_is_refused(flow: WorkflowEngine) -> None:
    @dataclasses.dataclass
    class Setup:
        part: Any

    made = flow.function_task(both)(3)
    with pytest.raises(TypeError, match=r"an item of the result of task 'both'.* Setup\.part"):
        flow.function_task(identity)(Setup(made["half"]))
    with pytest.raises(TypeError, match="cannot be sent to a worker"):
        pickle.dumps(made["half"])
    await made


async def test_an_item_is_no_sequence(flow: WorkflowEngine) -> None:
    item: Any = flow.function_task(both)(3)["many"]
    with pytest.raises(TypeError, match="not iterable"):
        list(item)
    with pytest.raises(TypeError):
        3 in item  # noqa: B015
    assert repr(item["a"]) == "<TaskItem ['many']['a'] of <TaskFuture task.000001 'both' PENDING>>"
    assert isinstance(item, TaskItem)
    with pytest.raises(AttributeError, match="no attribute 'half'"):
        item.task.half  # noqa: B018
    await item


async def test_a_dry_run_goes_on_with_the_items_of_results() -> None:
    async with WorkflowEngine.create(dry_run=True) as flow:
        made = flow.function_task(both)(3)
        await flow.function_task(identity)([made["many"][0]])
        assert "DryRunResult" in repr(await made["half"])
        # What a body does with an item that stands for another says nothing about a real run.
        await flow.executable_task(lambda name: f"cat {name.upper()}")(made["many"])
        assert flow.plan().edges == ((1, 2), (1, 3))


async def test_an_item_counts_in_the_identity_of_a_call(tmp_path: Path) -> None:
    program = Program(tmp_path)

    def main(number: int, key: str) -> Any:
        async def run(flow: WorkflowEngine) -> Any:
            made = flow.function_task(both)(number)
            keyed = flow.function_task(lambda value: value, name="keyed", cache_key=lambda v: v)
            return [
                await flow.function_task(identity)([made[key]]),
                await keyed(made[key]),
                await flow.function_task(identity, name="last")(made["half"]),
            ]

        return run

    assert await program.run(main(3, "half")) == ["both", "identity", "keyed", "last"]
    assert await program.run(main(3, "half")) == []
    assert program.result == [[1.5], 1.5, 1.5]
    assert await program.run(main(3, "many")) == ["identity", "keyed"]
    assert await program.run(main(4, "half")) == ["both", "identity", "keyed", "last"]
    assert program.result == [[2.0], 2.0, 2.0]


async def test_the_file_that_an_item_names_counts_by_its_content(tmp_path: Path) -> None:
    data = tmp_path / "data"
    program = Program(tmp_path)

    async def main(flow: WorkflowEngine) -> Any:
        made = flow.function_task(lambda: {"path": str(data)}, name="made")()
        read = flow.function_task(lambda path: Path(path).read_text(), name="read")
        return await read(InputFile(made["path"]))

    data.write_text("first")
    assert await program.run(main) == ["made", "read"]
    assert await program.run(main) == []
    data.write_text("second")
    assert (await program.run(main), program.result) == (["read"], "second")
