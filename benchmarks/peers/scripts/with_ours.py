from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from _work import BODIES, TRUE, WORKERS, answer, kind
from radical.asyncflow import WorkflowEngine


def main() -> None:
    with asyncio.Runner() as runner:
        # Such as "thread", or "rhapsody-thread".
        backend, _, executor_type = kind().rpartition("-")
        config = {"executor_type": executor_type, "max_workers": WORKERS}

        async def create() -> WorkflowEngine:
            return await WorkflowEngine.create(backend=backend or "concurrent", config=config)

        flow = runner.run(create())
        tasks: dict[Callable[..., Any], Callable[..., Any]]
        tasks = {body: flow.function_task(body) for body in BODIES}

        @flow.executable_task
        def true() -> list[str]:
            return [TRUE]

        def results(futures: Sequence[Any]) -> Sequence[Any]:
            async def wait() -> Sequence[Any]:
                return await asyncio.gather(*futures)

            return runner.run(wait())

        def trips(body: Callable[..., Any], size: int) -> int:
            async def call() -> int:
                return len([await tasks[body](number) for number in range(size)])

            return runner.run(call())

        answer("radical.asyncflow", lambda body, *args: tasks[body](*args), results, true, trips)
        runner.run(flow.shutdown())


if __name__ == "__main__":
    main()
