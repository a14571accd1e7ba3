"""The same program with the same journal: what is reused, and what runs again."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asyncflow_backend_concurrent import ConcurrentExecutionBackend
from radical.asyncflow import (
    Command,
    ConfigurationError,
    DependencyFailureError,
    FileError,
    InputFile,
    OutputFile,
    WorkflowEngine,
)
from radical.asyncflow.testing import ScriptedBackend

from .resuming import Main, Program, Sources


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(tmp_path)


def threads() -> ConcurrentExecutionBackend:
    return ConcurrentExecutionBackend(max_workers=2)


def square(x: int) -> int:
    return x * x


def add(*numbers: int) -> int:
    return sum(numbers)


def length(value: Any) -> int:
    return len(value)


def found(folder: Path, pattern: str) -> list[Path]:
    return list(folder.glob(pattern))


def text_in(path: str | None) -> str:
    return Path(str(path)).read_text()


async def diamond(flow: WorkflowEngine) -> Any:
    one = flow.function_task(square, name="top")(3)
    left = flow.function_task(add, name="left")(one, 1)
    right = flow.function_task(add, name="right")(one, 2)
    return await flow.function_task(add, name="bottom")(left, right)


# ------------------------------------------------------------- what is unchanged


async def test_nothing_runs_again(program: Program) -> None:
    assert await program.run(diamond) == ["top", "left", "right", "bottom"]
    assert await program.run(diamond) == []
    assert program.result == 21


async def test_the_journal_says_whose_results_were_reused(program: Program) -> None:
    await program.run(diamond, uid="first")
    await program.run(diamond, uid="second")
    assert [task.reused for task in program.records()] == [f"first/{n}" for n in range(1, 5)]
    await program.run(diamond, uid="third")
    assert [task.reused for task in program.records()] == [f"first/{n}" for n in range(1, 5)]


async def test_what_a_killed_run_left_is_reused(program: Program) -> None:
    async def half(flow: WorkflowEngine) -> Any:
        one = flow.function_task(square, name="top")(3)
        return await flow.function_task(add, name="left")(one, 1)

    await program.run(half)
    assert await program.run(diamond) == ["right", "bottom"]


async def test_options_that_say_how_do_not_count(program: Program) -> None:
    async def once(flow: WorkflowEngine) -> Any:
        return await flow.function_task(square)(3)

    async def otherwise(flow: WorkflowEngine) -> Any:
        task = flow.function_task(retries=3, timeout=60, backend="scripted")(square)
        return await task(3)

    await program.run(once)
    assert await program.run(otherwise) == []


async def test_a_crash_on_one_backend_is_resumed_on_another(program: Program) -> None:
    await program.run(diamond, threads())
    assert await program.run(diamond, ScriptedBackend()) == []
    assert await program.run(diamond, ConcurrentExecutionBackend(executor_type="process")) == []


@pytest.mark.parametrize("how", [{"name": "area"}, {"version": 2}, {"capture_stdio": True}])
async def test_a_name_a_version_and_the_kind_of_result_count(
    program: Program, how: dict[str, Any]
) -> None:
    async def once(flow: WorkflowEngine, **options: Any) -> Any:
        return await flow.executable_task(**options)(lambda x: f"echo {x}")(3)

    await program.run(once, threads())
    assert await program.run(once, threads()) == []
    assert len(await program.run(functools.partial(once, **how), threads())) == 1


# --------------------------------------------------------------- what is changed

CHAIN = """
    FACTOR = 1

    def helper(x):
        return x + 1

    def first(x):
        return x * FACTOR

    def second(x):
        return helper(x)

    def side(x):
        return x + 100

    def last(x, y):
        return x, y
