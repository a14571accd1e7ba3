"""Prompts to a real server: llama.cpp, with a tiny model of random weights."""

from __future__ import annotations

import asyncio
import enum
import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from polling import until
from pydantic import BaseModel, Field
from radical.asyncflow import Answer, OutputEvent, Prompt, WorkflowEngine, factory
from radical.asyncflow.testing import LeakGuard

from .scripted_server import Reply, Request, ScriptedServer


class Mood(enum.StrEnum):
    GOOD = "good"
    BAD = "bad"


class Part(BaseModel):
    number: int = Field(ge=0, le=9)


class Verdict(BaseModel):
    """A model with whatever a schema may have."""

    mood: Mood
    parts: list[Part] = Field(max_length=2)
    note: Part | None = None


@pytest.fixture
async def flow(real_server: str) -> AsyncIterator[WorkflowEngine]:
    settings = {"base_url": real_server, "max_tokens": 16, "temperature": 0}
    async with LeakGuard():
        engine = await WorkflowEngine.create("inference", config=settings)
        yield engine
        await engine.shutdown()


async def test_an_answer_says_what_it_cost(flow: WorkflowEngine) -> None:
    answer = await flow.prompt_task(lambda: "Why?")()
    assert type(answer) is Answer
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > len("Why?")
    assert 0 < answer.usage.completion_tokens <= 16
    assert (answer.model, answer.message["role"]) == ("tiny", "assistant")
    assert answer.finish_reason in ("stop", "length")


async def test_a_stream_is_the_same_answer(flow: WorkflowEngine) -> None:
    # Half a character at the end of an answer comes out in two ways, so the answer is in ASCII.
    letters = {"extra": {"grammar": "root ::= [a-z ]+"}}
    ask = flow.prompt_task(lambda number: Prompt(f"Why {number}?", options=letters))
    streamed = ask.options(task_description={"stream": True})
    events: list[Any] = []
    flow.observe(events.extend)
    for number in range(3):
        whole, parts = await ask(number), await streamed(number)
        assert whole == parts
        assert (whole.usage, whole.finish_reason) == (parts.usage, parts.finish_reason)
        told = [event for event in events if isinstance(event, OutputEvent)]
        assert "".join(part.text for part in told) == parts
        assert len(told) > 1
        events.clear()


async def test_a_chat_goes_on(flow: WorkflowEngine) -> None:
    @flow.prompt_task
    def first() -> list[dict[str, str]]:
        return [{"role": "user", "content": "Why?"}]

    @flow.prompt_task
    def second(before: Answer) -> Prompt:
        chat = [{"role": "user", "content": "Why?"}, before.message]
        return Prompt(messages=[*chat, {"role": "user", "content": "And?"}])

    one = first()
    two = await second(one)
    assert two.usage.prompt_tokens > (await one).usage.total_tokens - 5


async def test_an_answer_is_an_instance_of_a_model(flow: WorkflowEngine) -> None:
    @flow.prompt_task
    def judge(text: str) -> Prompt[Verdict]:
        return Prompt(text, options={"max_tokens": 400, "temperature": 1.0, "seed": 7})

    verdicts = await asyncio.gather(*[judge(f"essay {number}") for number in range(4)])
    assert {type(verdict) for verdict in verdicts} == {Verdict}


async def test_a_cancelled_prompt_ends_on_the_server(
    flow: WorkflowEngine, real_server: str
) -> None:
    slots = real_server.removesuffix("/v1") + "/slots"

    def busy() -> bool:
        with urllib.request.urlopen(slots) as reply:
            return any(slot["is_processing"] for slot in json.load(reply))

    def idle() -> bool:
        return not busy()

    # It would go on for long, and the server notices at the next word that nobody listens.
    options = {"max_tokens": 1_000_000, "stream": True, "extra": {"ignore_eos": True}}
    future = flow.prompt_task(lambda: Prompt("Why?", options=options))()
    await until(lambda: asyncio.to_thread(busy))
    future.cancel()
    with pytest.raises(asyncio.CancelledError):
        await future
    await until(lambda: asyncio.to_thread(idle))


async def test_answers_go_on_to_other_backends(real_server: str) -> None:
    prompts = await factory.create_backend(
        "inference", config={"base_url": real_server, "max_tokens": 8}
    )
    threads = await factory.create_backend("concurrent")
    async with WorkflowEngine.create([threads, prompts]) as flow:

        @flow.prompt_task(backend="inference")
        def ask(word: str) -> str:
            return f"Why {word}?"

        @flow.function_task
        def cost(answer: Answer) -> int:
            assert answer.usage is not None
            return answer.usage.total_tokens

        costs = await asyncio.gather(*[cost(ask(word)) for word in ("one", "two", "three")])
    assert sum(costs) == prompts.usage.total_tokens


def test_doctor_asks_the_server(real_server: str, tmp_path: Path) -> None:
    settings = ["--set", f"base_url={real_server}", "--set", "max_tokens=4"]
    done = subprocess.run(
        [sys.executable, "-m", "radical.asyncflow", "doctor", "inference", *settings],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "answers a prompt" in done.stdout


# --------------------------------------------------------------- a program that is killed

PROGRAM = """
import asyncio
import sys
from radical.asyncflow import WorkflowEngine

async def main():
    settings = {"base_url": sys.argv[1], "model": "tiny", "max_tokens": 8, "max_workers": 3}
    async with WorkflowEngine.create("inference", config=settings, journal="journal") as flow:

        @flow.prompt_task
        def ask(number):
            return f"Why {number}?"

        async def tell(number):
            answer = await ask(number)
            print(number, answer.usage.total_tokens, flush=True)

        await asyncio.gather(*[tell(number) for number in range(20)])

asyncio.run(main())
"""


async def test_a_killed_program_pays_again_only_for_what_was_in_flight(
    real_server: str, server: ScriptedServer, tmp_path: Path
) -> None:
    """Between the program and the real server, *server* counts the requests and holds some."""
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    held: list[str] = []
    holding = asyncio.Event()
    arrivals = itertools.count(1)

    async with httpx.AsyncClient(timeout=300) as client:

        async def forward(request: Request) -> Reply:
            if next(arrivals) > 10 and not holding.is_set():
                held.append(request.text)
                await asyncio.get_running_loop().create_future()
            reply = await client.post(f"{real_server}/chat/completions", json=request.body)
            return Reply(reply.status_code, reply.content)

        server.script = forward

        async def run(lines: int) -> list[str]:
            """Run the program; kill it when it has printed so many lines and three are held."""
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "program.py", server.url),
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONWARNINGS": "error"},
            )
            assert process.stdout is not None
            told = []
            async with asyncio.timeout(300):
                while len(told) < lines:
                    line = await process.stdout.readline()
                    assert line, "the program ended early"
                    told.append(line.decode().strip())
                if lines < 20:
                    while len(held) < 3:  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
                    process.send_signal(signal.SIGKILL)
                await process.wait()
            return told

        first = await run(10)
        holding.set()
        second = await run(20)

    asked = Counter(request.text for request in server.requests)
    answered = {f"Why {line.split()[0]}?" for line in first}
    everything = {f"Why {number}?" for number in range(20)}
    assert set(asked) == everything
    assert {text for text, count in asked.items() if count > 1} == set(held)
    assert [asked[text] for text in held] == [2, 2, 2]
    assert answered.isdisjoint(held)
    # The answers of the first run came back as they were, with what they had cost.
    assert set(first) <= set(second)
