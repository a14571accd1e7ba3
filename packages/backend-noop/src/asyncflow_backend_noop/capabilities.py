"""The capabilities that the backend declares."""

from __future__ import annotations

from radical.asyncflow.backend import Capabilities, TaskKind

__all__ = ["CAPABILITIES"]

CAPABILITIES = Capabilities(
    kinds=(TaskKind.FUNCTION, TaskKind.EXECUTABLE, TaskKind.PROMPT),
    resources=("cores", "gpus", "memory", "ranks"),
    chains=True,
    service=True,
    instances=True,
    prompts=("messages", "tools", "options", "answer"),
    priorities=True,
    executes=False,
    limits=("nothing runs: every task is done at once, its result a DryRunResult",),
)
