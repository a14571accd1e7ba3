"""The inference backend of radical.asyncflow: prompts, answered by a server for models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from radical.asyncflow.lazy import lazy_names

from .version import __version__

if TYPE_CHECKING:
    from .backend import InferenceExecutionBackend
    from .errors import AnswerError, PromptError

__all__ = ["AnswerError", "InferenceExecutionBackend", "PromptError", "__version__"]

# Imported on first use: the listing of backends does not need them.
__getattr__, __dir__ = lazy_names(
    __name__,
    {"AnswerError": "errors", "InferenceExecutionBackend": "backend", "PromptError": "errors"},
)
