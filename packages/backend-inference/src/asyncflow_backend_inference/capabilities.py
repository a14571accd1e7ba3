"""The capabilities that the backend declares."""

from __future__ import annotations

from radical.asyncflow.backend import Capabilities, TaskKind

__all__ = ["CAPABILITIES"]

CAPABILITIES = Capabilities(
    kinds=(TaskKind.PROMPT,),
    kills_running=(TaskKind.PROMPT,),
    priorities=True,
    prompts=("messages", "tools", "options", "answer"),
    limits=(
        "it calls no tools: an answer says which calls the model asks for",
        "a cancelled prompt closes its connection; whether the model stops is up to the server",
        "requests and tokens per minute are counted for one engine, not for all programs of a key",
    ),
)
