"""Send requests to servers, again where that helps, and within the limits."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any, NamedTuple, cast

import httpx
from pydantic import SecretStr
from radical.asyncflow.backend import Answer

from ._limits import Limits, Permit
from ._question import Question
from ._reply import (
    MAX_REPLY_BYTES,
    BrokenReplyError,
    Parts,
    answer_of,
    complaint,
    lines_of,
    retry_after,
)
from .config import InferenceConfig, origin_of
from .errors import PromptError

__all__ = ["ModelClient", "Progress"]

Chunks = AsyncGenerator[bytes, None]

SENT = "http11.receive_response_headers.started"
"""The event of httpcore after which a request is on its way as a whole."""

DONE = b"[DONE]"
"""The last event of a stream."""

DRAIN_S = 1.0
"""Seconds that the end of a stream may come after its last event; then the connection is closed,
and not used again."""

AGAIN = frozenset({408, 409, 425, 429})
"""Statuses, beside those from 500 on, after which the same request may succeed."""

NEVER_AGAIN = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
"""Codes of OpenAI's for a 429 that no waiting helps against."""

SHORTEST_KEY = 4
"""The number of characters from which on a key can be a secret."""

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
"""Seconds before a request is sent again, where the server does not say; the waits double."""


class Progress(NamedTuple):
    """The functions that are told how far an answer is.

    Attributes:
        begin: called whenever a request is about to be sent.
        part: called with each part of an answer that is streamed, and the number of characters
            before it.
        pause: called with the seconds until the request is sent again, and with the reason.
    """

    begin: Callable[[], object]
    part: Callable[[str, int], object]
    pause: Callable[[float, str], object]


class _RefusedError(Exception):
    """A request without an answer.

    Attributes:
        error: what the task fails with, unless the request is sent again.
        again: whether that may help.
        wait: the seconds that the server asks to wait; None if it does not.
        tokens: what the request cost; None if that is not known.
    """

    def __init__(
        self,
        error: PromptError,
        *,
        again: bool = False,
        wait: float | None = None,
        tokens: int | None = None,
    ) -> None:
        self.error = error
        self.again = again
        self.wait = wait
        self.tokens = tokens
        super().__init__(error)


