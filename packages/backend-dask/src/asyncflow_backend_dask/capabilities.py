"""The capabilities of each configuration of the backend."""

from __future__ import annotations

from radical.asyncflow.backend import Capabilities, TaskKind

__all__ = ["WORKER_RESOURCES", "dask_capabilities"]

WORKER_RESOURCES = {"cores": "CPU", "gpus": "GPU", "memory": "MEMORY"}
"""Fields of `Resources`, and the Dask worker resources that stand for them."""

_KINDS = (TaskKind.FUNCTION, TaskKind.EXECUTABLE)


def dask_capabilities(
    *,
    kill_running: bool = False,
    processes: bool = True,
    threads: int | None = 1,
    local: bool = True,
) -> Capabilities:
    """Return the capabilities for a cluster.

    Args:
        processes: whether its workers are processes.
        local: whether its workers are on this machine, as the hosts of services have to be.
        threads: how many threads each worker has; None if that is not known.
    """
    limits = [
        "a value that several tasks take is one object on its worker: a task must not change it",
        "resources are Dask's abstract worker resources "
        f"({', '.join(WORKER_RESOURCES.values())}): counted, not enforced",
        "a task with ranks runs on one worker, whose machine has an MPI launcher; functions also "
        "need mpi4py there",
    ]
    if kill_running:
        limits.append(
            "a running function is ended with its worker process, which is started again; what "
            "else ran in that process runs once more"
        )
    else:
        limits.append(
            "a running sync function cannot be ended: its future ends at once, "
            "radical.asyncflow.cancelled() tells the function, and its slot is free when it "
            "returns; with kill_running=True its worker process is restarted"
        )
    if not processes:
        limits.append("a function that crashes the interpreter crashes the program, too")
    elif threads != 1:
        limits.append("the death of a worker costs every task that ran in its threads")
    return Capabilities(
        kinds=_KINDS,
        resources=(*WORKER_RESOURCES, "ranks"),
        kills_running=_KINDS if kill_running else (TaskKind.EXECUTABLE,),
        native_dependencies=True,
        remote_results=True,
        pickles=True,
        service=True,
        instances=local,
        priorities=True,
        isolates=processes and threads == 1,
        limits=limits,
    )
