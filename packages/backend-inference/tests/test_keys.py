"""The key: where it goes, and where it never appears."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asyncflow_backend_inference import InferenceExecutionBackend, PromptError
from asyncflow_backend_inference.config import InferenceConfig
from radical.asyncflow import BackendStartError, ConfigurationError, Prompt, WorkflowEngine

from .scripted_server import ScriptedServer, completion, error, scripted_server

KEY = "sk-0123456789-of-nobody"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


def written(folder: Path) -> list[str]:
    """Return what is in the files of *folder*."""
    return [path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file()]


def settings(server: ScriptedServer, **more: Any) -> dict[str, Any]:
    return {"base_url": server.url, "model": "scripted", **more}


async def test_the_key_goes_to_the_server(server: ScriptedServer) -> None:
    async with WorkflowEngine.create("inference", config=settings(server)) as flow:
        await flow.prompt_task(lambda: "Why?")()
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


async def test_another_variable_may_have_the_key(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "another")
    given = settings(server, api_key_env="MY_KEY")
    async with WorkflowEngine.create("inference", config=given) as flow:
        await flow.prompt_task(lambda: "Why?")()
    assert server.requests[0].headers["authorization"] == "Bearer another"


async def test_no_other_server_gets_the_key(server: ScriptedServer) -> None:
    async with (
        scripted_server() as other,
        WorkflowEngine.create("inference", config=settings(server)) as flow,
    ):
        await flow.prompt_task(lambda: Prompt("Why?", options={"base_url": other.url}))()
        assert "authorization" not in other.requests[0].headers


async def test_the_key_is_in_no_record_log_or_error(
    server: ScriptedServer, tmp_path: Path, everything_logged: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "journal"
    given = settings(server, stream=True)
    async with WorkflowEngine.create("inference", config=given, journal=path) as flow:
        ask = flow.prompt_task(lambda: "Why?")
        await ask()
        server.script = lambda _: error(401, f"wrong key {KEY}")
        with pytest.raises(PromptError, match=r"wrong key \*\*\*") as caught:
            await ask()
        texts = [
            "".join(traceback.format_exception(caught.value)),
            repr(flow.backend),
            repr(vars(flow.backend)),
            str(flow.plan()),
            everything_logged.text,
            *written(tmp_path),
        ]
    assert KEY.encode() not in pickle.dumps(caught.value)
    assert [text for text in texts if KEY in text] == []
    assert "httpcore" in everything_logged.text, "not everything was logged"


async def test_the_key_is_not_sent_as_plain_text_to_another_machine() -> None:
    with pytest.raises(BackendStartError, match="would go to http://far:8000/v1 as plain text"):
        await WorkflowEngine.create("inference", config={"base_url": "http://far:8000/v1"})
    for more in ({"api_key_env": None}, {"allow_plain_key": True}):
        given = {"base_url": "http://far:8000/v1", **more}
        async with WorkflowEngine.create("inference", config=given):
            pass


@pytest.mark.parametrize("wrong", [f"{KEY}\n", f" {KEY}", f"{KEY}\r\nX-More: 1", f"{KEY}é", " "])
async def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", wrong)
    with pytest.raises(BackendStartError, match=r"\$OPENAI_API_KEY has characters") as caught:
        await WorkflowEngine.create("inference", config=settings(server))
    assert KEY not in "".join(traceback.format_exception(caught.value))


async def test_a_key_that_is_part_of_words_masks_none(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "no")
    server.script = lambda _: error(400, "no such thing now")
    async with WorkflowEngine.create("inference", config=settings(server)) as flow:
        with pytest.raises(PromptError, match="no such thing now"):
            await flow.prompt_task(lambda: "Why?")()


async def test_a_wrong_address_in_the_environment_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "localhost:8000")
    with pytest.raises(BackendStartError, match=r"\$OPENAI_BASE_URL .*must be an address"):
        await WorkflowEngine.create("inference")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"base_url": "localhost:8000"}, "must be an address such as"),
        ({"base_url": "https://me:secret@far/v1"}, "must have no user or password"),
        ({"base_url": "https://far/v1?key=1"}, "without '\\?' and '#'"),
        ({"base_url": "https://far:port/v1"}, "base_url"),
        ({"tokens_per_minute": 100}, "tokens_per_minute needs max_tokens"),
        ({"tokens_per_minute": 100, "max_tokens": 200}, "max_tokens is above tokens_per_minute"),
        ({"max_workers": 0}, "max_workers"),
        ({"api_key": "x"}, "unknown key 'api_key'; did you mean 'api_key_env'"),
    ],
)
def test_wrong_settings_are_refused(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        InferenceExecutionBackend(given)
    assert "secret" not in str(caught.value)


def test_an_address_loses_its_last_slash() -> None:
    assert InferenceConfig(base_url="http://far:8000/v1/").base_url == "http://far:8000/v1"


def test_an_answer_without_tokens_counts_none() -> None:
    from asyncflow_backend_inference._reply import answer_of

    reply = completion("So.").body.replace(b'"usage"', b'"of no use"')
    assert answer_of(reply).usage is None