class ModelClient:
    """The requests of one backend.

    Args:
        http: it sends them, and belongs to this object from now on.
        base_url: the server that gets the *key*.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        settings: InferenceConfig,
        base_url: str | None,
        key: SecretStr | None,
    ) -> None:
        self._http = http
        self._settings = settings
        self._limits = Limits(settings.requests_per_minute, settings.tokens_per_minute)
        self._key = key
        self._origin = None if base_url is None else origin_of(base_url)
        self._models: dict[str, str] = {}
        self._asking: dict[str, asyncio.Future[str]] = {}

    async def ask(self, question: Question, progress: Progress) -> Answer:
        """Return the answer to *question*.

        Raises:
            PromptError: there is none.
            ConfigurationError: the question cannot be asked.
        """
        model = question.model or await self._only_model(question.base_url, progress.begin)
        body = question.body(model)
        tokens = question.most_tokens(body)
        failures = 0
        while True:
            permit = await self._limits.acquire(tokens)
            cost: int | None = None
            try:
                progress.begin()
                answer = await self._send(question, body, permit, progress)
                cost = None if answer.usage is None else answer.usage.total_tokens
                return answer
            except _RefusedError as failure:
                cost = failure.tokens
                failures += 1
                wait = self._wait_after(failure, failures)
                progress.pause(wait, str(failure.error))
            finally:
                permit.end(cost)
            await asyncio.sleep(wait)

    def state(self) -> tuple[str, float | None]:
        """Return what the next request waits for, in words, and for how many seconds."""
        return self._limits.state()

    async def close(self) -> None:
        """Close all connections."""
        self._limits.close()
        await self._http.aclose()

    # -------------------------------------------------------------- one request

    async def _send(
        self, question: Question, body: bytes, permit: Permit, progress: Progress
    ) -> Answer:
        async def trace(event: str, info: Mapping[str, Any]) -> None:  # noqa: ARG001
            if event == SENT:
                permit.sent()

        url = f"{question.base_url}/chat/completions"
        parts = Parts(progress.part)
        try:
            async with (
                self._http.stream(
                    "POST",
                    url,
                    content=body,
                    headers={"content-type": "application/json", **self._authorization(url)},
                    extensions={"trace": trace},
                ) as response,
                # What is left to the garbage collector ends some time later.
                aclosing(cast(Chunks, response.aiter_bytes())) as chunks,
            ):
                if response.status_code != 200:
                    raise self._refusal(response, await _read(chunks))
                kind = response.headers.get("content-type", "").lower()
                if not question.stream or not kind.startswith("text/event-stream"):
                    return answer_of(await _read(chunks))
                async with aclosing(lines_of(chunks)) as lines:
                    await _take_stream(lines, parts)
                return parts.answer()
        except BrokenReplyError as broken:
            text = self._hide(f"{url} gave {broken}")
            raise _RefusedError(PromptError(text, status=200), again=broken.again) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._broken_off(url, error, parts.length) from error

    def _authorization(self, url: str) -> dict[str, str]:
        if self._key is None or origin_of(url) != self._origin:
            return {}
        return {"authorization": f"Bearer {self._key.get_secret_value()}"}

    def _refusal(self, response: httpx.Response, data: bytes) -> _RefusedError:
        """Return the failure that a reply with another status than 200 means."""
        status = response.status_code
        text, code = complaint(data)
        message = f"{response.request.url} refused the prompt with status {status}: {text}"
        if place := response.headers.get("location"):
            message += f" (it sends on to {place}: is that the base_url?)"
        if status in (401, 403):
            name = self._settings.api_key_env
            message += f" (the key comes from ${name})" if name else " (no key is sent)"
        return _RefusedError(
            PromptError(self._hide(message), status=status),
            again=(status in AGAIN or status >= 500) and code not in NEVER_AGAIN,
            wait=retry_after(response.headers),
            tokens=0,
        )

    def _broken_off(self, url: str, error: Exception, length: int) -> _RefusedError:
        """Return the failure that an error of the connection means."""
        reason = str(error) or type(error).__name__
        if isinstance(error, httpx.ReadTimeout):
            reason = f"it was silent for {self._settings.timeout:g} s"
        elif isinstance(error, httpx.ConnectTimeout):
            reason = f"no connection within {self._settings.connect_timeout:g} s"
        where = f" after {length} characters of the answer" if length else ""
        unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
        return _RefusedError(
            PromptError(self._hide(f"{url} cannot be asked{where}: {reason}")),
            again=isinstance(error, httpx.TransportError) and "CERTIFICATE" not in reason,
            tokens=0 if unsent else None,
        )

    def _hide(self, text: str) -> str:
        """Return *text*, which a server may have written, without the key."""
        key = "" if self._key is None else self._key.get_secret_value()
        # Something shorter, as servers without keys are given, is part of other words.
        return text.replace(key, "***") if len(key) >= SHORTEST_KEY else text

    # ------------------------------------------------------------------- again

    def _wait_after(self, failure: _RefusedError, failures: int) -> float:
        """Return the seconds to wait before the request is sent again.

        Raises:
            PromptError: it is not sent again.
        """
        error, wait, settings = failure.error, failure.wait, self._settings
        if not failure.again:
            raise error from failure.__cause__
        if failures > settings.max_retries:
            if settings.max_retries:
                error.add_note(f"sent {failures} times (max_retries={settings.max_retries})")
            raise error from failure.__cause__
        if wait is None:
            longest = min(FIRST_WAIT_S * 2.0 ** (failures - 1), LONGEST_WAIT_S)
            return longest * (0.5 + random.random() / 2)
        if wait > settings.max_retry_wait:
            error.add_note(
                f"the server asks to wait {wait:g} s, more than "
                f"max_retry_wait={settings.max_retry_wait:g}"
            )
            raise error from failure.__cause__
        if error.status in (429, 503):
            self._limits.pause(wait)  # that holds for all requests
        return wait

    # ------------------------------------------------------------------ models

    async def _only_model(self, base_url: str, begin: Callable[[], object]) -> str:
        """Return the model of *base_url*, which must have one only.

        One prompt asks, and *begins* with that; those that come meanwhile share what it hears.

        Raises:
            PromptError: it has several, or does not say.
        """
        while base_url not in self._models:
            if (asking := self._asking.get(base_url)) is not None:
                await asyncio.wait([asking])
                if not asking.cancelled() and (error := asking.exception()) is not None:
                    raise copy.copy(error) from error.__cause__
                continue  # if that prompt was cancelled, another one asks
            asking = self._asking[base_url] = asyncio.get_running_loop().create_future()
            try:
                begin()
                self._models[base_url] = await self._ask_for_model(base_url)
                asking.set_result(base_url)
            except PromptError as error:
                asking.set_exception(error)
                asking.exception()  # perhaps nobody else waits
                raise
            finally:
                asking.cancel()
                del self._asking[base_url]
        return self._models[base_url]

    async def _ask_for_model(self, base_url: str) -> str:
        url, failures = f"{base_url}/models", 0
        while True:
            try:
                try:
                    response = await self._http.get(url, headers=self._authorization(url))
                except (httpx.HTTPError, httpx.InvalidURL) as error:
                    raise self._broken_off(url, error, 0) from error
                if response.status_code != 200:
                    raise self._refusal(response, response.content)
                names: list[str] = []
                with suppress(ValueError, LookupError, TypeError):
                    names = [str(model["id"]) for model in response.json()["data"]]
                if len(names) == 1:
                    return names[0]
                has = f"it has {', '.join(names[:20])}" if names else "it does not say what it has"
                raise PromptError(self._hide(f"name the model= that {base_url} shall use: {has}"))
            except _RefusedError as failure:
                failures += 1
                wait = self._wait_after(failure, failures)
            await asyncio.sleep(wait)


async def _take_stream(lines: AsyncIterator[bytes], parts: Parts) -> None:
    """Take in *lines* up to their end, so that the connection can be used again."""
    async for data in lines:
        if data == DONE:
            parts.ended = True
            break
        parts.take(data)
    with suppress(TimeoutError, BrokenReplyError):
        async with asyncio.timeout(DRAIN_S):
            async for _ in lines:
                pass


async def _read(chunks: AsyncIterator[bytes]) -> bytes:
    data = bytearray()
    async for chunk in chunks:
        data += chunk
        if len(data) > MAX_REPLY_BYTES:
            raise BrokenReplyError("a reply without an end")
    return bytes(data)
