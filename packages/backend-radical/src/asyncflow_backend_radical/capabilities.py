"""What the backend can do."""

from __future__ import annotations

from radical.asyncflow.backend import Capabilities, TaskKind

__all__ = ["CAPABILITIES"]

_KINDS = (TaskKind.FUNCTION, TaskKind.EXECUTABLE)

CAPABILITIES = Capabilities(
    kinds=_KINDS,
    resources=("cores", "gpus", "memory", "ranks"),
    kills_running=_KINDS,
    pickles=True,
    isolates=True,
    service=True,
    limits=(
        "a cancelled task gets SIGKILL 0.1 s after SIGTERM, because RADICAL-Pilot does so; what "
        "has left the task's process group lives on until the pilot ends",
        "an exit code above 128 is taken for the signal that it stands for in a shell",
        "functions run with one rank; they travel through files that the nodes of the pilot and "
        "this machine must share",
    ),
)
