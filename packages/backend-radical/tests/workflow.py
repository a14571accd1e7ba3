"""A workflow that names no backend; what it prints is the same wherever it runs."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

from radical.asyncflow import Command, InputFile, OutputFile, WorkflowEngine

FACTOR = 3


class TooMuchError(Exception):
    """Carries a value of its own."""

    def __init__(self, amount: int) -> None:
        super().__init__(amount)
        self.amount = amount

    def __str__(self) -> str:
        return f"{self.amount} is too much"


def scale(number: int) -> int:
    return FACTOR * number


async def scale_later(number: int) -> int:
    await asyncio.sleep(0.01)
    return scale(number)


def limit(number: int) -> int:
    if number > 10:
        raise TooMuchError(number)
    return number


def read(path: str) -> str:
    return Path(path).read_text()


async def fails(future: Any) -> list[Any]:
    try:
        await future
    except Exception as error:
        amount = getattr(error, "amount", None)
        return [type(error).__name__, str(error).splitlines()[0], amount]
    return ["nothing"]


async def main() -> None:
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        await use_all(found, folder)
    print(json.dumps(found))


async def use_all(found: dict[str, Any], folder: str) -> None:
    async with WorkflowEngine.create() as flow:
        function = flow.function_task

        @flow.executable_task
        def add(*numbers: int) -> Command:
            return Command("echo $(( $SUM ))", env={"SUM": "+".join(map(str, numbers))})

        @flow.executable_task
        def upper(text: str) -> Command:
            return Command(["tr", "a-z", "A-Z"], stdin=text)

        @flow.executable_task
        def write(path: str | OutputFile, text: str) -> str:
            return f"printf '%s' '{text}' > {path}; echo {path}"

        @flow.executable_task
        def stop(code: int) -> str:
            return f"echo stopping >&2; exit {code}"

        @flow.block
        async def both(number: int) -> list[int]:
            return await asyncio.gather(function(scale)(number), function(scale_later)(number))

        scaled = [function(scale)(number) for number in range(20)]
        found["sum"] = await add(*scaled)
        found["later"] = [await function(scale_later)(future) for future in scaled[:3]]
        found["text"] = await upper("größe, and more")
        found["block"] = await both(7)
        found["file"] = await function(read)(
            InputFile(write(OutputFile(Path(folder, "note.txt")), "a note"), "note.txt")
        )
        found["failure"] = await fails(function(limit)(11))
        found["dependency"] = (await fails(function(scale)(function(limit)(12))))[0]
        found["exit code"] = (await fails(stop(7)))[:1]
        found["map"] = [value async for value in flow.map(function(scale), range(50), limit=10)]
        found["timeout"] = (await fails(flow.executable_task(lambda: "sleep 60", timeout=1)()))[0]


if __name__ == "__main__":
    asyncio.run(main())
