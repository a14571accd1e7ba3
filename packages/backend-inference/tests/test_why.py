"""Why prompts wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from polling import until
from radical.asyncflow import TaskFuture, WorkflowEngine
from radical.asyncflow.backend import WaitKind
from radical.asyncflow.model import WaitReason

from .scripted_server import ScriptedServer, completion, error

Start = Callable[..., Any]


def only(flow: WorkflowEngine, future: TaskFuture[Any]) -> WaitReason:
    (reason,) = flow.why(future).reasons
    return reason


def asking(flow: WorkflowEngine, **options: Any) -> Any:
    return flow.prompt_task(name="ask", **options)(lambda prompt: prompt)


async def test_requests_that_are_under_way_are_named(start: Start, server: ScriptedServer) -> None:
    go_on = asyncio.Event()

    async def reply(_: Any) -> Any:
        await go_on.wait()
        return completion("So.")

    server.script = reply
    flow = await start(max_workers=1)
    task = asking(flow)
    first = task("first")
    await until(lambda: first.state == "RUNNING")
    second, third = task("second"), task("third")
    later = asking(flow, priority=1)("urgent")
    await until(lambda: third.attempts and later.attempts)
    assert not flow.why(first)
    reason = only(flow, third)
    assert (reason.kind, reason.ahead, reason.outranked) == (WaitKind.SLOT, 2, 1)
    assert reason.text == "one of the 1 requests that may be under way at once"
    assert [holder.number for holder in reason.holders] == [first._number]
    go_on.set()
    await asyncio.gather(first, second, third, later)


async def test_a_limit_per_minute_is_told_with_the_time_that_is_left(
    start: Start, server: ScriptedServer
) -> None:
    flow = await start(requests_per_minute=1)
    task = asking(flow)
    await task("first")
    waits = [task("second"), task("third")]
    await until(lambda: all(future.attempts for future in waits))
    await until(lambda: only(flow, waits[0]).kind is WaitKind.RATE)
    reason = only(flow, waits[0])
    assert reason.text == "the limit of 1 requests a minute"
    assert reason.seconds is not None
    assert 0 < reason.seconds <= 61
    reason = only(flow, waits[1])
    assert (reason.kind, reason.ahead) == (WaitKind.RATE, 1)
    assert len(server.requests) == 1


async def test_a_server_that_asks_to_wait_is_told_of_a_prompt_that_runs(
    start: Start, server: ScriptedServer
) -> None:
    flow = await start()
    server.script = lambda _: error(429, "slow\ndown", retry_after="50")
    future = asking(flow)("Why?")
    await until(lambda: bool(flow.why(future)))
    await until(lambda: "next request" in str(flow.why(future)))
    reason = only(flow, future)
    assert reason.kind is WaitKind.RATE
    assert "status 429: slow down" in reason.text
    assert reason.seconds is not None
    assert 0 < reason.seconds <= 50
    assert future.state == "RUNNING"
