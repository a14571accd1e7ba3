"""A cluster in a process of its own: scheduler, nannies, and their worker processes.

Workers are spawned from here and not from the user's program, so they never import its
``__main__``; and the scheduler's work does not hold up the user's loop.  Standard input
says what to start (a pickled mapping), and its end is the end of everything; the
descriptor given as argument gets one pickled answer.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import signal
import sys
from contextlib import suppress
from typing import Any

_CLOSING = 2.0  # seconds for the workers to end by themselves
_LOOK = 0.5  # seconds between two looks for workers that are missing
_STARTING = 30.0  # seconds after which a worker that is missing is given up for another


async def _serve(settings: dict[str, Any], answer: int) -> None:
    import dask
    from distributed import LocalCluster

    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, ended.set)
    dask.config.set(settings["config"])
    adapt = settings["adapt"]
    try:
        cluster = await LocalCluster(
            **settings["cluster"], asynchronous=True, silence_logs=logging.ERROR
        )
        if adapt is not None:
            cluster.adapt(**adapt)
    except BaseException as exc:
        _say(answer, {"error": f"{type(exc).__name__}: {exc}"})
        raise
    _say(answer, {"address": cluster.scheduler_address, "dashboard": cluster.dashboard_link})
    keeping = asyncio.create_task(_keep(cluster))
    await ended.wait()
    keeping.cancel()
    logging.disable()  # of connections that break, and workers that end, now that all do
    asyncio.get_running_loop().remove_reader(0)
    try:
        await cluster.close(timeout=_CLOSING)
    except Exception:  # a worker hangs: who started us kills what is left of our group
        os._exit(1)


async def _keep(cluster: Any) -> None:
    """See that every worker that should be there is there, or is on its way.

    A nanny gives up if its worker dies while it starts, and Dask would not miss it.
    """
    from distributed.core import Status

    over = (Status.closed, Status.failed)
    loop = asyncio.get_running_loop()
    missed: dict[Any, float] = {}
    while True:
        await asyncio.sleep(_LOOK)
        there = {worker.name for worker in cluster.scheduler.workers.values()}
        missed = {
            name: missed.get(name, loop.time()) for name in cluster.worker_spec if name not in there
        }
        replace = False
        for name, since in missed.items():
            nanny = cluster.workers.get(name)
            if nanny is None:
                replace = True
            elif nanny.status in over or loop.time() - since > _STARTING:
                replace = True
                del cluster.workers[name]
                with suppress(Exception):  # it hangs, or is closed already: another comes
                    await nanny.close(timeout=_CLOSING)
        if replace:
            with suppress(Exception):  # it died once more: we look again
                await cluster._correct_state()


def _say(descriptor: int, answer: dict[str, Any]) -> None:
    with os.fdopen(descriptor, "wb") as file:
        pickle.dump(answer, file)


def main() -> None:
    # A Ctrl-C is the user's program's to handle, which then closes our standard input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with os.fdopen(0, "rb", buffering=0, closefd=False) as file:
        settings = pickle.load(file)
    sys.path[:] = settings["path"]
    asyncio.run(_serve(settings, int(sys.argv[1])))


if __name__ == "__main__":
    main()