"""


def chain(module: Any, start: int = 3) -> Main:
    async def main(flow: WorkflowEngine) -> Any:
        first = flow.function_task(module.first)(start)
        second = flow.function_task(module.second)(first)
        side = flow.function_task(module.side)(7)
        return await flow.function_task(module.last)(second, side)

    return main


@pytest.mark.parametrize(
    ("old", "new", "again"),
    [
        ("FACTOR = 1", "FACTOR = 1.0", ["first", "second", "last"]),
        ("return x + 1\n", "return 1 + x\n", ["second", "last"]),
        ("x + 100", "100 + x", ["side", "last"]),
        ("x, y\n", "(x, y, 0)\n", ["last"]),
        ("return helper(x)", "return helper(x)  # why", []),
    ],
    ids=["a constant", "a helper", "a sibling", "the end", "a comment"],
)
async def test_a_change_runs_again_exactly_what_is_below_it(
    program: Program, sources: Sources, old: str, new: str, again: list[str]
) -> None:
    await program.run(chain(sources.load(CHAIN)))
    assert await program.run(chain(sources.load(CHAIN))) == []
    assert sorted(await program.run(chain(sources.load(CHAIN.replace(old, new))))) == sorted(again)


async def test_another_argument_runs_again_what_is_below_it(
    program: Program, sources: Sources
) -> None:
    module = sources.load(CHAIN)
    await program.run(chain(module, 3))
    assert await program.run(chain(module, 4)) == ["first", "second", "last"]
    assert await program.run(chain(module, 3)) == []


async def test_a_dependency_counts_by_its_identity_not_by_its_value(program: Program) -> None:
    async def main(flow: WorkflowEngine, base: int) -> Any:
        one = flow.function_task(lambda x: 0, name="zero")(base)  # noqa: ARG005
        return await flow.function_task(square)(one)

    await program.run(functools.partial(main, base=1))
    assert await program.run(functools.partial(main, base=2)) == ["zero", "square"]


# ------------------------------------------------------------------- equal calls


async def test_equal_calls_keep_their_own_results(program: Program) -> None:
    async def samples(flow: WorkflowEngine) -> Any:
        sample = flow.function_task(lambda: random.random(), name="sample")
        shown = flow.function_task(lambda x: x, name="shown")
        drawn = [sample() for _ in range(10)]
        return await asyncio.gather(*drawn, *map(shown, drawn))

    await program.run(samples)
    drawn = program.result
    assert len(set(drawn)) == 10
    assert drawn[:10] == drawn[10:]
    assert await program.run(samples) == []
    assert program.result == drawn


async def test_equal_calls_with_large_arguments_keep_their_order(program: Program) -> None:
    big = np.zeros(1 << 18)

    async def samples(flow: WorkflowEngine) -> Any:
        sample = flow.function_task(lambda x: random.random(), name="sample")  # noqa: ARG005
        drawn = [sample(big) for _ in range(20)]
        pairs = [
            flow.function_task(lambda *pair: pair, name="pair")(*pair) for pair in enumerate(drawn)
        ]
        return await asyncio.gather(*pairs)

    await program.run(samples)
    drawn = program.result
    assert await program.run(samples) == []
    assert program.result == drawn


async def test_a_second_equal_call_that_was_not_made_before_runs(program: Program) -> None:
    async def samples(flow: WorkflowEngine, number: int) -> Any:
        sample = flow.function_task(lambda: 1, name="sample")
        return await asyncio.gather(*[sample() for _ in range(number)])

    await program.run(functools.partial(samples, number=2))
    assert await program.run(functools.partial(samples, number=3)) == ["sample"]


async def replicas(flow: WorkflowEngine, order: list[int], broken: tuple[int, ...] = ()) -> Any:
    """Blocks whose equal calls come in *order*, whatever the order of the blocks."""
    gates = [asyncio.Event() for _ in order]
    sample = flow.function_task(lambda: random.random(), name="sample")
    pair = flow.function_task(lambda *pair: pair, name="pair")

    @flow.block
    async def replica(number: int) -> Any:
        await gates[number].wait()
        if number in broken:
            raise ValueError
        drawn = sample()
        return await pair(number, drawn)

    futures = [replica(number) for number in sorted(order)]
    for number in order:
        gates[number].set()
        await asyncio.wait([futures[number]])
    return await asyncio.gather(*futures, return_exceptions=True)


async def test_equal_calls_of_blocks_keep_their_results_in_any_order(program: Program) -> None:
    await program.run(lambda flow: replicas(flow, [2, 0, 1]))
    drawn = program.result
    assert await program.run(lambda flow: replicas(flow, [0, 1, 2])) == []
    assert program.result == drawn
    assert await program.run(lambda flow: replicas(flow, [1, 2, 0])) == []
    assert program.result == drawn


async def test_a_block_leaves_alone_what_another_block_drew(program: Program) -> None:
    await program.run(lambda flow: replicas(flow, [3, 1, 0, 2], broken=(0, 2)))
    kept = program.result[1::2]
    assert await program.run(lambda flow: replicas(flow, [0, 1, 2, 3])) == ["sample", "pair"] * 2
    assert program.result[1::2] == kept
    assert await program.run(lambda flow: replicas(flow, [2, 1, 3, 0])) == []


async def test_blocks_that_share_work_get_each_others_results(program: Program) -> None:
    async def main(flow: WorkflowEngine, order: list[int]) -> Any:
        work = iter(range(6))
        task = flow.function_task(square)
        turns = [asyncio.Event() for _ in range(6)]

        @flow.block
        async def worker(mine: list[int], lock: Any) -> None:
            for turn in mine:
                await turns[turn].wait()
                await task(next(work))
                turns[min(turn + 1, 5)].set()

        turns[0].set()
        shares = [[turn for turn in range(6) if order[turn] == number] for number in range(2)]
        await asyncio.gather(*[worker(share, threading.Lock()) for share in shares])

    await program.run(lambda flow: main(flow, [0, 0, 0, 1, 1, 1]))
    assert await program.run(lambda flow: main(flow, [0, 1, 0, 1, 0, 1])) == []


async def test_the_tasks_of_a_block_that_was_changed_or_renamed_are_reused(
    program: Program,
) -> None:
    async def main(flow: WorkflowEngine, points: int, name: str = "study") -> Any:
        @flow.block(name=name)
        async def study(points: int) -> Any:
            return await asyncio.gather(*map(flow.function_task(square), range(points)))

        return await study(points)

    await program.run(functools.partial(main, points=3))
    assert await program.run(functools.partial(main, points=5)) == ["square"] * 2
    assert await program.run(functools.partial(main, points=5, name="other")) == []

    async def without(flow: WorkflowEngine) -> Any:
        return await asyncio.gather(*map(flow.function_task(square), range(5)))

    assert await program.run(without) == []
    assert await program.run(functools.partial(main, points=5)) == []


# ------------------------------------------------------------------------- cache


async def once(flow: WorkflowEngine, **options: Any) -> Any:
    return await flow.function_task(**options)(square)(3)


async def test_without_cache_it_runs_again_and_its_dependents_go_by_its_value(
    program: Program,
) -> None:
    async def main(flow: WorkflowEngine, base: int) -> Any:
        one = flow.function_task(lambda: base, name="one", cache=False, cache_key=1)()
        return await flow.function_task(square)(one)

    await program.run(functools.partial(main, base=1))
    assert await program.run(functools.partial(main, base=1)) == ["one"]
    assert await program.run(functools.partial(main, base=2)) == ["one", "square"]


async def test_always_makes_equal_calls_one(program: Program) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        sample = flow.function_task(lambda: random.random(), name="sample", cache="always")
        drawn = await asyncio.gather(*[sample() for _ in range(5)])
        return [*drawn, await sample()]

    assert await program.run(main) == ["sample"]
    drawn = program.result
    assert len(set(drawn)) == 1
    assert await program.run(main) == []
    assert program.result == drawn


async def test_always_with_large_arguments(program: Program) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        total = flow.function_task(lambda x: float(x.sum()), name="total", cache="always")
        return await asyncio.gather(*[total(np.ones(1 << 18)) for _ in range(5)])

    assert await program.run(main) == ["total"]
    assert await program.run(main) == []


async def test_always_runs_again_what_failed(program: Program) -> None:
    calls: list[int] = []

    async def main(flow: WorkflowEngine) -> Any:
        def body() -> int:
            calls.append(1)
            if len(calls) == 1:
                raise ValueError
            return 7

        task = flow.function_task(cache="always")(body)
        return await asyncio.gather(*[task() for _ in range(3)], return_exceptions=True)

    await program.run(main)
    assert len(calls) == 2
    assert program.result[1:] == [7, 7]


@pytest.mark.parametrize(
    "key", [1, ("a", 2), lambda x: x % 2, len], ids=["number", "tuple", "lambda", "builtin"]
)
async def test_a_cache_key_stands_for_the_arguments(program: Program, key: Any) -> None:
    async def main(flow: WorkflowEngine, value: Any) -> Any:
        task = flow.function_task(cache_key=key)(lambda x: 1)  # noqa: ARG005
        return await task(flow.function_task(lambda x: x, name="given")(value))

    one, other = ("ab", "cd") if key is len else (1, 3)
    await program.run(functools.partial(main, value=one))
    assert await program.run(functools.partial(main, value=other)) == ["given"]


async def test_another_cache_key_runs_again(program: Program) -> None:
    await program.run(functools.partial(once, cache_key=1))
    assert await program.run(functools.partial(once, cache_key=2)) == ["square"]
    assert await program.run(functools.partial(once, cache_key=lambda x: x)) == ["square"]


async def test_a_cache_key_that_raises_has_its_task_run(program: Program) -> None:
    main = functools.partial(once, cache_key=lambda x: 1 / 0)  # noqa: ARG005
    await program.run(main)
    assert await program.run(main) == ["square"]
    assert program.why("square") == "its cache_key raised ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"cache": "never"}, "cache must be True, False or \"always\", not 'never'"),
        ({"cache_key": [1]}, "cache_key must be a plain value or a function of the arguments"),
        ({"version": [1]}, "version must be a string or a number, not [1]"),
    ],
)
async def test_a_wrong_option_is_named(
    program: Program, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await program.run(functools.partial(once, **options))
    assert text in str(caught.value)


# --------------------------------------------------- what cannot be compared or kept


async def test_arguments_that_cannot_be_compared_have_their_task_run(program: Program) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        return await flow.function_task(lambda lock: 1, name="locked")(threading.Lock())  # noqa: ARG005

    await program.run(main)
    assert await program.run(main) == ["locked"]
    assert program.why("locked") == "a lock cannot be pickled: cannot pickle '_thread.lock' object"


async def test_an_argument_that_raises_when_it_is_looked_at_has_its_task_run(
    program: Program,
) -> None:
    class Odd:
        @property
        def nbytes(self) -> int:
            raise RuntimeError("not now")

    def defaulted(odd: Any = Odd()) -> int:  # noqa: B008
        return 2

    async def main(flow: WorkflowEngine) -> Any:
        one = flow.function_task(lambda odd: 1, name="odd")(Odd())  # noqa: ARG005
        return await asyncio.gather(one, flow.function_task(defaulted)())

    await program.run(main)
    assert program.result == [1, 2]
    assert await program.run(main) == ["odd"]
    assert program.why("odd") == "RuntimeError: not now"


async def test_a_result_that_cannot_be_pickled_is_made_again(program: Program) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        lock = flow.function_task(lambda: threading.Lock(), name="lock")()
        return await flow.function_task(lambda lock: 1, name="below")(lock)  # noqa: ARG005

    await program.run(main)
    assert await program.run(main) == ["lock", "below"]
    assert "cannot be pickled" in str(program.records()[0].unstored)


async def test_a_result_that_is_too_large_is_made_again_but_nothing_below(tmp_path: Path) -> None:
    program = Program(tmp_path, result_limit=1000)

    async def main(flow: WorkflowEngine) -> Any:
        large = flow.function_task(lambda: "x" * 2000, name="large")()
        return await flow.function_task(length)(large)

    await program.run(main)
    assert await program.run(main) == ["large"]


async def test_results_come_back_as_they_were(program: Program) -> None:
    values = [None, True, 7, 1 << 80, 2.5, float("inf"), "ü\ud800", b"x", (1, [2]), {3: {4}}]
    values.append("y" * 100_000)

    async def main(flow: WorkflowEngine) -> Any:
        task = flow.function_task(lambda number: values[number], name="value")
        return await asyncio.gather(*map(task, range(len(values))))

    await program.run(main)
    assert await program.run(main) == []
    assert program.result == values
    assert list(map(type, program.result)) == list(map(type, values))


async def test_a_lost_result_is_made_again(program: Program, tmp_path: Path) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        return len(await flow.function_task(lambda: bytes(200_000), name="blob")())

    await program.run(main)
    (blob,) = found(tmp_path, "journal.results/*/*")
    blob.write_bytes(b"damaged")
    assert await program.run(main) == ["blob"]
    assert "is damaged" in str(program.why("blob"))


async def test_arrays_count_by_their_numbers(program: Program) -> None:
    async def main(flow: WorkflowEngine, array: Any) -> Any:
        return await flow.function_task(lambda x: float(x.sum()), name="total")(array)

    await program.run(functools.partial(main, array=np.arange(1 << 18)))
    assert await program.run(functools.partial(main, array=np.arange(1 << 18))) == []
    changed = np.arange(1 << 18)
    changed[77] = 0
    assert await program.run(functools.partial(main, array=changed)) == ["total"]


# ----------------------------------------------------------------- dependencies


async def test_futures_in_containers_count_by_their_identity(program: Program) -> None:
    async def main(flow: WorkflowEngine, last: int = 3) -> Any:
        task = flow.function_task(square)
        parts = {"a": [task(1), (task(2),)], "b": {"c": task(last)}}
        return await flow.function_task(lambda parts: str(parts), name="shown")(parts)

    await program.run(main)
    assert await program.run(main) == []
    assert program.result == "{'a': [1, (4,)], 'b': {'c': 9}}"
    assert await program.run(functools.partial(main, last=4)) == ["square", "shown"]


async def test_foreign_awaitables_count_by_their_results(program: Program) -> None:
    async def main(flow: WorkflowEngine, value: int = 3) -> Any:
        async def foreign() -> int:
            await asyncio.sleep(0)
            return value

        return await flow.function_task(square)(foreign())

    await program.run(main)
    assert await program.run(main) == []
    assert program.result == 9
    assert await program.run(functools.partial(main, value=4)) == ["square"]


async def test_a_future_that_was_put_into_an_argument_later_counts(program: Program) -> None:
    async def main(flow: WorkflowEngine, value: int = 3) -> Any:
        gate = asyncio.get_running_loop().create_future()
        numbers: list[Any] = [gate]
        total = flow.function_task(lambda numbers: sum(numbers[1:]), name="total")(numbers)
        numbers.append(flow.function_task(square)(value))
        gate.set_result(0)
        return await total

    await program.run(main)
    assert await program.run(main) == []
    assert program.result == 9
    assert await program.run(functools.partial(main, value=4)) == ["square", "total"]


async def test_a_task_function_as_an_argument_counts_by_its_code(program: Program) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        return await flow.function_task(lambda f: f.__name__, name="named")(square)

    await program.run(main)
    assert await program.run(main) == []


async def test_methods_partials_and_objects_are_bodies(program: Program) -> None:
    class Scale:
        def __init__(self, factor: int) -> None:
            self.factor = factor

        def __call__(self, x: int) -> int:
            return self.factor * x

        def method(self, x: int) -> int:
            return -self.factor * x

    async def main(flow: WorkflowEngine, factor: int = 2) -> Any:
        scale = Scale(factor)
        bodies = [scale, scale.method, functools.partial(add, factor)]
        return await asyncio.gather(*[flow.function_task(body)(1) for body in bodies])

    await program.run(main)
    assert program.result == [2, -2, 3]
    assert await program.run(main) == []
    assert program.result == [2, -2, 3]
    assert len(await program.run(functools.partial(main, factor=3))) == 3


# ------------------------------------------------------------------------- files


async def test_inputs_count_by_their_content(program: Program, tmp_path: Path) -> None:
    given = tmp_path / "given.txt"

    async def main(flow: WorkflowEngine) -> Any:
        task = flow.function_task(lambda path: Path(path).read_text(), name="read")
        return await task(InputFile(str(given)))

    given.write_text("one")
    await program.run(main)
    given.touch()
    assert await program.run(main) == []
    given.write_text("two")
    assert await program.run(main) == ["read"]
    assert program.result == "two"


async def test_a_folder_counts_by_what_is_in_it(program: Program, tmp_path: Path) -> None:
    folder = tmp_path / "given"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/a.txt").write_text("one")

    async def main(flow: WorkflowEngine) -> Any:
        task = flow.function_task(lambda path: len(list(Path(path).rglob("*"))), name="count")
        return await task(InputFile(str(folder)))

    await program.run(main)
    assert await program.run(main) == []
    (folder / "deep/a.txt").rename(folder / "deep/b.txt")
    assert await program.run(main) == ["count"]


def write(path: Any, text: str) -> int:
    return Path(path).write_text(text)


async def produce(flow: WorkflowEngine) -> Any:
    made = flow.function_task(write)(OutputFile("out.txt"), "hello")
    await made
    assert [path.read_text() for path in made.outputs] == ["hello"]
    return await flow.function_task(lambda path: Path(path).read_text(), name="read", cache=False)(
        InputFile(made, "out.txt")
    )


async def test_a_task_with_outputs_is_reused(program: Program, tmp_path: Path) -> None:
    with contextlib.chdir(tmp_path):
        await program.run(produce)
        assert await program.run(produce) == ["read"]
        assert program.result == "hello"
        assert await program.run(produce, work_dir=tmp_path / "one") == ["read"]


async def test_outputs_are_put_where_the_program_was_started(
    program: Program, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        with contextlib.chdir(tmp_path / name):
            ran = await program.run(produce)
    assert ran == ["read"]
    assert (tmp_path / "two" / "out.txt").read_text() == "hello"


async def test_the_outputs_that_a_body_names_are_recorded(program: Program, tmp_path: Path) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        @flow.executable_task
        def make() -> Command:
            out = OutputFile("out.txt")
            return Command(f"echo text > '{out}'", result=out)

        future = make()
        return await future, future.outputs, future.stdout

    with contextlib.chdir(tmp_path):
        await program.run(main, threads())
        place = tmp_path / "out.txt"
        assert await program.run(main, threads()) == []
        assert program.result == (place, [place], "")
        place.unlink()
        assert await program.run(main, threads()) == ["make"]
    assert place.read_text() == "text\n"


async def test_a_named_pipe_among_inputs_is_refused_with_a_journal_too(
    program: Program, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")

    async def main(flow: WorkflowEngine) -> Any:
        with pytest.raises(FileError, match="neither a file nor a folder"):
            await flow.function_task(write)(InputFile(tmp_path / "pipe"), "text")

    assert await program.run(main) == []


@pytest.mark.parametrize("what", ["gone", "changed"])
async def test_an_output_that_is_not_what_it_was_is_made_again(
    program: Program, tmp_path: Path, what: str
) -> None:
    out = tmp_path / "out.txt"
    with contextlib.chdir(tmp_path):
        await program.run(produce)
        out.unlink()
        if what == "changed":
            out.write_text("other")
        assert await program.run(produce) == ["write", "read"]
    assert out.read_text() == "hello"
    assert program.result == "hello"
    said = "is gone" if what == "gone" else "has changed since"
    assert said in str(program.why("write"))


# ------------------------------------------------------------------- executables


async def test_an_executable_comes_back_with_all_that_it_said(program: Program) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        future = flow.executable_task(lambda: "echo out; echo err >&2", name="speak")()
        await future
        return future.stdout, future.stderr, future.exit_code

    await program.run(main, threads())
    assert await program.run(main, threads()) == []
    assert program.result == ("out\n", "err\n", 0)


async def test_a_failed_executable_runs_again(program: Program, tmp_path: Path) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        future = flow.executable_task(lambda: f"test -e {tmp_path}/there", name="look")()
        return await asyncio.gather(future, return_exceptions=True)

    await program.run(main, threads())
    assert program.records()[0].exit_code == 1
    (tmp_path / "there").touch()
    assert await program.run(main, threads()) == ["look"]
    assert await program.run(main, threads()) == []


async def test_captured_output_is_reused_while_its_file_is_there(
    program: Program, tmp_path: Path
) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        future = flow.executable_task(capture_stdio=True)(lambda: "echo out; echo err >&2")()
        await future
        return [text_in(path) for path in (future.stdout, future.stderr)]

    await program.run(main, threads(), work_dir=tmp_path / "kept")
    assert await program.run(main, threads(), work_dir=tmp_path / "kept2") == []
    assert program.result == ["out\n", "err\n"]
    for path in (tmp_path / "kept").rglob("*"):
        if path.is_file():
            path.unlink()
    assert len(await program.run(main, threads(), work_dir=tmp_path / "kept3")) == 1
    assert "is gone" in str(program.records()[0].why)


async def test_a_prompt_is_answered_once(program: Program) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        return await flow.prompt_task(lambda x: f"what is {x}?", name="ask")(3)

    await program.run(main)
    assert await program.run(main) == []
    assert program.result == "what is 3?"


# ------------------------------------------------------------------ blocks and maps


async def test_a_block_runs_again_and_its_tasks_are_reused(program: Program) -> None:
    bodies: list[int] = []

    async def main(flow: WorkflowEngine) -> Any:
        @flow.block
        async def pair(x: int) -> int:
            bodies.append(x)
            task = flow.function_task(square)
            return await task(x) + await task(x + 1)

        return await flow.function_task(add)(*map(pair, range(3)))

    await program.run(main)
    first = program.result
    assert await program.run(main) == []
    assert bodies == [0, 1, 2, 0, 1, 2]
    assert program.result == first


async def test_a_map_is_reused(program: Program) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        return [value async for value in flow.map(flow.function_task(square), range(50), limit=7)]

    await program.run(main)
    assert await program.run(main) == []
    assert program.result == [x * x for x in range(50)]


# --------------------------------------------------------------- what did not succeed


async def test_what_failed_runs_again(program: Program) -> None:
    state = {"broken": True}

    async def main(flow: WorkflowEngine) -> Any:
        fragile = flow.function_task(lambda x: 1 / (0 if state["broken"] else x), name="fragile")(2)
        below = flow.function_task(square)(fragile)
        beside = flow.function_task(square, name="beside")(4)
        return await asyncio.gather(below, beside, return_exceptions=True)

    await program.run(main)
    assert isinstance(program.result[0], DependencyFailureError)
    state["broken"] = False
    assert await program.run(main) == ["fragile", "square"]
    assert program.result == [0.25, 16]


async def test_what_was_retried_is_done(program: Program, tmp_path: Path) -> None:
    attempts = tmp_path / "attempts"

    async def main(flow: WorkflowEngine) -> Any:
        def flaky() -> int:
            with attempts.open("a") as file:
                file.write("1")
            if attempts.stat().st_size <= 2:
                raise OSError
            return 7

        return await flow.function_task(retries=3)(flaky)()

    await program.run(main)
    assert [len(task.failed) for task in program.records()] == [2]
    assert program.records()[0].attempt == 3
    assert await program.run(main) == []


async def test_what_was_cancelled_runs_again(program: Program) -> None:
    async def main(flow: WorkflowEngine, cancel: bool) -> Any:
        future = flow.function_task(square)(3)
        if cancel:
            future.cancel()
        return await asyncio.gather(future, return_exceptions=True)

    await program.run(functools.partial(main, cancel=True))
    assert await program.run(functools.partial(main, cancel=False)) == ["square"]


# --------------------------------------------------------------------- engines


def two_backends() -> list[ScriptedBackend]:
    return [ScriptedBackend(name="near"), ScriptedBackend(name="far")]


async def test_where_it_ran_does_not_count(program: Program) -> None:
    async def main(flow: WorkflowEngine, backend: str) -> Any:
        one = flow.function_task(square, backend=backend)(3)
        return await flow.function_task(add, backend="near")(one, 1)

    await program.run(functools.partial(main, backend="far"), *two_backends())
    assert await program.run(functools.partial(main, backend="near"), *two_backends()) == []


async def test_a_dry_run_neither_keeps_nor_reuses(program: Program) -> None:
    async def dry() -> None:
        async with WorkflowEngine.create(dry_run=True, journal=program.path) as flow:
            await asyncio.gather(flow.function_task(square)(3))
            assert len(flow.plan().tasks) == 1

    await dry()
    assert await program.run(functools.partial(once)) == ["square"]
    await dry()
    assert await program.run(functools.partial(once)) == []


async def test_values_that_stay_on_their_backend_come_to_the_journal(program: Program) -> None:
    remote = ScriptedBackend(native_dependencies=True, remote_results=True)
    await program.run(diamond, remote)
    assert program.result == 21
    assert set(remote.fetched.values()) == {1}
    assert (
        await program.run(diamond, ScriptedBackend(native_dependencies=True, remote_results=True))
        == []
    )
