"""The errors of prompts::

TaskError
└── PromptError       the server gave no answer
    └── AnswerError   the model answered, but not what was asked for
"""

from __future__ import annotations

from radical.asyncflow.errors import TaskError

__all__ = ["AnswerError", "PromptError"]


class PromptError(TaskError):
    """The server gave no answer to a prompt; the message has what it said.

    Attributes:
        status: the HTTP status of its last reply; None if none came.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)


class AnswerError(PromptError):
    """The model's answer is not what the prompt task has to return.

    Attributes:
        text: what the model answered.
        finish_reason: why it stopped; ``"length"`` if it was cut.
    """

    def __init__(self, message: str, text: str, finish_reason: str = "") -> None:
        self.text = text
        self.finish_reason = finish_reason
        super().__init__(message, status=200)
