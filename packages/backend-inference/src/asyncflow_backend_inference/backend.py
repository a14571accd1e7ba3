"""A backend that has prompts answered by a server."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import os
from collections.abc import Collection, Mapping, Sequence
from contextvars import Context
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import httpx
from pydantic import BaseModel, SecretStr, ValidationError
from radical.asyncflow.aside import in_thread
from radical.asyncflow.backend import (
    Answer,
    ExecutionBackend,
    Prompt,
    ReportSink,
    TaskId,
    TaskRequest,
    TaskSpec,
    Usage,
)
from radical.asyncflow.config import validate
from radical.asyncflow.errors import BackendStartError, ConfigurationError

from ._client import ModelClient, Progress
from ._question import Question, question_of
from .capabilities import CAPABILITIES
from .config import InferenceConfig, PromptOptions, RequestSettings, is_private
from .errors import AnswerError

if TYPE_CHECKING:
    from radical.asyncflow.backend import Wait

__all__ = ["InferenceExecutionBackend"]

SHOWN = 500
"""The most characters of an answer that an error shows; `AnswerError.text` has all of it."""


class Call:
    """One attempt at one prompt.

    Attributes:
        begun: whether a request was sent.
        reported: whether its end was reported.
        task: what asks the server; None while it waits.
        pause: when the request is sent again after one that failed, and why it failed.
    """

    def __init__(self, request: TaskRequest) -> None:
        self.request = request
        self.key = (request.task_id, request.attempt)
        self.begun = False
        self.reported = False
        self.task: asyncio.Task[Any] | None = None
        self.pause: tuple[float, str] | None = None


class InferenceExecutionBackend(ExecutionBackend):
    """A backend that has prompts answered by any server with OpenAI's interface for chats.

    Args:
        settings: an `InferenceConfig`, or a mapping of its fields.
        more: fields as keywords.

    Attributes:
        usage: the tokens of all answers so far.
    """

    capabilities = CAPABILITIES

    def __init__(
        self,
        settings: InferenceConfig | Mapping[str, Any] | None = None,
        *,
        name: str = "inference",
        **more: Any,
    ) -> None:
        self.name = name
        self.usage = Usage()
        self._settings = validate(InferenceConfig, settings, more, backend=name)
        self._base_url = self._settings.base_url
        self._of_task: WeakKeyDictionary[TaskSpec, dict[str, Any]] = WeakKeyDictionary()
        self._waiting: dict[TaskId, Call] = {}
        self._queue: list[tuple[float, int, int, Call]] = []  # a heap
        self._arrivals = itertools.count()
        # With limits one prompt at a time waits for its turn, so that the others wait in order.
        self._one_by_one = bool(
            self._settings.requests_per_minute or self._settings.tokens_per_minute
        )
        self._unbegun = 0
        self._running: dict[tuple[TaskId, int], Call] = {}
        self._client: ModelClient | None = None
        self._closing = asyncio.Lock()

    def capacity(self) -> int:
        """Return the most prompts that are asked at once."""
        return self._settings.max_workers

    async def start(self, sink: ReportSink) -> None:
        """Read the environment; no request is sent before the first prompt.

        Raises:
            BackendStartError: the address in the environment is none, the key is none, or it
                would be sent where others can read it.
        """
        await super().start(sink)
        self._sink = sink  # of our own: cancelled prompts are reported during the shutdown
        settings = self._settings
        self._base_url = settings.base_url or _address_from_environment()
        key = self._key_from_environment()
        url = self._base_url
        if key and url is not None and not settings.allow_plain_key and not is_private(url):
            raise BackendStartError(
                f"backend {self.name!r}: the key in ${settings.api_key_env} would go to {url} as "
                "plain text; use https, set api_key_env=None to send no key, or "
                "allow_plain_key=True"
            )
        # It reads the certificates of the system.
        http = await in_thread(_make_http, settings)
        self._client = ModelClient(http, settings, url, SecretStr(key) if key else None)

    def _key_from_environment(self) -> str | None:
        name = self._settings.api_key_env
        key = os.environ.get(name) if name else None
        # It goes into a header, and an error about that would show it.
        if key and not (key.isascii() and key.isprintable() and key == key.strip()):
            raise BackendStartError(
                f"backend {self.name!r}: the key in ${name} has characters that no key has, such "
                "as a line break or a space at its end; set the variable to the key alone"
            )
        return key

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        """Queue the prompts of *batch*, and ask as many at once as `max_workers` says."""
        _ = self.sink  # raises before the start and after the end
        for request in batch:
            call = self._waiting[request.task_id] = Call(request)
            order = -request.spec.priority, -request.depth, next(self._arrivals)
            heapq.heappush(self._queue, (*order, call))
        self._fill()

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        """End these prompts: the connection of one that is being answered is closed."""
        for task_id in task_ids:
            if call := self._waiting.pop(task_id, None):
                self._sink.cancelled(*call.key)
        if len(self._queue) > 2 * len(self._waiting):  # so most of it was cancelled
            self._queue = [one for one in self._queue if self._is_waiting(one[-1])]
            heapq.heapify(self._queue)
        wanted = frozenset(task_ids)
        for call in list(self._running.values()):
            if call.request.task_id in wanted and call.task is not None:
                if not call.begun and not call.reported:
                    call.reported = True
                    self._sink.cancelled(*call.key)
                call.task.cancel()

    def waits(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, Wait]:
        """Say what waiting prompts wait for, and those that are about to be sent again."""
        from ._waits import waits_of  # here, because most programs never ask

        state = ("", None) if self._client is None else self._client.state()
        queue = [call for *_, call in sorted(self._queue, key=itemgetter(0, 1, 2))]
        return waits_of(
            frozenset(task_ids),
            waiting=[call for call in queue if self._waiting.get(call.request.task_id) is call],
            running=list(self._running.values()),
            places=self._settings.max_workers,
            limit=state,
            now=asyncio.get_running_loop().time(),
        )

    async def shutdown(self, *, cancel: bool = True) -> None:
        """End all prompts, or wait for their answers, and close the connections."""
        await super().shutdown(cancel=cancel)
        if cancel:
            self.cancel([*self._waiting, *(task_id for task_id, _ in self._running)])
        while tasks := [call.task for call in self._running.values() if call.task is not None]:
            await asyncio.wait(tasks)
            await asyncio.sleep(0)  # the callbacks of the tasks report, and start others
        async with self._closing:
            client, self._client = self._client, None
            if client is not None:
                await client.close()

    def check(self, spec: TaskSpec) -> None:
        """Check the ``task_description`` of *spec*, whose keys are those of `RequestSettings`."""
        self._of_task[spec] = self._settings_of_task(spec)

    def identity(self, spec: TaskSpec) -> Any:
        """Return what an answer depends on: the model and how it is asked.

        If no model is named, that is whichever the server has.
        """
        settings = {**self._for(spec)}
        settings.pop("stream", None)
        if "model" not in settings:
            settings["base_url"] = self._base_url
        return settings

    # ------------------------------------------------------------------ prompts

    def _is_waiting(self, call: Call) -> bool:
        return self._waiting.get(call.request.task_id) is call

    def _fill(self) -> None:
        """Begin with waiting prompts while there is room."""
        while (
            self._waiting
            and len(self._running) < self._settings.max_workers
            and not (self._one_by_one and self._unbegun)
        ):
            *_, call = heapq.heappop(self._queue)
            if not self._is_waiting(call):
                continue  # it was cancelled
            del self._waiting[call.request.task_id]
            self._running[call.key] = call
            self._unbegun += 1
            # A context of its own: that of whoever called submit is none of its business.
            call.task = asyncio.get_running_loop().create_task(
                self._answer(call), name=f"{self.name} {call.request.spec.name}", context=Context()
            )
            call.task.add_done_callback(partial(self._ended, call))

    async def _answer(self, call: Call) -> Any:
        """Return the result of *call*."""
        task_id, attempt = call.key
        sink = self._sink

        def begin() -> None:
            if call.begun:
                return
            call.begun = True
            self._unbegun -= 1
            sink.running(task_id, attempt)
            self._fill()

        def part(text: str, offset: int) -> None:
            sink.output(task_id, attempt, text, offset)

        def pause(seconds: float, reason: str) -> None:
            call.pause = asyncio.get_running_loop().time() + seconds, reason

        assert self._client is not None
        answer = await self._client.ask(self._question(call.request), Progress(begin, part, pause))
        if answer.usage is not None:
            self.usage = Usage(*map(sum, zip(self.usage, answer.usage, strict=True)))
        model: Any = call.request.spec.answer
        return answer if model is None else _instance(model, answer)

    def _ended(self, call: Call, task: asyncio.Task[Any]) -> None:
        """Report the end of *call*, and begin with the next."""
        del self._running[call.key]
        self._unbegun -= not call.begun
        error = None if task.cancelled() else task.exception()
        if not call.reported:
            call.reported = True
            if task.cancelled():
                self._sink.cancelled(*call.key)
            elif error is not None:
                self._sink.failed(*call.key, error)
            else:
                self._sink.done(*call.key, task.result())
        self._fill()

    def _question(self, request: TaskRequest) -> Question:
        prompt: Any = request.command
        assert isinstance(prompt, Prompt)
        settings = self._for(request.spec)
        base_url = self._base_url
        if prompt.options:
            what = f"{self.name} (options of the prompt of task {request.spec.name!r})"
            options = validate(PromptOptions, dict(prompt.options), backend=what)
            settings = _joined(settings, options.given())
            base_url = options.base_url or base_url
        if base_url is None:
            raise ConfigurationError(
                f"backend {self.name!r} knows no server: set base_url, such as "
                "'http://localhost:8000/v1', or $OPENAI_BASE_URL"
            )
        return question_of(prompt, request.spec, settings, base_url)

    def _for(self, spec: TaskSpec) -> dict[str, Any]:
        """Return the settings for the prompts of *spec*."""
        settings = self._of_task.get(spec)
        if settings is None:
            settings = self._of_task[spec] = self._settings_of_task(spec)
        return settings

    def _settings_of_task(self, spec: TaskSpec) -> dict[str, Any]:
        settings = self._settings.given()
        if "model" not in settings and (model := os.environ.get("OPENAI_MODEL")):
            settings["model"] = model
        if not spec.description:
            return settings
        what = f"{self.name} (task_description of task {spec.name!r})"
        return _joined(
            settings, validate(RequestSettings, dict(spec.description), backend=what).given()
        )


def _joined(settings: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return *settings* with *over* in their place; of both `extra`, all fields."""
    joined = {**settings, **over}
    if "extra" in settings and "extra" in over:
        joined["extra"] = {**settings["extra"], **over["extra"]}
    return joined


