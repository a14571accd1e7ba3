"""What a type checker must reject: each line that ends in ``# error``.  Never executed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from radical.asyncflow import InputFile, TaskFuture, WorkflowEngine


class Model:
    """Its methods are bodies of tasks."""

    def fit(self, data: list[float], rate: float = 0.1) -> float:
        return sum(data) * rate


async def options(flow: WorkflowEngine) -> None:
    @flow.function_task
    def double(number: int) -> int:
        return 2 * number

    double.options(retires=3)  # error
    double.options(timeout="5 s")  # error
    flow.function_task(timeout="5 s")  # error
    flow.executable_task(capture_stdio="yes")  # error
    flow.function_task(3)  # error


async def blocks(flow: WorkflowEngine) -> None:
    def not_async() -> int:
        return 1

    flow.block(not_async)  # error
    flow.block()(not_async)  # error


async def results(flow: WorkflowEngine) -> None:
    @flow.function_task
    def double(number: int) -> int:
        return 2 * number

    @flow.executable_task
    def echo() -> str:
        return "echo"

    text: str = await double(1)  # error
    number: int = await echo()  # error
    future: TaskFuture[str] = double(1)  # error
    double(1).upper()  # error
    print(text, number, future)


async def calls(flow: WorkflowEngine) -> None:
    @flow.function_task
    def double(number: int) -> int:
        return 2 * number

    @flow.function_task
    def name() -> str:
        return "name"

    first, text = double(1), name()
    double("wrong", 3, nonsense=True)  # error
    double("wrong")  # error
    double("wrong", 3)  # error
    double(1, 2)  # error
    double()  # error
    double(number="wrong")  # error
    double(nonsense=1)  # error
    double(1, nonsense=True)  # error
    double(1, number=2)  # error
    double(None)  # error
    double(text)  # error
    double(number=text)  # error
    double(first, first)  # error
    double([1])  # error
    double([first])  # error
    double({"number": first})  # error
    double(InputFile("data.csv"))  # error
    double(name)  # error
    name(1)  # error
    name(first)  # error
    double.options(retries=1)("wrong")  # error
    flow.function_task(retries=1)(len)(3)  # error
    flow.function_task(Model().fit)(["wrong"])  # error
    flow.function_task(Model().fit)([text])  # error
    flow.function_task(Model().fit)([1.5], text)  # error
    double.__wrapped__("wrong")  # error


async def parameters(flow: WorkflowEngine) -> None:
    @flow.function_task
    def double(number: int) -> int:
        return 2 * number

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
    def save(data: Any, path: str) -> None: ...

    @flow.function_task
    def load(path: str) -> Any: ...

    @flow.function_task
    def six(a: int, b: int, c: int, d: int, e: str, f: int) -> int:
        return a + b + c + d + len(e) + f

    first, text = double(1), label(1)
    label()  # error
    label("wrong")  # error
    label(text)  # error
    label(first, 3)  # error
    label(first, first)  # error
    label(first, text, first)  # error
    label(first, upper=3)  # error
    label(first, txt="y")  # error
    label(text=text)  # error
    total("wrong")  # error
    total(text)  # error
    total(1, text)  # error
    total(1, 2, 3, 4, 5, 6, "wrong")  # error
    total(1, key=2)  # error
    keywords(text)  # error
    keywords(first, key=1)  # error
    required()  # error
    required(1)  # error
    required(key="wrong")  # error
    positional(number=1, text="y")  # error
    save(first)  # error
    save(first, 3)  # error
    save([first], first)  # error
    load(3)  # error
    load(first)  # error
    six(first, first)  # error
    six(1, 2, 3, 4, 5, 6)  # error
    six(first, 2, 3, 4, first, 6)  # error
    six(1, 2, 3, 4, "5", text)  # error
    six(1, 2, 3, 4, "5", 6, 7)  # error


async def containers(flow: WorkflowEngine) -> None:
    @flow.function_task
    def double(number: int) -> int:
        return 2 * number

    @flow.function_task
    def name() -> str:
        return "name"

    @flow.function_task
    def total(numbers: list[int], *, scale: int = 1) -> int:
        return scale * sum(numbers)

    @flow.function_task
    def mean(numbers: Sequence[float]) -> float:
        return sum(numbers) / len(numbers)

    @flow.function_task
    def longest(texts: Iterable[str]) -> str:
        return max(texts, key=len)

    @flow.function_task
    def join(texts: list[str]) -> str:
        return "".join(texts)

    @flow.function_task
    def pairs(left: list[int], right: list[str]) -> dict[str, int]:
        return dict(zip(right, left, strict=True))

    @flow.function_task
    def table(rows: Mapping[str, float], title: str = "") -> str:
        return f"{title} {rows}"

    first, text = double(1), name()
    total(first)  # error
    total(["wrong"])  # error
    total([text])  # error
    total([first, "wrong"])  # error
    total([first, text])  # error
    total([first], scale="wrong")  # error
    total([first], [first])  # error
    total({"x": 1})  # error
    total({"x": first})  # error
    total((1, 2))  # error
    mean([text])  # error
    mean("wrong")  # error
    longest([first])  # error
    join("wrong")  # error
    join([first])  # error
    pairs([first], [first])  # error
    pairs([text], [text])  # error
    pairs([first], text)  # error
    table({"x": "wrong"})  # error
    table({"x": text})  # error
    table({1: first})  # error
    table([first])  # error
    table({"x": first}, first)  # error


async def limits(flow: WorkflowEngine) -> None:
    """Calls that are right, and that checkers refuse all the same: see `TaskFunction`."""

    @flow.function_task
    def double(number: int) -> int:
        return 2 * number

    @flow.function_task
    def mean(numbers: Sequence[float], digits: int = 2) -> float:
        return round(sum(numbers) / len(numbers), digits)

    @flow.function_task
    def table(rows: Mapping[str, Sequence[float]]) -> str:
        return f"{rows}"

    first = double(1)
    double(number=first)  # error
    mean((first, first))  # error
    mean(numbers=[1.5], digits=first)  # error
    table({"x": [first]})  # error


async def kinds(flow: WorkflowEngine) -> None:
    @flow.executable_task
    async def echo(number: int) -> str:
        return f"echo {number}"

    @flow.executable_task(timeout=1)
    def show(number: int) -> str:
        return f"echo {number}"

    @flow.prompt_task
    def ask(question: str) -> str:
        return question

    @flow.block
    async def whole(number: int) -> str:
        return await echo(number)

    @flow.block(timeout=1)
    async def other(number: int) -> str:
        return await echo(number)

    text = ask("why?")
    echo("wrong")  # error
    echo(text)  # error
    show(text)  # error
    ask(3)  # error
    whole(text)  # error
    other()  # error
    other(text)  # error


async def workflows(flow: WorkflowEngine) -> None:
    @flow.function_task
    def double(number: int) -> int:
        return 2 * number

    @flow.function_task
    def name() -> str:
        return "name"

    double("wrong", workflow_id="one")  # error
    double(name(), workflow_id="one")  # error
    double(1, 2, workflow_id="one")  # error
    double(1, workflow_id=1)  # error


async def mapping(flow: WorkflowEngine) -> None:
    def plain(number: int) -> int:
        return number

    @flow.function_task
    def add(left: int, right: int) -> int:
        return left + right

    flow.map(plain, [1, 2])  # error
    flow.map(flow.function_task(plain), ["wrong"])  # error
    flow.map(add, [1, 2])  # error
    for result in flow.map(flow.function_task(plain), [1, 2]):  # error
        print(result)


async def creation() -> None:
    WorkflowEngine.create(backend=3)  # error
    WorkflowEngine.create(max_pending="all")  # error
