"""Make the JSON of a request of a prompt and the settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from radical.asyncflow.backend import Prompt, TaskSpec
from radical.asyncflow.errors import ConfigurationError

__all__ = ["Question", "question_of"]


class Question(NamedTuple):
    """A request that can be sent.

    Attributes:
        base_url: the server.
        model: the model; None for the only one that the server has.
        fields: the other fields of the request's JSON.
        stream: whether the answer comes in parts.
    """

    base_url: str
    model: str | None
    fields: Mapping[str, Any]
    stream: bool

    def body(self, model: str) -> bytes:
        """Return the JSON.

        Raises:
            ConfigurationError: something in it is no JSON.
        """
        try:
            text = json.dumps({"model": model, **self.fields}, ensure_ascii=False, allow_nan=False)
            return text.encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigurationError(f"the prompt cannot be sent as JSON: {error}") from error

    def most_tokens(self, body: bytes) -> int:
        """Return how many tokens the request and its answers can have at most.

        A token has at least one byte, and what a template adds to a message is shorter than the
        JSON around it.

        Raises:
            ConfigurationError: a limit of the request is no whole number.
        """
        longest = max(self._count("max_tokens") or 0, self._count("max_completion_tokens") or 0)
        return len(body) + longest * (self._count("n") or 1)

    def _count(self, field: str) -> int | None:
        """Return a *field* that is a number, which `extra` may have changed to anything."""
        given = self.fields.get(field)
        if given is None:
            return None
        if not isinstance(given, int) or isinstance(given, bool) or given < 1:
            raise ConfigurationError(
                f"the prompt's {field!r} must be a whole number above 0, not {given!r}"
            )
        return given


def question_of(
    prompt: Prompt[Any], spec: TaskSpec, settings: Mapping[str, Any], base_url: str
) -> Question:
    """Return what is asked of *base_url* for a *prompt* of a task with such *settings*."""
    fields = {
        key: value
        for key, value in settings.items()
        if key not in ("model", "stream", "extra", "base_url")
    }
    fields["messages"] = [dict(message) for message in prompt.chat()]
    if prompt.tools:
        fields["tools"] = [dict(tool) for tool in prompt.tools]
    if spec.answer is not None:
        fields["response_format"] = _response_format(spec.answer)
    stream = bool(settings.get("stream"))
    if stream:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    fields |= settings.get("extra", {})
    fields = {key: value for key, value in fields.items() if value is not None}
    return Question(base_url, settings.get("model"), fields, bool(fields.get("stream")))


def _response_format(model: Any) -> dict[str, Any]:
    return {
        "type": "json_schema",
        "json_schema": {
            "name": model.__name__,
            "schema": _strict(model.model_json_schema()),
            "strict": True,
        },
    }


def _strict(schema: Any) -> Any:
    """Return *schema* so that servers hold the model to it: no other fields, and none left out.

    A strict schema of OpenAI's must not have defaults either.
    """
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict(value) for key, value in schema.items() if key != "default"}
    properties = schema.get("properties")
    if schema.get("type") == "object" and isinstance(properties, dict):
        made["properties"] = {name: _strict(value) for name, value in properties.items()}
        made["required"] = list(properties)
        made.setdefault("additionalProperties", False)
    return made
