"""Prompt tasks: what a body may return, what a backend must honour, and what an answer is."""

from __future__ import annotations

import functools
import pickle
from typing import Any

import pytest
from pydantic import BaseModel
from radical.asyncflow import (
    Answer,
    ConfigurationError,
    OutputEvent,
    Prompt,
    UnsupportedOptionError,
    Usage,
    WorkflowEngine,
)
from radical.asyncflow.backend import Capabilities, TaskKind
from radical.asyncflow.events import Event
from radical.asyncflow.testing import ScriptedBackend

from .resuming import Program
from .waiting import until

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
EVERYTHING = ("messages", "tools", "options", "answer")


class Verdict(BaseModel):
    good: bool


class Other(BaseModel):
    good: bool
    why: str = ""


def asking(**settings: Any) -> ScriptedBackend:
    return ScriptedBackend(kinds={TaskKind.PROMPT}, **settings)


# ---------------------------------------------------------------- what a body returns


def test_a_chat_is_a_list_of_messages() -> None:
    assert Prompt.of(CHAT).chat() == CHAT
    assert Prompt.of("Why?").chat() == [{"role": "user", "content": "Why?"}]


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Prompt(" \n"), "a prompt is empty"),
        (lambda: Prompt("Why?", CHAT), "a text or messages, not both"),
        (lambda: Prompt(messages="Why?"), "messages of a prompt must be a list of mappings"),
        (lambda: Prompt(messages=["Why?"]), "messages of a prompt must be a list of mappings"),
        (lambda: Prompt(messages=[{"content": "Why?"}]), "needs a 'role'"),
        (lambda: Prompt("Why?", tools={"name": "add"}), "tools of a prompt must be a list"),
        (lambda: Prompt("Why?", options=[1]), "options of a prompt must map names"),
        (lambda: Prompt(7), "text of a prompt must be a str, not int"),
    ],
)
def test_a_prompt_that_cannot_be_meant_is_refused(make: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        make()


# --------------------------------------------------------------- what a backend honours


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(messages=CHAT),
        Prompt("Why?", tools=[{"type": "function"}]),
        Prompt("Why?", options={"temperature": 0}),
    ],
    ids=lambda prompt: next(iter(prompt.parts)),
)
async def test_a_part_that_a_backend_does_not_honour_fails_the_task(prompt: Prompt) -> None:
    part = next(iter(prompt.parts))
    others = set(EVERYTHING) - {part}
    async with WorkflowEngine.create(asking(prompts=others)) as flow:
        with pytest.raises(UnsupportedOptionError, match=f"does not honour the {part}"):
            await flow.prompt_task(lambda: prompt)()
    async with WorkflowEngine.create(asking(prompts=[part])) as flow:
        await flow.prompt_task(lambda: prompt)()


async def test_a_model_is_refused_at_the_call_where_a_backend_answers_with_text() -> None:
    async with WorkflowEngine.create(asking()) as flow:

        @flow.prompt_task
        def judge() -> Prompt[Verdict]:
            return Prompt("Is it good?")

        with pytest.raises(UnsupportedOptionError, match="text only, not with Verdict"):
            judge()


def test_capabilities_name_parts_of_prompts_only() -> None:
    with pytest.raises(ValueError, match="prompts names colour, which is no part of a prompt"):
        Capabilities(kinds={TaskKind.PROMPT}, prompts={"colour"})
    with pytest.raises(ValueError, match="kinds does not name prompt"):
        Capabilities(kinds={TaskKind.FUNCTION}, prompts={"tools"})


# ------------------------------------------------------------------------- the model


async def model_of(*bodies: Any) -> list[type | None]:
    async with WorkflowEngine.create(asking(prompts=EVERYTHING)) as flow:
        return [flow.prompt_task(body).spec.answer for body in bodies]


async def test_the_return_annotation_names_the_model() -> None:
    def generic() -> Prompt[Verdict]:
        return Prompt("?")

    def bare() -> Verdict:
        return "?"  # type: ignore[return-value]

    async def later() -> Prompt[Verdict]:
        return Prompt("?")

    class Judge:
        def __call__(self) -> Prompt[Verdict]:
            return Prompt("?")

    bodies = (generic, bare, later, Judge(), functools.partial(generic))
    assert await model_of(*bodies) == [Verdict] * 5


async def test_a_model_of_the_function_around_is_found() -> None:
    class Local(BaseModel):
        good: bool

    async with WorkflowEngine.create(asking(prompts=EVERYTHING)) as flow:

        @flow.prompt_task
        def judge() -> Prompt[Local]:
            return Prompt("?")

    assert judge.spec.answer is Local


async def test_an_answer_is_text_where_no_model_is_named() -> None:
    def text() -> str:
        return "?"

    def prompt() -> Prompt:
        return Prompt("?")

    def of_text() -> Prompt[str]:
        return Prompt("?")

    assert await model_of(text, prompt, of_text, lambda: "?") == [None] * 4


