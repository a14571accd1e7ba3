"""The capabilities of the backends of this distribution."""

from __future__ import annotations

from radical.asyncflow.backend import Capabilities, TaskKind

__all__ = ["CAPABILITIES"]

_KINDS = (TaskKind.FUNCTION, TaskKind.EXECUTABLE)

CAPABILITIES = Capabilities(
    kinds=_KINDS,
    resources=("cores", "gpus", "memory", "ranks"),
    kills_running=_KINDS,
    chains=True,
    priorities=True,
    pickles=True,
    isolates=True,
    service=True,
    instances=True,
    limits=(
        "a task with ranks needs an MPI launcher on the nodes; the ranks of a command may be on "
        "several nodes of a block, and those of a function are on one node, and need mpi4py",
        "the nodes must see the folder of the run, where they read their order, and where files "
        "lie that a command captures",
        "when a node is lost as a whole, a task that it was given a moment before counts as begun",
    ),
)
