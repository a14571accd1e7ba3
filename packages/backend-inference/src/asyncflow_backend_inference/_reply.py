"""Read what a server replies: a whole answer, an answer in parts, or an error."""

from __future__ import annotations

import email.utils
import json
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from time import time
from typing import Any

from radical.asyncflow.backend import Answer, Usage

__all__ = ["BrokenReplyError", "Parts", "answer_of", "complaint", "lines_of", "retry_after"]

MAX_REPLY_BYTES = 64 << 20
"""Bytes of a reply beyond which it is no answer."""

SHOWN = 300
"""The most characters of a reply that an error shows."""


class BrokenReplyError(Exception):
    """A reply that is no answer; the text says why.

    Attributes:
        again: True if the request may be sent again: the reply broke off.
    """

    def __init__(self, reason: str, *, again: bool = False) -> None:
        self.again = again
        super().__init__(reason)


def answer_of(data: bytes) -> Answer:
    """Return the answer that a whole reply has.

    Raises:
        BrokenReplyError: it has none.
    """
    try:
        reply = json.loads(data)
        choice = reply["choices"][0]
        message = choice["message"]
        return _answer(message, reply.get("model"), choice.get("finish_reason"), reply.get("usage"))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise BrokenReplyError(f"no answer but {_shown(data)}") from None


class Parts:
    """An answer that comes in parts.

    Args:
        tell: called with each part of the text, and the number of characters before it.

    Attributes:
        ended: True if the server said that this was all.
    """

    def __init__(self, tell: Callable[[str, int], object]) -> None:
        self.ended = False
        self._tell = tell
        self._message: dict[str, Any] = {"role": "assistant", "content": ""}
        self._calls: dict[int, dict[str, Any]] = {}
        self._model = ""
        self._finish_reason = ""
        self._usage: Any = None

    @property
    def length(self) -> int:
        """The number of characters that have come."""
        return len(self._message["content"])

    def take(self, data: bytes) -> None:
        """Take in one event of the stream.

        Raises:
            BrokenReplyError: it is none.
        """
        try:
            event = json.loads(data)
            if error := event.get("error"):
                raise BrokenReplyError(f"the error {_shown(json.dumps(error).encode())}")
            self._model = event.get("model") or self._model
            self._usage = event.get("usage") or self._usage
            for choice in (event.get("choices") or ())[:1]:
                self._finish_reason = choice.get("finish_reason") or self._finish_reason
                self._take_delta(choice.get("delta") or {})
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise BrokenReplyError(f"no part of an answer but {_shown(data)}") from None

    def _take_delta(self, delta: Mapping[str, Any]) -> None:
        for key, value in delta.items():
            if key == "tool_calls":
                for call in value or ():
                    self._take_call(call)
            elif key == "content":
                if value:
                    offset = self.length
                    self._message["content"] += value
                    self._tell(value, offset)
            elif isinstance(value, str) and key != "role":  # such as how the model reasons
                self._message[key] = self._message.get(key, "") + value

    def _take_call(self, part: Mapping[str, Any]) -> None:
        call = self._calls.setdefault(part["index"], {"type": "function"})
        call |= {key: part[key] for key in ("id", "type") if part.get(key)}
        function = call.setdefault("function", {"name": "", "arguments": ""})
        for key in ("name", "arguments"):
            function[key] += (part.get("function") or {}).get(key) or ""

    def answer(self) -> Answer:
        """Return the answer, after the last event.

        Raises:
            BrokenReplyError: the stream ended before the answer did.
        """
        if not self.ended and not self._finish_reason:
            raise BrokenReplyError(
                f"a stream that broke off after {self.length} characters", again=True
            )
        if self._calls:
            self._message["tool_calls"] = [call for _, call in sorted(self._calls.items())]
        return _answer(self._message, self._model, self._finish_reason, self._usage)


def _answer(message: Any, model: Any, finish_reason: Any, usage: Any) -> Answer:
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(part.get("text") or "" for part in content)
    if not isinstance(content, str | None):
        raise TypeError("the content is no text")
    return Answer(
        content or "",
        usage=_usage(usage),
        model=str(model or ""),
        finish_reason=str(finish_reason or ""),
        message=dict(message),
    )


def _usage(given: Any) -> Usage | None:
    if not isinstance(given, dict):
        return None
    counts = [given.get(key) for key in Usage._fields]
    return Usage(*[max(count, 0) if isinstance(count, int) else 0 for count in counts])


async def lines_of(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield the data of each event of a stream, as the standard for server-sent events has them.

    Raises:
        BrokenReplyError: it is longer than any answer.
    """
    rest, size = b"", 0
    async for chunk in chunks:
        size += len(chunk)
        if size > MAX_REPLY_BYTES:
            raise BrokenReplyError("a stream without an end")
        *lines, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()


def complaint(data: bytes) -> tuple[str, str]:
    """Return what the reply to a failed request says, and its code; "" if it has none."""
    try:
        reply = json.loads(data)
        error = reply.get("error", reply)
        if isinstance(error, str):
            return error[:SHOWN], ""
        text = error.get("message") or error["detail"]
        code = str(error.get("code") or error.get("type") or "")
        return (text if isinstance(text, str) else json.dumps(text))[:SHOWN], code
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return _shown(data), ""


def _shown(data: bytes) -> str:
    text = data[: 4 * SHOWN].decode(errors="replace")[:SHOWN]
    return repr(text) if text.strip() else "an empty reply"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the server asks to wait; None if it does not (RFC 9110, 10.2.3)."""
    text = headers.get("retry-after") or ""
    try:
        exact = headers.get("retry-after-ms")
        seconds = float(text) if exact is None else float(exact) / 1000
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
