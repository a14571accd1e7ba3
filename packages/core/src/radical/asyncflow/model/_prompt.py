"""Prompts, which tasks ask a backend to answer, and the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, NamedTuple

from .._public import public
from ..errors import ConfigurationError

__all__ = ["PROMPT_PARTS", "Answer", "Prompt", "Usage"]


@public("radical.asyncflow")
class Usage(NamedTuple):
    """The tokens that an answer cost, as the server counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@public("radical.asyncflow")
class Answer(str):
    """The answer to a prompt: its text, with what the server says about it.

    Attributes:
        usage: the tokens that it cost; None if the server does not count them.
        model: the name of the model that gave it; "" if that is not known.
        finish_reason: why the model stopped, in the server's words: usually ``"stop"``,
            ``"length"`` if it was cut, or ``"tool_calls"``; "" if that is not known.
        message: the whole message of the model, to be put into the `Prompt.messages` of the
            next prompt of a chat.
    """

    __slots__ = ("finish_reason", "message", "model", "usage")

    usage: Usage | None
    model: str
    finish_reason: str
    message: Mapping[str, Any]

    def __new__(
        cls,
        text: str = "",
        *,
        usage: Usage | None = None,
        model: str = "",
        finish_reason: str = "",
        message: Mapping[str, Any] | None = None,
    ) -> Answer:
        made = super().__new__(cls, text)
        made.usage = usage
        made.model = model
        made.finish_reason = finish_reason
        made.message = {"role": "assistant", "content": text} if message is None else message
        return made

    @property
    def tool_calls(self) -> Sequence[Mapping[str, Any]]:
        """The calls of tools that the model asks for, as the server sent them."""
        return self.message.get("tool_calls") or ()


if TYPE_CHECKING:
    from typing_extensions import TypeVar  # with a default, which that of Python 3.11 has not

    Result = TypeVar("Result", default=Answer)
else:
    from typing import TypeVar

    Result = TypeVar("Result")

PROMPT_PARTS = ("messages", "tools", "options", "answer")
"""The parts of a prompt task that a backend may honour beside the text of the prompt."""


@public("radical.asyncflow")
@dataclass(frozen=True, slots=True)
class Prompt(Generic[Result]):
    """A prompt for a backend that answers prompts.

    ``Prompt[Model]``, as the return annotation of the body of a prompt task, says that the
    answer must be JSON for the pydantic model *Model*, of which the task's result is an instance.

    Attributes:
        text: the text of the prompt; "" if there are messages instead.
        messages: a chat, the oldest message first.  Each message is a mapping with a ``"role"``
            and mostly a ``"content"``, as OpenAI's interface for chats has it.
        tools: descriptions of the tools that the model may ask for, as that interface has them.
            The answer then has `Answer.tool_calls`; it is up to the program to make the calls.
        options: settings of the backend for this prompt alone, such as ``{"temperature": 0.2}``;
            the backend documents and checks them.

    Raises:
        ConfigurationError: there are both a text and messages, or something is of a wrong type.
    """

    text: str = ""
    messages: Sequence[Mapping[str, Any]] = ()
    tools: Sequence[Mapping[str, Any]] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise ConfigurationError(
                f"the text of a prompt must be a str, not {type(self.text).__name__}"
            )
        for name in ("messages", "tools"):
            object.__setattr__(self, name, _mappings(name, getattr(self, name)))
        for message in self.messages:
            if not isinstance(message.get("role"), str):
                raise ConfigurationError(
                    "each message of a prompt needs a 'role', such as "
                    "{'role': 'user', 'content': 'Why?'}"
                )
        if not self.text.strip() and not self.messages:
            raise ConfigurationError(
                "a prompt is empty: give it a text, or messages, such as "
                "{'role': 'user', 'content': 'Why?'}"
            )
        if self.text and self.messages:
            raise ConfigurationError(
                "a prompt has a text or messages, not both: append the text as the last message, "
                "{'role': 'user', 'content': text}"
            )
        if not isinstance(self.options, Mapping) or not all(
            isinstance(key, str) for key in self.options
        ):
            raise ConfigurationError("the options of a prompt must map names to values")

    @classmethod
    def of(cls, value: object) -> Prompt[Any]:
        """Return *value*, which the body of a prompt task returned, as a Prompt."""
        if isinstance(value, Prompt):
            return value
        if isinstance(value, str):
            return cls(value)
        if isinstance(value, list | tuple):
            return cls(messages=value)
        raise ConfigurationError(
            "a prompt task must return a str, a list of chat messages or a Prompt, not "
            f"{type(value).__name__}"
        )

    @property
    def parts(self) -> frozenset[str]:
        """The names of those of its fields, beside the text, that are not empty."""
        return frozenset(name for name in PROMPT_PARTS[:3] if getattr(self, name))

    def chat(self) -> list[Mapping[str, Any]]:
        """Return the messages; a text is one message of the user."""
        return list(self.messages) or [{"role": "user", "content": self.text}]


def _mappings(name: str, given: object) -> tuple[Mapping[str, Any], ...]:
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        items = tuple(given)
        if all(isinstance(item, Mapping) for item in items):
            return items
    raise ConfigurationError(f"the {name} of a prompt must be a list of mappings")
