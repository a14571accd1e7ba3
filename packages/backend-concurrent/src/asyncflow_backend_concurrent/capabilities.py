"""The capabilities of each configuration of the backend."""

from __future__ import annotations

from radical.asyncflow.backend import Capabilities, TaskKind

__all__ = ["executor_capabilities", "local_capabilities"]

_KINDS = (TaskKind.FUNCTION, TaskKind.EXECUTABLE)
_RANKS = (
    "ranks need an MPI launcher (mpiexec) on this machine; functions with ranks also need mpi4py, "
    "and run in processes of their own"
)

_LIMITS = {
    "process": ("a function that changes the state of its module changes that of one worker",),
    "thread": (
        "a function that runs in a thread cannot be stopped: its future ends at once, its slot "
        "is free again when it returns",
        "a function that crashes the interpreter takes the program with it",
    ),
    "async": (
        "async functions share one thread: one that works without an await holds up all others",
        "an async function is cancelled at its next await, and its future ends without waiting "
        "for that; a function that is not async runs in a thread and cannot be stopped",
        "async functions get no resources",
        "a function that crashes the interpreter takes the program with it",
    ),
}


def local_capabilities(executor_type: str) -> Capabilities:
    """Return those of the backend's own workers: ``"thread"``, ``"process"`` or ``"async"``."""
    processes = executor_type == "process"
    return Capabilities(
        kinds=_KINDS,
        resources=("cores", "gpus", "memory", "ranks"),
        kills_running=_KINDS if processes else (TaskKind.EXECUTABLE,),
        chains=executor_type != "async",
        quick=not processes,
        pickles=processes,
        isolates=processes,
        contexts=not processes,
        service=True,
        priorities=True,
        instances=True,
        limits=(*_LIMITS[executor_type], _RANKS),
    )


def executor_capabilities(*, threads: bool) -> Capabilities:
    """Return those with a given executor; *threads* if it runs functions in this process."""
    return Capabilities(
        kinds=_KINDS,
        kills_running=(TaskKind.EXECUTABLE,),
        pickles=not threads,
        isolates=False,
        contexts=threads,
        service=True,
        limits=(
            "a function that runs on a given executor cannot be stopped",
            "the executor limits how many functions run at once; max_workers limits executables",
            "the death of a worker may break the whole executor, with every task that it holds",
        ),
    )
