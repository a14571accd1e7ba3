"""The limits per minute hold in any 60 seconds, and are used up; in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from typing import Any

import pytest
from asyncflow_backend_inference._limits import MARGIN_S, SPAN_S, Limits, Window
from asyncflow_backend_inference._question import question_of
from hypothesis import given
from hypothesis import strategies as st
from polling import until
from radical.asyncflow import ConfigurationError, Prompt
from radical.asyncflow.backend import TaskKind, TaskSpec

from .scripted_server import ScriptedServer, error

PERIOD = SPAN_S + MARGIN_S


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop whose timers take no time: where it would wait, its clock jumps."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        select = self._selector.select  # type: ignore[attr-defined]

        def jump(timeout: float | None = None) -> Any:
            events = select(0)
            if not events:
                assert timeout is not None, "everything waits, and nothing will happen"
                self._now += timeout
            return events

        self._selector.select = jump  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._now


def in_virtual_time(main: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=JumpingLoop, debug=False) as runner:
        return runner.run(main)


def most_in_any_minute(times: list[float]) -> int:
    return max(sum(begin <= time < begin + SPAN_S for time in times) for begin in times)


async def send(
    limits: Limits, sent: list[float], seconds: float = 0.0, tokens: int = 0, used: int = 0
) -> None:
    """Send a request that needs so many *seconds* to go out, and costs *used* of *tokens*."""
    permit = await limits.acquire(tokens)
    await asyncio.sleep(seconds)
    permit.sent()
    sent.append(asyncio.get_running_loop().time())
    permit.end(used)


async def send_many(count: int, limit: int, seconds: float = 0.0) -> list[float]:
    limits, sent = Limits(limit, None), list[float]()
    await asyncio.gather(*[send(limits, sent, seconds) for _ in range(count)])
    limits.close()
    return sent


def test_so_many_requests_go_out_in_any_minute_and_not_one_more() -> None:
    sent = in_virtual_time(send_many(35, 10))
    assert [sum(time == at for time in sent) for at in sorted(set(sent))] == [10, 10, 10, 5]
    assert sorted(set(sent)) == pytest.approx([0, PERIOD, 2 * PERIOD, 3 * PERIOD])


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=40),
    st.integers(1, 6),
    st.lists(st.floats(0, 20), min_size=40, max_size=40),
)
def test_the_limit_holds_whenever_requests_come_and_however_slowly_they_go_out(
    arrivals: list[float], limit: int, delays: list[float]
) -> None:
    async def main() -> list[float]:
        limits, sent = Limits(limit, None), list[float]()

        async def come(at: float, delay: float) -> None:
            await asyncio.sleep(at)
            await send(limits, sent, delay)

        await asyncio.gather(*itertools.starmap(come, zip(arrivals, delays, strict=False)))
        limits.close()
        return sent

    sent = in_virtual_time(main())
    assert len(sent) == len(arrivals)
    assert most_in_any_minute(sent) <= limit


@given(
    st.lists(
        st.tuples(st.integers(1, 60), st.floats(0, 1), st.floats(0, 90)), min_size=1, max_size=30
    )
)
def test_tokens_of_no_minute_exceed_the_limit(
    requests: list[tuple[int, float, float]],
) -> None:
    limit = 100

    async def main() -> list[tuple[float, float, int]]:
        limits = Limits(None, limit)
        loop = asyncio.get_running_loop()
        spans: list[tuple[float, float, int]] = []

        async def ask(most: int, share: float, seconds: float) -> None:
            permit = await limits.acquire(most)
            began = loop.time()
            await asyncio.sleep(seconds)
            used = int(most * share)
            permit.end(used)
            spans.append((began, loop.time(), used))

        await asyncio.gather(*itertools.starmap(ask, requests))
        limits.close()
        return spans

    spans = in_virtual_time(main())
    assert len(spans) == len(requests)
    for _, end, _ in spans:
        # Whenever the server counts the tokens of a request: at its beginning, or at its end.
        touching = [used for began, ended, used in spans if began <= end and ended > end - SPAN_S]
        assert sum(touching) <= limit


def test_real_tokens_free_what_was_set_aside() -> None:
    async def main() -> list[float]:
        limits, sent = Limits(None, 100), list[float]()
        for _ in range(9):
            await send(limits, sent, tokens=50, used=10)
        limits.close()
        return sent

    # With the 50 that each may have, two would go out in a minute; with the 10 it has, six.
    sent = in_virtual_time(main())
    assert [sum(time == at for time in sent) for at in sorted(set(sent))] == [6, 3]


def test_a_prompt_larger_than_the_limit_goes_out_alone() -> None:
    window = Window(100)
    assert window.delay(0, 500) == 0
    entry = window.add(500)
    assert window.delay(0, 1) is None
    window.end(entry, 5.0, 80)
    assert window.delay(5.0, 20) == 0
    assert window.delay(5.0, 500) == pytest.approx(PERIOD)


def test_the_oldest_goes_first_even_if_a_later_one_would_fit() -> None:
    async def main() -> list[str]:
        limits, order = Limits(None, 100), list[str]()

        async def ask(name: str, tokens: int) -> None:
            permit = await limits.acquire(tokens)
            order.append(name)
            permit.end(tokens)

        await asyncio.gather(ask("first", 90), ask("large", 80), ask("small", 5))
        limits.close()
        return order

    assert in_virtual_time(main()) == ["first", "large", "small"]


def test_one_that_is_cancelled_while_it_waits_holds_nobody_up() -> None:
    async def main() -> float:
        limits, sent = Limits(1, None), list[float]()
        await send(limits, sent)
        waiting = [asyncio.create_task(send(limits, sent)) for _ in range(2)]
        await asyncio.sleep(1)
        waiting[0].cancel()
        await asyncio.wait(waiting)
        limits.close()
        return sent[-1]

    assert in_virtual_time(main()) == pytest.approx(PERIOD)


def test_a_permit_that_comes_with_a_cancellation_is_given_back() -> None:
    async def main() -> float:
        limits, sent = Limits(None, 100), list[float]()
        first = await limits.acquire(100)
        waiting = asyncio.create_task(limits.acquire(100))
        await asyncio.sleep(1)
        first.end(0)  # the other has its permit now, and does not know it yet
        waiting.cancel()
        await asyncio.wait([waiting])
        await send(limits, sent, tokens=100)
        limits.close()
        return sent[-1]

    assert in_virtual_time(main()) == 1


def test_a_pause_holds_for_all() -> None:
    async def main() -> list[float]:
        limits, sent = Limits(None, None), list[float]()
        limits.pause(7)
        limits.pause(3)  # a shorter one does not end it
        await asyncio.gather(send(limits, sent), send(limits, sent))
        limits.close()
        return sent

    assert in_virtual_time(main()) == [7, 7]


# ------------------------------------------------------------------ in the backend


async def test_a_prompt_beyond_the_limit_waits_and_does_not_run(
    start: Any, server: ScriptedServer
) -> None:
    flow = await start(requests_per_minute=2)
    ask = flow.prompt_task(lambda word: word)
    first, second, third = ask("one"), ask("two"), ask.options(timeout=0.1)("three")
    assert [await first, await second] == ["about one", "about two"]
    await asyncio.wait([third], timeout=0.3)  # its timeout does not count while it waits
    assert third.state == "PENDING"
    third.cancel()
    with pytest.raises(asyncio.CancelledError):
        await third
    assert [request.text for request in server.requests] == ["one", "two"]


async def test_a_request_that_is_sent_again_counts_again(
    start: Any, server: ScriptedServer
) -> None:
    flow = await start(requests_per_minute=2)
    replies = [error(503, retry_after_ms="1"), error(503, retry_after_ms="1")]
    server.script = lambda _: replies.pop(0)
    future = flow.prompt_task(lambda: "Why?")()
    await until(lambda: not replies)
    await asyncio.wait([future], timeout=0.3)
    assert not future.done()
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("extra", "most"),
    [
        ({}, 100),
        ({"max_tokens": None, "max_completion_tokens": 70}, 70),
        ({"max_tokens": None}, 0),
        ({"n": 3}, 300),
    ],
)
async def test_all_that_answers_can_cost_is_set_aside(extra: dict[str, Any], most: int) -> None:
    settings = {"max_tokens": 100, "extra": extra}
    spec = TaskSpec("ask", TaskKind.PROMPT, lambda: "Why?")
    question = question_of(Prompt("Why?"), spec, settings, "http://here/v1")
    assert question.most_tokens(b"12345") == 5 + most


@pytest.mark.parametrize("wrong", [{"max_tokens": "many"}, {"n": 0}, {"n": True}])
async def test_a_limit_that_is_no_number_is_refused(start: Any, wrong: dict[str, Any]) -> None:
    flow = await start()
    with pytest.raises(ConfigurationError, match="must be a whole number above 0"):
        await flow.prompt_task(lambda: Prompt("Why?", options={"extra": wrong}))()


async def test_the_tokens_that_a_server_counts_are_those_that_count(
    start: Any, server: ScriptedServer
) -> None:
    # Each may have up to 100 tokens for its answer, and some for the prompt, and has 8.
    flow = await start(tokens_per_minute=300, max_tokens=100, max_workers=8)
    futures = [flow.prompt_task(lambda: "Why?")() for _ in range(40)]
    await until(lambda: sum(future.done() for future in futures) > 10)
    await asyncio.wait(futures, timeout=0.3)
    done = [future for future in futures if future.done()]
    assert len(done) < len(futures)
    assert flow.backend.usage.total_tokens == 8 * len(done) <= 300
    assert server.most_open <= 2
