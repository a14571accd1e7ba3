"""What a type checker must accept, with the types that users rely on.  Never executed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, assert_type

from pydantic import BaseModel
from radical.asyncflow import (
    Answer,
    Command,
    ExecutionBackend,
    InputFile,
    OutputFile,
    Plan,
    Prompt,
    Resources,
    RetryPolicy,
    TaskFunction,
    TaskFuture,
    Usage,
    WorkflowEngine,
    factory,
)

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class User:
    """A class of which the type checker knows nothing more."""


class Model:
    """Its methods are bodies of tasks."""

    def fit(self, data: list[float], rate: float = 0.1) -> float:
        return sum(data) * rate

    async def score(self, data: list[float]) -> float:
        return sum(data)

    @staticmethod
    def scale(number: float) -> float:
        return number

    def __call__(self, number: int) -> str:
        return str(number)


async def engine() -> None:
    flow = await WorkflowEngine.create()
    assert_type(flow, WorkflowEngine)
    async with WorkflowEngine.create(backend="concurrent", config={"max_workers": 2}) as other:
        assert_type(other, WorkflowEngine)
    async with await WorkflowEngine.create() as third:
        assert_type(third, WorkflowEngine)
    backend = await factory.create_backend("noop")
    assert_type(backend, ExecutionBackend)
    assert_type(flow.backend, ExecutionBackend)
    assert_type(flow.plan(), Plan)
    scope: AbstractContextManager[str] = flow.workflow_scope("one")
    with scope:
        pass
    await flow.shutdown()


async def bare(flow: WorkflowEngine) -> None:
    @flow.function_task
    def double(number: int) -> int:
        return 2 * number

    @flow.function_task
    async def name_of(number: int, *, upper: bool = False) -> str:
        return str(number).upper() if upper else str(number)

    @flow.executable_task
    async def echo(text: str) -> list[str]:
        return ["echo", text]

    @flow.executable_task
    def date() -> Command:
        return Command("date", env={"TZ": "UTC"})

    @flow.prompt_task
    def ask(question: str) -> str:
        return question

    @flow.block
    async def both(number: int) -> tuple[int, str]:
        return await double(number), await name_of(number)

    assert_type(double(1), TaskFuture[int])
    assert_type(await double(1), int)
    assert_type(await name_of(1), str)
    assert_type(await echo("x"), str)
    assert_type(await date(), str)
    assert_type(await ask("why?"), Answer)
    assert_type(await both(1), tuple[int, str])


class Verdict(BaseModel):
    good: bool


async def prompts(flow: WorkflowEngine) -> None:
    """What the answer to a prompt is."""

    @flow.prompt_task
    def text(word: str) -> Prompt:
        return Prompt(word)

    @flow.prompt_task
    def chat(word: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": word}]

    @flow.prompt_task
    def judge(word: str) -> Prompt[Verdict]:
        return Prompt(word, options={"seed": 1})

    @flow.prompt_task(retries=1)
    async def judge_later(word: str) -> Prompt[Verdict]:
        return Prompt(word)

    assert_type(await text("why?"), Answer)
    assert_type(await chat("why?"), Answer)
    assert_type(await judge("why?"), Verdict)
    assert_type(judge_later(text("why?")), TaskFuture[Verdict])
    assert_type((await text("why?")).usage, Usage | None)


async def parameters(flow: WorkflowEngine) -> None:
    """Every kind of parameter, with plain values and with futures."""

    @flow.function_task
    def double(number: int) -> int:
        return 2 * number

    @flow.function_task
    def positive(number: int) -> bool:
        return number > 0

    @flow.function_task
    def label(number: int, text: str = "x", *, upper: bool = False) -> str:
        return text.upper() if upper else text * number

    @flow.function_task
    def total(*numbers: int) -> int:
        return sum(numbers)

    @flow.function_task
    def keywords(number: int, **texts: str) -> int:
        return number + len(texts)

    @flow.function_task
    def required(*, key: int) -> int:
        return key

    @flow.function_task
    def positional(number: int, /, text: str) -> str:
        return text * number

    @flow.function_task
    def optional(number: int | None = None) -> int:
        return number or 0

    @flow.function_task
    def six(a: int, b: int, c: int, d: int, e: str, f: int) -> int:
        return a + b + c + d + len(e) + f

    assert_type(double(1), TaskFuture[int])
    assert_type(double(number=1), TaskFuture[int])
    assert_type(double(double(double(1))), TaskFuture[int])
    assert_type(await label(2, "y", upper=True), str)
    first, true, text = double(1), positive(1), label(1)
    double(true)  # a bool is an int, and so is the future of one
    label(number=2, text="y")
    label(first)
    label(first, "y")
    label(2, text)
    label(first, text, upper=True)
    label(first, text="y", upper=True)
    label(first, upper=true)
    label(first, text=text, upper=true)
    total()
    total(1, 2, 3, 4, 5, 6, 7)
    total(first, 2, first, true, 5)
    total(*[1, 2])
    total(*[first, first])
    keywords(first, one="1", two="2")
    keywords(first, one=text, two=text)
    required(key=1)
    positional(first, text)
    positional(1, text="y")
    optional()
    optional(None)
    optional(first)
    optional(number=first)
    six(1, 2, 3, 4, "5", 6)
    six(1, 2, 3, 4, e="5", f=6)
    six(first, first, first, true, text, 6)


async def containers(flow: WorkflowEngine) -> None:
    """Futures in lists and dicts."""

    @flow.function_task
    def double(number: int) -> int:
        return 2 * number

    @flow.function_task
    def numbers() -> list[int]:
        return [1, 2]

    @flow.function_task
    def text() -> str:
        return "text"

    @flow.function_task
    def total(numbers: list[int], *, scale: int = 1) -> int:
        return scale * sum(numbers)

    @flow.function_task
    def mean(numbers: Sequence[float], digits: int = 2) -> float:
        return round(sum(numbers) / len(numbers), digits)

    @flow.function_task
    def longest(texts: Iterable[str]) -> str:
        return max(texts, key=len)

    @flow.function_task
    def pairs(left: list[int], right: list[str]) -> dict[str, int]:
        return dict(zip(right, left, strict=True))

    @flow.function_task
    def report(title: str, digits: int, numbers: list[float]) -> str:
        return f"{title} {[round(number, digits) for number in numbers]}"

    @flow.function_task
    def table(rows: Mapping[str, float], title: str = "") -> str:
        return f"{title} {rows}"

    @flow.function_task
    def show(title: str, rows: dict[str, int]) -> str:
        return f"{title} {rows}"

    first = double(1)
    many = [double(number) for number in range(3)]
    assert_type(await total([first, double(2)], scale=first), int)
    total([1, 2])
    total([first, 3], scale=2)
    total(many)
    total([double(number) for number in range(3)])
    total(numbers())
    total([1, 2], scale=first)
    mean(many)
    mean([first, 2.5], first)
    mean(numbers(), digits=3)
    mean((1, 2.5))
    longest([text(), "x"])
    longest({"x", "y"})
    pairs(many, ["x", text()])
    pairs([1, first], ["x", "y"])
    report(text(), first, [first, 2.5])
    table({"x": 1.5, "y": first})
    table({"x": first}, text())
    show(text(), {"x": first, "y": 2})
    show("rows", pairs(many, ["x"]))


async def any_type(flow: WorkflowEngine, given: Any) -> None:
    """Parameters of any type, and values of which nothing is known."""

    @flow.function_task
    def double(number: int) -> int:
        return 2 * number

    @flow.function_task
    def save(data: Any, path: str | Path, *, mode: str = "w") -> None: ...

    @flow.function_task
    def length(value: object) -> int:
        return len(str(value))

    @flow.function_task
    async def anything(*args: Any, **kwargs: Any) -> int:
        return len(args) + len(kwargs)

    @flow.function_task
    def untyped(first, second=1, *rest):  # type: ignore[no-untyped-def]
        return first

    assert_type(double(given), TaskFuture[int])
    assert_type(double(*given, **given), TaskFuture[int])
    assert_type(save(given, given, mode=given), TaskFuture[None])
    first = double(1)
    save(first, "numbers")
    save([first, {"more": first}], Path("numbers"), mode="a")
    save({"numbers": [first]}, path="numbers")
    length(first)
    length([first])
    anything(first, 2, [first], key=first, other=3)
    untyped(first)
    untyped(first, first, 3, [first])
    double(untyped(1))


async def bodies(flow: WorkflowEngine) -> None:
    """What can be the body of a task."""
    model = Model()
    fit = flow.function_task(model.fit)
    rate = flow.function_task(Model.scale)(0.5)
    assert_type(fit([1, 2.5]), TaskFuture[float])
    assert_type(fit([rate, 2.5], rate), TaskFuture[float])
    assert_type(fit([1, 2.5], rate=rate), TaskFuture[float])
    assert_type(flow.function_task(model.score)([rate]), TaskFuture[float])
    assert_type(flow.function_task(retries=1)(model)(1), TaskFuture[str])
    assert_type(flow.function_task(lambda: 3)(), TaskFuture[int])
    flow.function_task(lambda number: number + 1)(rate)
    assert_type(flow.function_task(len)("text"), TaskFuture[int])
    flow.function_task(len)([rate])

    @flow.function_task
    def user() -> User:
        return User()

    assert_type(user(), TaskFuture[User])
    assert_type(fit.__wrapped__([1, 2.5]), Any)


async def generic_bodies(flow: WorkflowEngine) -> None:
    def identity(value: T) -> T:
        return value

    @flow.function_task
    def first(values: Sequence[T]) -> T:
        return values[0]

    @flow.function_task
    async def wrap(value: T) -> list[T]:
        return [value]

    assert_type(flow.function_task(identity)(1), TaskFuture[int])
    assert_type(flow.function_task()(identity)("x"), TaskFuture[str])
    assert_type(first([1, 2]), TaskFuture[int])
    assert_type(wrap("x"), TaskFuture[list[str]])
    same: TaskFunction[[int], int] = flow.function_task(identity)
    assert_type(same(same(1)), TaskFuture[int])

    def again(task: TaskFunction[P, R], *args: P.args, **kwargs: P.kwargs) -> TaskFuture[R]:
        task(*args, **kwargs)
        return task(*args, **kwargs)

    assert_type(again(same, 1), TaskFuture[int])


async def awaitables(flow: WorkflowEngine) -> None:
    """Awaitables that are no tasks, and files."""

    @flow.function_task
    def double(number: int) -> int:
        return 2 * number

    @flow.executable_task
    def count(source: str, target: str | Path = "out.txt") -> list[str]:
        return ["sh", "-c", f"wc {source} > {target}"]

    @flow.executable_task
    def join(sources: list[str]) -> list[str]:
        return ["cat", *sources]

    async def fetch() -> int:
        return 1

    double(fetch())
    double(asyncio.create_task(fetch()))
    count(InputFile("data.csv"), OutputFile("out.txt"))
    count("data.csv", target=OutputFile("out.txt"))
    join([InputFile("one.csv"), InputFile("two.csv"), "three.csv"])
    Command("true", result=OutputFile("out.txt"))
    Command("true", result=Path("out.txt"))


async def of_the_specification(flow: WorkflowEngine) -> None:
    @flow.executable_task
    async def task1(*args):  # type: ignore[no-untyped-def]
        return "/bin/date"

    @flow.executable_task
    async def task2(*args):  # type: ignore[no-untyped-def]
        return "/bin/date"

    assert_type(await task2(task1(), task1()), str)


async def kinds(flow: WorkflowEngine) -> None:
    """Every decorator, bare and with options, with a future as an argument."""

    @flow.function_task(retries=1)
    async def double(number: int) -> int:
        return 2 * number

    @flow.executable_task
    async def echo(number: int) -> str:
        return f"echo {number}"

    @flow.executable_task(timeout=1)
    def print_out(number: int, *, text: str = "") -> Command:
        return Command(("echo", str(number), text))

    @flow.prompt_task
    async def ask(question: str) -> str:
        return question

    @flow.prompt_task(name="ask")
    def ask_again(question: str) -> str:
        return question

    @flow.block
    async def both(number: int) -> tuple[int, str]:
        return await double(number), await echo(number)

    @flow.block(timeout=60)
    async def again(number: int, question: str = "?") -> str:
        return await ask(question) * number

    first = double(1)
    assert_type(double(first), TaskFuture[int])
    assert_type(echo(first), TaskFuture[str])
    assert_type(print_out(first, text=ask("why?")), TaskFuture[str])
    assert_type(ask(ask_again(echo(first))), TaskFuture[Answer])
    assert_type(both(first), TaskFuture[tuple[int, str]])
    assert_type(again(first, ask("why?")), TaskFuture[str])
    assert_type(again.options(timeout=1)(number=2), TaskFuture[str])


async def workflows(flow: WorkflowEngine) -> None:
    @flow.function_task
    def double(number: int) -> int:
        return 2 * number

    @flow.function_task
    def total(numbers: list[int], *, scale: int) -> int:
        return scale * sum(numbers)

    @flow.function_task
    def six(a: int, b: int, c: int, d: int, e: int, f: int) -> int:
        return a + b + c + d + e + f

    @flow.function_task
    def own(workflow_id: str) -> str:
        return workflow_id

    first = double(1)
    assert_type(double(1, workflow_id="one"), TaskFuture[int])
    double(first, workflow_id="one")
    double(number=first, workflow_id="one")
    total([first, 2], scale=3, workflow_id="one")
    six(first, 2, 3, 4, 5, f=first, workflow_id="one")
    own("one")
    own(workflow_id="one")


async def descriptions(flow: WorkflowEngine) -> None:
    """What a call asks for, whether the body has a parameter for it or not."""

    @flow.function_task
    def double(number: int) -> int:
        return 2 * number

    @flow.executable_task
    async def mpi(size: int, task_description: Mapping[str, Any] = {"ranks": 2}) -> str:
        return f"mpi {size}"

    first = double(1, task_description={"ranks": 2})
    assert_type(first, TaskFuture[int])
    assert_type(double(first, task_description={"mem_per_rank": "4GB"}), TaskFuture[int])
    double(number=first, workflow_id="one", task_description=None)
    assert_type(mpi(1), TaskFuture[str])
    assert_type(mpi(first, task_description={"ranks": 4}), TaskFuture[str])


async def tasks_as_arguments(flow: WorkflowEngine) -> None:
    """Functions that take tasks."""

    @flow.function_task
    def double(number: int) -> int:
        return 2 * number

    @flow.function_task
    def half(number: int, digits: int = 2) -> float:
        return round(number / 2, digits)

    tasks: list[TaskFunction[..., Any]] = [double, half]
    for task in tasks:
        task(1)
    call: Callable[[int], asyncio.Future[int]] = double
    later: Callable[[TaskFuture[int]], asyncio.Future[int]] = double
    whatever: Callable[..., TaskFuture[float]] = half
    later(double(1))
    whatever(1, digits=call(1))
    assert_type(await asyncio.gather(*map(double, [1, 2])), list[int])


async def options(flow: WorkflowEngine) -> None:
    @flow.function_task(retries=3, timeout=1.5, resources={"cores": 2})
    def double(number: int) -> int:
        return 2 * number

    @flow.function_task(retries=RetryPolicy(attempts=2), resources=Resources(cores=2))
    async def half(number: int) -> float:
        return number / 2

    @flow.executable_task(capture_stdio=True, name="list", task_description={"queue": "debug"})
    def ls() -> str:
        return "ls"

    @flow.block(name="all of it", timeout=60)
    async def whole() -> float:
        return await half(await double(2))

    assert_type(await double(1), int)
    assert_type(await half(1), float)
    assert_type(await ls(), str)
    assert_type(await whole(), float)
    limited: TaskFunction[[int], int] = double.options(timeout=3, backend="concurrent")
    assert_type(await limited(1), int)
    assert_type(await double.options(retries=1)(1), int)


async def map_and_asyncio(flow: WorkflowEngine) -> None:
    @flow.function_task
    def length(text: str) -> int:
        return len(text)

    assert_type(flow.map(length, ["a", "bc"], limit=10), AsyncIterator[int])
    async for number in flow.map(length, ["a", "bc"], ordered=False):
        assert_type(number, int)

    @flow.function_task
    def repeat(text: str, times: int = 2) -> str:
        return text * times

    async def stream() -> AsyncIterator[str]:
        yield "a"

    flow.map(repeat, stream())
    flow.map(repeat, [repeat("a"), repeat("b")])
    flow.map(lambda text: repeat(text, times=3), (text for text in "abc"))

    @flow.function_task
    def halves(text: str) -> dict[str, str]:
        return {"first": text[::2], "second": text[1::2]}

    assert_type(await length(halves("abc")["first"]), int)

    async for done in flow.as_completed([length("a")]):
        assert_type(await done, int)
    async for done, key in flow.as_completed({length("a"): "a"}, timeout=1):
        assert_type(await done, int)
        assert_type(key, str)

    future: asyncio.Future[int] = length("abc")
    assert_type(await future, int)
    one, two = await asyncio.gather(length("a"), length("b"))
    assert_type(one, int)
    assert_type(two, int)
    async with asyncio.timeout(1), asyncio.TaskGroup():
        assert_type(await asyncio.wait_for(length("a"), 1), int)


async def what_a_future_tells(future: TaskFuture[int]) -> None:
    assert_type(future.state, str)
    assert_type(future.id, str)
    assert_type(future.backend, str | None)
    assert_type(future.attempts, int)
    assert_type(future.exit_code, int | None)
    assert_type(future.stdout, str | None)
    assert_type(future.cancel(), bool)
