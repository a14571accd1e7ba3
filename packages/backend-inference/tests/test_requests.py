"""What is asked of a server, what its replies mean, and what is asked again."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from asyncflow_backend_inference import AnswerError, PromptError
from asyncflow_backend_inference._reply import retry_after
from polling import until
from pydantic import BaseModel, Field
from radical.asyncflow import (
    Answer,
    ConfigurationError,
    OutputEvent,
    Prompt,
    TaskTimeoutError,
    Usage,
    WorkflowEngine,
)
from radical.asyncflow.journal import read
from radical.asyncflow.journal._format import parse
from radical.asyncflow.report import Facts
from radical.asyncflow.report.words import unknown_figures
from troubleshooting import check_shown

from .scripted_server import (
    Reply,
    Request,
    ScriptedServer,
    completion,
    error,
    scripted_server,
    stream,
)

Start = Callable[..., Awaitable[WorkflowEngine]]

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CALL = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
SOON = {"retry_after_ms": "1"}
"""A header by which a server lets the request come again at once, so that no test waits."""


class Verdict(BaseModel):
    good: bool
    score: int = Field(default=0, ge=0)


def asking(flow: WorkflowEngine, **options: Any) -> Any:
    """Return a prompt task whose body returns its argument."""
    return flow.prompt_task(name="ask", **options)(lambda prompt: prompt)


def replying(server: ScriptedServer, *replies: Reply) -> None:
    """Let the server send these, one after the other."""
    left = list(replies)
    server.script = lambda _: left.pop(0)


# ------------------------------------------------------------------------- requests


async def test_a_text_is_one_message_of_the_user(start: Start, server: ScriptedServer) -> None:
    flow = await start()
    answer = await asking(flow)("Why?")
    assert server.requests[0].path == "/v1/chat/completions"
    assert server.requests[0].body == {
        "model": "scripted",
        "messages": [{"role": "user", "content": "Why?"}],
    }
    assert type(answer) is Answer
    assert (answer, answer.model, answer.finish_reason) == ("about Why?", "scripted", "stop")
    assert answer.usage == Usage(5, 3)
    assert flow.backend.usage == Usage(5, 3)


async def test_a_chat_arrives_as_it_is(start: Start, server: ScriptedServer) -> None:
    flow = await start()
    first = await asking(flow)(CHAT)
    more = [*CHAT, first.message, {"role": "user", "content": "And?"}]
    await asking(flow)(Prompt(messages=more))
    assert server.requests[0].body["messages"] == CHAT
    assert server.requests[1].body["messages"] == more


async def test_a_prompt_goes_before_its_task_and_the_task_before_the_backend(
    start: Start, server: ScriptedServer
) -> None:
    flow = await start(temperature=0.5, max_tokens=9, seed=1, extra={"a": 1, "b": 1})
    task = asking(flow, task_description={"max_tokens": 8, "seed": 2, "extra": {"b": 2}})
    await task(Prompt("Why?", options={"seed": 3, "model": "other", "stop": ["."]}))
    body = server.requests[0].body
    assert {key: value for key, value in body.items() if key != "messages"} == {
        "model": "other",
        "temperature": 0.5,
        "max_tokens": 8,
        "seed": 3,
        "stop": ["."],
        "a": 1,
        "b": 2,
    }


async def test_tools_are_offered_and_their_calls_are_left_to_the_program(
    start: Start, server: ScriptedServer
) -> None:
    flow = await start()
    replying(server, completion(None, "tool_calls", tool_calls=[CALL]))
    answer = await asking(flow)(Prompt("1 + 1?", tools=[TOOL]))
    assert server.requests[0].body["tools"] == [TOOL]
    assert (answer, answer.finish_reason, answer.tool_calls) == ("", "tool_calls", [CALL])


async def test_the_only_model_of_a_server_need_not_be_named(
    start: Start, server: ScriptedServer
) -> None:
    flow = await start(model=None)

    def script(request: Request) -> Reply:
        if request.path == "/v1/models":
            return Reply(body=b'{"data": [{"id": "mine"}]}')
        return completion("So.")

    server.script = script
    await asyncio.gather(*[asking(flow)(str(number)) for number in range(3)])
    paths = [request.path for request in server.requests]
    assert paths == ["/v1/models", *["/v1/chat/completions"] * 3]
    assert {request.body["model"] for request in server.requests[1:]} == {"mine"}


async def test_one_of_several_models_must_be_named(start: Start, server: ScriptedServer) -> None:
    flow = await start(model=None)
    replying(server, Reply(body=b'{"data": [{"id": "big"}, {"id": "small"}]}'))
    with pytest.raises(PromptError, match=r"name the model= .* it has big, small"):
        await asking(flow)("Why?")


async def test_prompts_share_what_one_of_them_hears_of_the_model(
    start: Start, server: ScriptedServer
) -> None:
    flow = await start(model=None, max_retries=1)
    server.script = lambda _: error(500, "asleep", **SOON)
    prompts = [asking(flow)(str(number)) for number in range(5)]
    for prompt in prompts:
        with pytest.raises(PromptError, match="asleep"):
            await prompt
    assert [request.path for request in server.requests] == ["/v1/models"] * 2


@pytest.mark.parametrize("ends", ["cancel", "timeout"])
async def test_another_prompt_asks_for_the_model_when_the_one_that_did_ends(
    start: Start, server: ScriptedServer, ends: str
) -> None:
    flow = await start(model=None)
    silent = True

    def script(request: Request) -> Any:
        if silent:
            return asyncio.get_running_loop().create_future()
        return completion("So.") if request.body else Reply(body=b'{"data": [{"id": "mine"}]}')

    server.script = script
    first = asking(flow, timeout=0.5 if ends == "timeout" else None)("one")
    second = asking(flow)("two")
    await until(lambda: server.open)
    silent = False
    if ends == "cancel":
        first.cancel()
    else:
        with pytest.raises(TaskTimeoutError):
            await first
    assert await second == "So."
    await until(lambda: server.gone)


async def test_the_environment_names_server_and_model(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_MODEL", "of the environment")
    async with WorkflowEngine.create("inference") as flow:
        await asking(flow)("Why?")
    assert server.requests[0].body["model"] == "of the environment"


async def test_a_prompt_may_go_to_another_server(start: Start, server: ScriptedServer) -> None:
    flow = await start()
    async with scripted_server() as other:
        await asking(flow)(Prompt("Why?", options={"base_url": other.url}))
        assert [request.text for request in other.requests] == ["Why?"]
    assert server.requests == []


async def test_without_a_server_the_error_says_what_to_set() -> None:
    async with WorkflowEngine.create("inference") as flow:
        with pytest.raises(ConfigurationError, match=r"set base_url, .* or \$OPENAI_BASE_URL"):
            await asking(flow)("Why?")


async def test_no_more_requests_are_open_than_there_are_workers(
    start: Start, server: ScriptedServer
) -> None:
    flow = await start(max_workers=3)
    gate = asyncio.Event()

    async def held(request: Request) -> Reply:
        if server.open == 3:
            gate.set()
        await gate.wait()
        return completion(request.text)

    server.script = held
    answers = await asyncio.gather(*[asking(flow)(str(number)) for number in range(20)])
    assert answers == [str(number) for number in range(20)]
    assert server.most_open == 3


async def test_the_figures_of_prompts_are_those_of_their_requests(
    server: ScriptedServer, tmp_path: Path
) -> None:
    gate = asyncio.Event()
    truth: dict[str, tuple[float, float]] = {}

    async def held(request: Request) -> Reply:
        began = time.monotonic()
        if server.open == 2:
            gate.set()
        await gate.wait()
        truth[request.text] = began, time.monotonic()
        return completion(request.text)

    server.script = held
    path = tmp_path / "journal"
    config = {"base_url": server.url, "model": "scripted", "max_workers": 2}
    async with WorkflowEngine.create("inference", config, journal=path) as flow:
        await asyncio.gather(*[asking(flow)(str(number)) for number in range(6)])
    run = read(path)[-1]
    lines = map(parse, path.read_bytes().splitlines())
    clock = next(float(line.fields["clock"]) for line in lines if line.kind == "B")
    tasks = list(run.tasks.values())
    for task, (began, ended) in zip(
        tasks, (truth[str(number)] for number in range(6)), strict=True
    ):
        assert task.started <= began - clock + 1e-5
        assert task.ended >= ended - clock - 1e-5
        assert task.usage is None
        assert unknown_figures(task) == []  # it used nothing here
    facts = Facts(run)
    (used,) = facts.backends
    assert (used.tasks, used.slots) == (6, 2)
    assert used.busy == pytest.approx(sum(task.ended - task.started for task in tasks))
    assert facts.utilisation == pytest.approx(used.busy / (2 * (used.down - used.up)))


@pytest.mark.parametrize(
    ("what", "problem"),
    [
        ({"task_description": {"max_token": 1}}, "did you mean 'max_tokens'"),
        ({"task_description": {"max_tokens": 0}}, "max_tokens"),
        ({"task_description": {"base_url": "http://x/v1"}}, "unknown key 'base_url'"),
    ],
)
async def test_a_wrong_description_is_refused_at_the_call(
    start: Start, what: Any, problem: str
) -> None:
    flow = await start()
    with pytest.raises(ConfigurationError, match=problem):
        asking(flow, **what)("Why?")


async def test_a_wrong_option_of_a_prompt_fails_the_task(
    start: Start, server: ScriptedServer
) -> None:
    flow = await start()
    with pytest.raises(ConfigurationError, match=r"options of the prompt of task 'ask'.*'sede'"):
        await asking(flow)(Prompt("Why?", options={"sede": 1}))
    with pytest.raises(ConfigurationError, match="cannot be sent as JSON"):
        await asking(flow)([{"role": "user", "content": b"bytes"}])
    assert server.requests == []


@pytest.mark.parametrize("limits", [{}, {"requests_per_minute": 1000}])
async def test_what_waits_is_asked_by_priority_and_then_by_depth(
    start: Start, server: ScriptedServer, limits: dict[str, int]
) -> None:
    flow = await start(max_workers=1, **limits)
    gate = asyncio.Event()

    async def held(request: Request) -> Reply:
        await gate.wait()
        return completion(request.text)

    server.script = held
    ask = asking(flow)
    first = ask("first")
    await until(lambda: server.open)
    deeper = flow.prompt_task(lambda before: f"after {before}")(first)
    futures = [ask("plain"), ask.options(priority=-1)("low"), ask("cancelled")]
    futures += [ask.options(priority=1)("high"), ask("last")]
    await until(lambda: all(future.attempts for future in futures))
    futures[2].cancel()
    gate.set()
    await asyncio.wait([deeper, *futures])
    asked = [request.text for request in server.requests]
    assert asked == ["first", "high", "after first", "plain", "last", "low"]


# ------------------------------------------------------------------- pydantic models


async def test_a_model_is_asked_for_and_its_instance_is_the_result(
    start: Start, server: ScriptedServer
) -> None:
    flow = await start()

    @flow.prompt_task
    def judge(text: str) -> Prompt[Verdict]:
        return Prompt(text)

    replying(server, completion('{"good": true, "score": 3}'))
    assert await judge("Why?") == Verdict(good=True, score=3)
    wanted = server.requests[0].body["response_format"]
    assert wanted["type"] == "json_schema"
    assert (wanted["json_schema"]["name"], wanted["json_schema"]["strict"]) == ("Verdict", True)
    schema = wanted["json_schema"]["schema"]
    assert (schema["required"], schema["additionalProperties"]) == (["good", "score"], False)
    assert "default" not in schema["properties"]["score"]


async def test_another_answer_than_the_model_fails_with_its_text(
    start: Start, server: ScriptedServer
) -> None:
    flow = await start()

    @flow.prompt_task
    def judge(text: str) -> Prompt[Verdict]:
        return Prompt(text)

    replying(server, completion('{"score": -1}'), completion('{"good": tr', "length"))
    with pytest.raises(
        AnswerError, match=r"is no Verdict: good: .*score: .*It said: '{\"score"
    ) as e:
        await judge("Why?")
    assert (e.value.text, e.value.finish_reason) == ('{"score": -1}', "stop")
    with pytest.raises(AnswerError, match=r"it was cut: raise max_tokens"):
        await judge("Why?")


async def test_a_retry_of_the_task_asks_once_more(start: Start, server: ScriptedServer) -> None:
    flow = await start()

    @flow.prompt_task(retries=1)
    def judge(text: str) -> Prompt[Verdict]:
        return Prompt(text)

    replying(server, completion("Good, I think."), completion('{"good": true}'))
    assert await judge("Why?") == Verdict(good=True)


# -------------------------------------------------------------------------- streams


async def parts_of(flow: WorkflowEngine, prompt: Any = "Why?", **options: Any) -> tuple[Any, Any]:
    """Return the answer to a prompt, and the parts of it that observers got."""
    events: list[Any] = []
    stop = flow.observe(events.extend)
    answer = await asking(flow, **options)(prompt)
    stop()
    return answer, [(it.text, it.offset) for it in events if isinstance(it, OutputEvent)]


@pytest.mark.parametrize("ending", [b"\n", b"\r", b"\r\n"])
async def test_a_stream_is_one_however_its_server_writes_it(
    start: Start, server: ScriptedServer, ending: bytes
) -> None:
    flow = await start(stream=True)
    body = stream(["So", "."]).body.replace(b"\r\n", b"\n").replace(b"\n", ending)
    replying(server, Reply(200, body, {"Content-Type": "Text/Event-Stream; charset=utf-8"}))
    assert await asking(flow)("Why?") == "So."


async def test_observers_get_a_streamed_answer_in_parts(
    start: Start, server: ScriptedServer
) -> None:
    flow = await start(stream=True)
    replying(server, stream(["So ", "it\u2028is", ".\x85"]))
    answer, parts = await parts_of(flow)
    assert parts == [("So ", 0), ("it\u2028is", 3), (".\x85", 8)]
    assert (answer, answer.usage) == ("So it\u2028is.\x85", Usage(5, 3))
    assert (answer.model, answer.finish_reason) == ("scripted", "stop")
    assert server.requests[0].body["stream_options"] == {"include_usage": True}


async def test_calls_of_tools_are_put_together_from_their_parts(
    start: Start, server: ScriptedServer
) -> None:
    flow = await start(stream=True)
    half = {"index": 0, "id": "1", "function": {"name": "add", "arguments": '{"a"'}}
    rest = {"index": 0, "function": {"arguments": ": 1}"}}
    deltas = [{"role": "assistant"}, {"tool_calls": [half]}, {"tool_calls": [rest]}]
    replying(server, stream(deltas, end="tool_calls"))
    answer, parts = await parts_of(flow)
    assert (list(answer.tool_calls), parts) == ([CALL], [])


async def test_a_stream_that_is_cut_begins_anew(start: Start, server: ScriptedServer) -> None:
    flow = await start(stream=True)
    replying(
        server,
        stream(["So ", "it"], end=None, cut=True),
        stream(["So"], end=None),
        stream(["So ", "be it."]),
    )
    answer, parts = await parts_of(flow)
    assert answer == "So be it."
    assert parts == [("So ", 0), ("it", 3), ("So", 0), ("So ", 0), ("be it.", 3)]


async def test_a_server_that_does_not_stream_answers_all_the_same(
    start: Start, server: ScriptedServer
) -> None:
    flow = await start(stream=True)
    answer, parts = await parts_of(flow)
    assert (answer, parts) == ("about Why?", [])


async def test_an_error_inside_of_a_stream_is_told(start: Start, server: ScriptedServer) -> None:
    flow = await start(stream=True)
    event = b'data: {"error": {"message": "out of memory"}}\n\n'
    replying(server, Reply(body=event, headers={"content-type": "text/event-stream"}))
    with pytest.raises(PromptError, match="out of memory"):
        await asking(flow)("Why?")


# ------------------------------------------------------------------------ once more


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_what_may_pass_is_asked_again(
    start: Start, server: ScriptedServer, status: int
) -> None:
    flow = await start()
    replying(server, error(status, **SOON), completion("So."))
    assert await asking(flow)("Why?") == "So."
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (error(400, "too long"), "refused the prompt with status 400: too long"),
        (error(404, "no such model"), "status 404: no such model"),
        (error(429, "pay first", "insufficient_quota"), "status 429: pay first"),
        (Reply(308, b"", {"location": "https://far/v1"}), "sends on to https://far/v1"),
        (Reply(403, b"<html>"), "status 403: '<html>' .*key comes from .OPENAI_API_KEY"),
        (Reply(200, b"<html>"), "gave no answer but '<html>'"),
        (Reply(200, b"{}"), "gave no answer but '{}'"),
        (Reply(200, b'{"choices": [{"message": {"content": 7}}]}'), "gave no answer but"),
        (Reply(200, b""), "gave no answer but an empty reply"),
    ],
)
async def test_what_does_not_pass_fails_at_once_with_what_the_server_said(
    start: Start, server: ScriptedServer, reply: Reply, words: str
) -> None:
    flow = await start()
    replying(server, reply)
    with pytest.raises(PromptError, match=words) as caught:
        await asking(flow)("Why?")
    assert caught.value.status == reply.status
    assert len(server.requests) == 1


async def test_the_entry_of_a_refused_prompt_shows_what_a_program_really_sees(
    start: Start, server: ScriptedServer
) -> None:
    flow = await start(max_retries=0)
    replying(server, error(429, "too many requests"))
    with pytest.raises(PromptError) as caught:
        await asking(flow)("Why?")
    check_shown(caught.value)


async def test_the_entry_of_a_wrong_answer_shows_what_a_program_really_sees(
    start: Start, server: ScriptedServer
) -> None:
    flow = await start()

    @flow.prompt_task
    def judge(text: str) -> Prompt[Verdict]:
        return Prompt(text)

    replying(server, completion('{"score": 3}'))
    with pytest.raises(AnswerError) as caught:
        await judge("Is it good?")
    check_shown(caught.value)


async def test_in_the_end_it_gives_up(start: Start, server: ScriptedServer) -> None:
    flow = await start(max_retries=2)
    server.script = lambda _: error(503, "asleep", **SOON)
    with pytest.raises(PromptError, match="status 503: asleep") as caught:
        await asking(flow)("Why?")
    assert caught.value.__notes__ == ["sent 3 times (max_retries=2)"]
    assert len(server.requests) == 3


async def test_a_server_that_asks_for_too_long_a_wait_fails_the_prompt(
    start: Start, server: ScriptedServer
) -> None:
    flow = await start(max_retry_wait=60)
    replying(server, error(429, "later", retry_after="3600"))
    with pytest.raises(PromptError, match="later") as caught:
        await asking(flow)("Why?")
    assert "asks to wait 3600 s, more than max_retry_wait=60" in caught.value.__notes__[0]


async def test_a_server_that_is_not_there_is_named(start: Start) -> None:
    flow = await start(base_url="http://127.0.0.1:9/v1", max_retries=0)
    with pytest.raises(PromptError, match=r"127\.0\.0\.1:9/v1/chat/completions cannot be asked"):
        await asking(flow)("Why?")


async def test_a_silent_server_is_not_waited_for_for_ever(
    start: Start, server: ScriptedServer
) -> None:
    flow = await start(timeout=0.2, max_retries=0)
    server.script = lambda _: asyncio.get_running_loop().create_future()
    with pytest.raises(PromptError, match=r"it was silent for 0\.2 s"):
        await asking(flow)("Why?")


def test_the_wait_that_a_server_asks_for_is_read_in_each_form() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert retry_after({}) is None
    assert retry_after({"retry-after": "7"}) == 7
    assert retry_after({"retry-after": "-7"}) == 0
    assert retry_after({"retry-after": "7", "retry-after-ms": "20"}) == 0.02
    assert 3500 < (retry_after({"retry-after": later}) or 0) <= 3600
    for nonsense in ("soon", "nan", "inf", ""):
        assert retry_after({"retry-after": nonsense}) is None


# ----------------------------------------------------------------------- cancelling


async def test_a_cancelled_prompt_closes_its_connection(
    start: Start, server: ScriptedServer
) -> None:
    flow = await start()
    server.script = lambda _: asyncio.get_running_loop().create_future()
    future = asking(flow)("Why?")
    await until(lambda: server.open)
    future.cancel()
    with pytest.raises(asyncio.CancelledError):
        await future
    await until(lambda: server.gone)


async def test_a_prompt_that_waits_is_cancelled_without_a_request(
    start: Start, server: ScriptedServer
) -> None:
    flow = await start(max_workers=1)
    gate = asyncio.Event()

    async def held(request: Request) -> Reply:
        await gate.wait()
        return completion(request.text)

    server.script = held
    first, second, third = [asking(flow)(word) for word in ("one", "two", "three")]
    await until(lambda: server.open)
    second.cancel()
    gate.set()
    assert [await first, await third] == ["one", "three"]
    assert second.cancelled()
    assert [request.text for request in server.requests] == ["one", "three"]


async def test_prompts_that_were_cancelled_while_they_waited_are_forgotten(
    start: Start, server: ScriptedServer
) -> None:
    flow = await start(max_workers=1)
    server.script = lambda _: asyncio.get_running_loop().create_future()
    futures = [asking(flow)(str(number)) for number in range(100)]
    await until(lambda: server.open == 1)
    for future in futures[10:]:
        future.cancel()
    await until(lambda: all(future.done() for future in futures[10:]))
    assert len(flow.backend._queue) <= 2 * 9


async def test_a_timeout_ends_the_request(start: Start, server: ScriptedServer) -> None:
    flow = await start()
    server.script = lambda _: asyncio.get_running_loop().create_future()
    future = asking(flow, timeout=2)("Why?")
    await until(lambda: server.open)
    with pytest.raises(TaskTimeoutError):
        await future
    await until(lambda: server.gone)


async def test_a_shutdown_ends_what_is_open(start: Start, server: ScriptedServer) -> None:
    flow = await start(max_workers=2)
    server.script = lambda _: asyncio.get_running_loop().create_future()
    futures = [asking(flow)(str(number)) for number in range(5)]
    await until(lambda: server.open == 2)
    await flow.shutdown()
    assert all(future.cancelled() for future in futures)
    await until(lambda: server.gone == 2)


def test_the_body_of_a_reply_is_shown_in_part_only() -> None:
    from asyncflow_backend_inference._reply import complaint

    assert len(complaint(b"x" * 10_000)[0]) < 400
    assert len(complaint(json.dumps({"error": "x" * 10_000}).encode())[0]) < 400


async def test_a_connection_is_used_again_after_a_stream(
    start: Start, server: ScriptedServer
) -> None:
    flow = await start(stream=True)
    server.script = lambda request: stream([request.text])
    for number in range(3):
        assert await asking(flow)(str(number)) == str(number)
    assert server.connections == 1


async def test_a_server_that_does_not_end_a_stream_is_left(
    start: Start, server: ScriptedServer
) -> None:
    flow = await start(stream=True)
    server.script = lambda request: stream([request.text], announced=100)
    assert await asking(flow)("one") == "one"
    assert await asking(flow)("two") == "two"
    assert server.connections == 2
