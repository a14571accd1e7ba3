"""A local cluster in a process of its own: scheduler, nannies, and their worker processes.

Workers are spawned from here and not from the user's program, so they never import its
``__main__``; and the scheduler's work does not hold up the user's loop.  Standard input has
what to start, as a pickled mapping; when it is closed, the cluster ends.  One pickled answer
goes to the descriptor that is the only argument.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import signal
import sys
import time
from contextlib import suppress
from functools import partial
from typing import Any

from radical.asyncflow.worker import expect_deaths, safe_str

from .._messages.worker_ends import WORKER_ENDS

_CLOSE_TIMEOUT_S = 2.0  # for the workers to end by themselves
_WORKER_POLL_S = 0.5  # between two looks for missing workers
_EXIT_WAIT_S = 0.2  # for a process whose connections are closed to be gone
_EXIT_POLL_S = 0.001
_UNKNOWN_CODE = 255  # of multiprocessing, if something else has collected the exit code
_WORKER_START_TIMEOUT_S = 30.0  # after which a missing worker is replaced


async def _serve(settings: dict[str, Any], answer: int) -> None:
    """Run the cluster until standard input is closed."""
    import dask
    from distributed import LocalCluster, Nanny

    class PromptNanny(Nanny):  # type: ignore[misc]
        """A nanny whose events are there before the worker that it ends is gone.

        It gives its worker the resources and the GPUs for the worker's number.
        """

        def __init__(self, *args: Any, name: int, **options: Any) -> None:
            resources, gpus = settings["resources"], settings["gpus"]
            options["resources"] = resources[min(name, len(resources) - 1)] if resources else None
            options["env"] = gpus[name] if name < len(gpus) else None
            super().__init__(*args, name=name, **options)

        def log_event(self, topic: Any, msg: Any) -> None:
            cluster.scheduler.log_event(topic, msg)

        def _on_worker_exit_sync(self, exitcode: int) -> None:
            self.exit_code = exitcode
            super()._on_worker_exit_sync(exitcode)

    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, ended.set)
    dask.config.set(settings["config"])
    adapt = settings["adapt"]
    try:
        cluster = await LocalCluster(
            **settings["cluster"],
            worker_class=PromptNanny,
            asynchronous=True,
            silence_logs=logging.ERROR,
        )
        if adapt is not None:
            cluster.adapt(**adapt)
    except BaseException as exc:
        _say(answer, {"error": safe_str(exc)})
        raise
    expect_deaths()
    cluster.scheduler.extensions[WORKER_ENDS] = partial(_find_exit_code, cluster)
    _say(answer, {"address": cluster.scheduler_address, "dashboard": cluster.dashboard_link})
    replacing = asyncio.create_task(_replace_missing_workers(cluster))
    await ended.wait()
    replacing.cancel()
    logging.disable()  # connections break and workers end, as they should now
    asyncio.get_running_loop().remove_reader(0)
    try:
        await cluster.close(timeout=_CLOSE_TIMEOUT_S)
    except Exception:  # a worker hangs: the program kills what is left of our process group
        os._exit(1)


def _find_exit_code(cluster: Any, nanny: str) -> int | None:
    """Return the exit code of the worker of *nanny*, which is gone; None if nobody knows it."""
    for each in cluster.workers.values():
        if each.address == nanny:
            break
    else:
        return None
    # The scheduler loses the connection a moment before the process is gone, and the nanny
    # hears of the end in the loop that runs this.
    process = each.process.process if each.process is not None else None
    if process is None:
        return _known(getattr(each, "exit_code", None))
    deadline = time.monotonic() + _EXIT_WAIT_S
    while process.exitcode is None and time.monotonic() < deadline:
        time.sleep(_EXIT_POLL_S)
    return _known(process.exitcode)


def _known(code: int | None) -> int | None:
    return None if code == _UNKNOWN_CODE else code


async def _replace_missing_workers(cluster: Any) -> None:
    """Start a worker anew if it is neither there nor about to come.

    A nanny gives up if its worker dies while it starts, and Dask does not notice.
    """
    from distributed.core import Status

    over = (Status.closed, Status.failed)
    loop = asyncio.get_running_loop()
    missing: dict[Any, float] = {}
    while True:
        await asyncio.sleep(_WORKER_POLL_S)
        there = {worker.name for worker in cluster.scheduler.workers.values()}
        missing = {
            name: missing.get(name, loop.time())
            for name in cluster.worker_spec
            if name not in there
        }
        is_incomplete = False
        for name, since in missing.items():
            nanny = cluster.workers.get(name)
            if nanny is None:
                is_incomplete = True
            elif nanny.status in over or loop.time() - since > _WORKER_START_TIMEOUT_S:
                is_incomplete = True
                del cluster.workers[name]
                with suppress(Exception):  # it hangs or is closed, and another one comes
                    await nanny.close(timeout=_CLOSE_TIMEOUT_S)
        if is_incomplete:
            with suppress(Exception):  # the new one died, too: the next look finds it missing
                await cluster._correct_state()


def _say(descriptor: int, answer: dict[str, Any]) -> None:
    with os.fdopen(descriptor, "wb") as file:
        pickle.dump(answer, file)


def main() -> None:
    """Read what to start, and run it."""
    # The user's program handles Ctrl-C and then closes our standard input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Workers have to learn how their commands end, even if the user's program ignores that.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with os.fdopen(0, "rb", buffering=0, closefd=False) as file:
        settings = pickle.load(file)
    answer = int(sys.argv[1])
    # The workers that are spawned from here take both over.
    sys.path[:] = settings["path"]
    sys.argv[:] = settings["argv"]
    asyncio.run(_serve(settings, answer))


if __name__ == "__main__":
    main()
