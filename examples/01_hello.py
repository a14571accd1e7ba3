"""A small workflow: calls return futures, and a future as an argument is a dependency."""

from __future__ import annotations

import asyncio

from radical.asyncflow import WorkflowEngine


async def main() -> None:
    async with WorkflowEngine.create() as flow:

        @flow.function_task
        def greet(name: str) -> str:
            return f"Hello, {name}!"

        @flow.function_task
        async def shout(text: str) -> str:
            return text.upper()

        @flow.executable_task
        def count_letters(text: str) -> list[str]:
            return ["printf", "%s has %d characters", text, str(len(text))]

        greeting = greet("AsyncFlow")
        print(await count_letters(shout(greeting)))
        print(f"{greeting.name} ran on {greeting.backend!r}: {greeting.state}")


if __name__ == "__main__":
    asyncio.run(main())