def _address_from_environment() -> str | None:
    url = os.environ.get("OPENAI_BASE_URL")
    if not url:
        return None
    try:
        return InferenceConfig(base_url=url).base_url
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise BackendStartError(f"$OPENAI_BASE_URL {reason}") from None


def _make_http(settings: InferenceConfig) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        timeout=httpx.Timeout(settings.timeout, connect=settings.connect_timeout, pool=None),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=settings.max_workers),
    )


def _instance(model: type[BaseModel], answer: Answer) -> BaseModel:
    """Return the instance of *model* that *answer* describes.

    Raises:
        AnswerError: it describes none.
    """
    try:
        return model.model_validate_json(answer)
    except ValidationError as error:
        problems = "; ".join(
            ": ".join(filter(None, (".".join(map(str, item["loc"])), item["msg"])))
            for item in error.errors(include_url=False, include_input=False)[:5]
        )
    cut = " (it was cut: raise max_tokens)" if answer.finish_reason == "length" else ""
    said = answer or str(answer.message.get("refusal") or "")
    text = said[:SHOWN] + ("…" if len(said) > SHOWN else "")
    raise AnswerError(
        f"the model's answer is no {model.__name__}{cut}: {problems}. It said: {text!r}",
        str(said),
        answer.finish_reason,
    )
