"""The capabilities of the backend."""

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
        "a cancelled task gets SIGKILL 0.1 s after SIGTERM, because RADICAL-Pilot does so; a "
        "process that has left the task's process group lives until the pilot ends",
        "an exit code above 128 counts as a signal, as in a shell",
        "a function travels through files on a file system that this machine and the nodes of the "
        "pilot share; one with ranks needs mpi4py on the nodes",
    ),
)
