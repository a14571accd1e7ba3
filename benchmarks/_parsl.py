"""Parsl's HighThroughputExecutor, as one uses it by hand: with its futures, on this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ._measure import ROOT

__all__ = ["WORKERS", "calls", "executor"]

WORKERS = 2


@contextmanager
def executor(workers: int = WORKERS) -> Iterator[Any]:
    """Start an executor with one block, and end all that belongs to it."""
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        htex = HighThroughputExecutor(
            provider=LocalProvider(init_blocks=1, max_blocks=1),
            max_workers_per_node=workers,
            cores_per_worker=1e-6,  # Parsl would start no more workers than there are cores
            address="127.0.0.1",
        )
        htex.run_dir = htex.provider.script_dir = folder
        groups: list[int] = []
        try:
            with _found_by_workers():
                htex.start()
                htex.scale_out_facade(1)
            groups += [os.getpgid(int(job)) for job in htex.provider.resources]
            yield htex
            htex.scale_in(1)
            htex.shutdown()
        finally:
            # Whatever Parsl has left, such as after an error.
            if htex.interchange_proc is not None:
                htex.interchange_proc.kill()
                htex.interchange_proc.wait()
            for group in groups:
                with suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)


@contextmanager
def _found_by_workers() -> Iterator[None]:
    """Let what Parsl starts find its programs, which it starts by name, and these benchmarks."""
    before = dict(os.environ)
    for name, folder in (("PATH", sysconfig.get_path("scripts")), ("PYTHONPATH", str(ROOT))):
        os.environ[name] = os.pathsep.join(filter(None, [folder, before.get(name)]))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def calls(htex: Any) -> Any:
    """Return a function that has *htex* call others; an argument may be what that returned.

    Parsl's executor takes no futures as arguments, so a call waits until they are done.
    """

    async def call_later(function: Any, *args: Any) -> Any:
        values = [await arg if isinstance(arg, asyncio.Future) else arg for arg in args]
        return await asyncio.wrap_future(htex.submit(function, {}, *values))

    def call(function: Any, *args: Any) -> asyncio.Future[Any]:
        if any(isinstance(arg, asyncio.Future) for arg in args):
            return asyncio.ensure_future(call_later(function, *args))
        return asyncio.wrap_future(htex.submit(function, {}, *args))

    return call