async def test_an_annotation_that_cannot_be_a_model_is_refused() -> None:
    def number() -> Prompt[int]:
        return Prompt("?")

    def unknown() -> Prompt[Nowhere]:  # type: ignore[name-defined]  # noqa: F821
        return Prompt("?")

    with pytest.raises(ConfigurationError, match=r"text or a pydantic model, and .*int"):
        await model_of(number)
    with pytest.raises(ConfigurationError, match=r"'unknown': its return annotation 'Prompt.Now"):
        await model_of(unknown)


# ------------------------------------------------------------------------- the answer


async def test_text_that_a_backend_reports_becomes_an_answer() -> None:
    async with WorkflowEngine.create(asking()) as flow:
        answer = await flow.prompt_task(lambda: "Why?")()
    assert type(answer) is Answer
    assert (answer, answer.usage, answer.model, answer.finish_reason) == ("Why?", None, "", "")
    assert answer.message == {"role": "assistant", "content": "Why?"}


async def test_an_answer_arrives_as_it_was_reported() -> None:
    backend = asking()
    given = Answer("So.", usage=Usage(3, 2), model="m", finish_reason="stop", message={"a": 1})
    async with WorkflowEngine.create(backend) as flow:
        backend.hold()
        future = flow.prompt_task(lambda: "Why?")()
        await until(backend.waiting)
        backend.start_task(future)
        backend.finish(future, given)
        answer = await future
    assert answer is given
    assert answer.usage.total_tokens == 5


def test_an_answer_is_pickled_with_all_that_it_says() -> None:
    calls = [{"id": "1", "function": {"name": "add", "arguments": "{}"}}]
    answer = Answer("So.", usage=Usage(3, 2), model="m", message={"tool_calls": calls})
    copy = pickle.loads(pickle.dumps(answer))
    assert (copy, copy.usage, copy.model, copy.tool_calls) == ("So.", Usage(3, 2), "m", calls)


# ------------------------------------------------------------------------- the output


async def test_observers_get_what_a_task_puts_out_in_order() -> None:
    backend, events = asking(), list[Event]()
    async with WorkflowEngine.create(backend) as flow:
        backend.hold()
        flow.observe(events.extend)
        future = flow.prompt_task(name="ask")(lambda: "Why?")()
        await until(backend.waiting)
        backend.start_task(future)
        backend.put_out(future, "So ")
        backend.put_out(future, "it is.", 3)
        backend.finish(future, "So it is.")
        await future
    parts = [event for event in events if isinstance(event, OutputEvent)]
    assert [(part.name, part.text, part.offset, part.attempt) for part in parts] == [
        ("ask", "So ", 0, 1),
        ("ask", "it is.", 3, 1),
    ]
    assert {part.run for part in parts} == {flow.uid}


async def test_output_that_comes_too_late_goes_nowhere() -> None:
    backend, events = asking(), list[Event]()
    async with WorkflowEngine.create(backend) as flow:
        backend.hold()
        flow.observe(events.extend)
        future = flow.prompt_task(lambda: "Why?")()
        await until(backend.waiting)
        backend.start_task(future)
        backend.finish(future, "So.")
        assert await future == "So."
        backend.sink.output(1, 1, "late")
        backend.sink.output(99, 1, "of nobody")
        backend.release()
        await flow.prompt_task(lambda: "And?")()
    assert [event for event in events if isinstance(event, OutputEvent)] == []


# ------------------------------------------------------------------------- the journal


class Named(ScriptedBackend):
    """A backend whose answers depend on the name of a model."""

    def __init__(self, model: Any) -> None:
        super().__init__(kinds={TaskKind.PROMPT}, prompts=EVERYTHING)
        self.model = model

    def identity(self, spec: Any) -> Any:  # noqa: ARG002
        if isinstance(self.model, Exception):
            raise self.model
        return {"model": self.model}


@pytest.fixture
def program(tmp_path: Any) -> Program:
    return Program(tmp_path)


async def ask(flow: WorkflowEngine) -> Any:
    return await flow.prompt_task(name="ask")(lambda: "Why?")()


async def test_an_answer_counts_for_the_model_that_gave_it(program: Program) -> None:
    assert await program.run(ask, Named("small")) == ["ask"]
    assert await program.run(ask, Named("large")) == ["ask"]
    assert await program.run(ask, Named("small")) == []


async def test_an_answer_is_not_reused_if_nobody_knows_what_it_depends_on(
    program: Program,
) -> None:
    broken = Named(OSError("no model"))
    assert await program.run(ask, broken) == ["ask"]
    assert "backend 'scripted' raised in identity(): OSError: no model" in str(program.why("ask"))


async def test_an_answer_of_another_model_class_is_not_reused(program: Program) -> None:
    async def main(flow: WorkflowEngine, model: type[BaseModel]) -> Any:
        def judge() -> Any:
            return "?"

        judge.__annotations__["return"] = model
        return await flow.prompt_task(judge)()

    first, second = functools.partial(main, model=Verdict), functools.partial(main, model=Other)
    assert await program.run(first, Named("m")) == ["judge"]
    assert await program.run(second, Named("m")) == ["judge"]
    assert await program.run(first, Named("m")) == []
