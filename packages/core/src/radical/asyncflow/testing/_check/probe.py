"""Measure what the kit has to know of a backend, by running tasks on it."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from ..._discovery.declared import as_plain_dict
from ..._discovery.registry import registry
from ...backend import ExecutionBackend
from ...backend._portability import ROWS, refusal
from ...engine import WorkflowEngine
from ...model import TaskKind
from .. import _functions as functions
from .._conformance.waiting import open_gate
from .subject import Subject

__all__ = ["Probed", "probe"]

_SLOW_START = 1.0
"""Seconds for start and end together above which the checks share one started backend."""

_VERY_SLOW_START = 5.0
"""Seconds above which a start is not tried once more."""

_REMOTE = 1.0
"""Seconds that news may travel where a backend is slow to start, as one elsewhere is."""

_MOST_SLOTS = 64
"""More functions at once than this count as unbounded."""

_QUIET = 0.5
"""Seconds in which no further function begins, after which no more will on a quick machine."""

_MUCH = 12_000_000
"""The bytes of a large value; Dask sets the limit at 10 MiB."""

_PATIENCE = 5
"""The wait for a further function is as many times longer than any wait before."""


class Probed(NamedTuple):
    """The facts that were measured or that an instance declares, in types of JSON."""

    capabilities: dict[str, Any]
    portability: dict[str, str]
    inline: bool
    slots: int | None
    travel: float
    backend_scope: str


async def probe(subject: Subject) -> Probed:
    """Start the backend, run a few tasks on it, and end it.

    Raises:
        AsyncFlowError: it cannot be made, or it cannot be started.
    """
    began = time.monotonic()
    backend = registry.create(subject.name, subject.settings)
    flow = await WorkflowEngine.create(backend)
    took = time.monotonic() - began
    try:
        inline = await _is_inline(flow, subject)
        await _send_much(flow, subject)
        slots = subject.slots
        if slots is None and not inline and _runs_functions(backend):
            slots = await _count_slots(flow, subject)
    finally:
        began = time.monotonic()
        await flow.shutdown()
        took += time.monotonic() - began
    if _SLOW_START < took < _VERY_SLOW_START:
        # The first start has imports to do, and the machine may have been busy just then.
        took = min(took, await _time_start(subject))
    slow = took > _SLOW_START
    travel = subject.travel
    return Probed(
        capabilities=as_plain_dict(backend.capabilities),
        portability={row.title: refusal(row, backend) for row in ROWS},
        inline=inline,
        slots=slots,
        travel=(_REMOTE if slow else 0.0) if travel is None else travel,
        backend_scope="class" if slow else "test",
    )


async def _time_start(subject: Subject) -> float:
    """Return the seconds that a start and an end take together."""
    began = time.monotonic()
    flow = await WorkflowEngine.create(registry.create(subject.name, subject.settings))
    await flow.shutdown()
    return time.monotonic() - began


def _runs_functions(backend: ExecutionBackend) -> bool:
    return TaskKind.FUNCTION in backend.capabilities.kinds and backend.capabilities.executes


async def _is_inline(flow: WorkflowEngine, subject: Subject) -> bool:
    """Tell whether functions run in the loop's own thread; True if it runs none really."""
    if not flow.backend.capabilities.executes:
        return True
    if not _runs_functions(flow.backend):
        return False

    def place() -> tuple[int, int]:
        return os.getpid(), threading.get_ident()

    future = flow.function_task(place)()
    there = await asyncio.wait_for(future, _deadline(subject))
    return bool(there == (os.getpid(), threading.get_ident()))


async def _send_much(flow: WorkflowEngine, subject: Subject) -> None:
    """Send a value that a runtime may treat as a large one.

    Some start a thread for such values, which they keep until the interpreter ends.  It has to be
    there before the checks look at what is left behind.
    """
    if _runs_functions(flow.backend):
        future = flow.function_task(functions.identity)(bytes(_MUCH))
        await asyncio.wait_for(future, _deadline(subject))


async def _count_slots(flow: WorkflowEngine, subject: Subject) -> int | None:
    """Return how many functions run at once; None if that seems unbounded.

    A busy machine begins functions late.  So this waits for as many as the backend says it has
    room for, and then for longer than any of them has let itself be waited for.
    """
    hold = flow.function_task(functions.hold_blocking)
    capacity = flow.backend.capacity() or 0
    with tempfile.TemporaryDirectory() as folder:
        futures = [hold(folder, number) for number in range(max(_MOST_SLOTS, capacity + 1))]
        begun, longest, last = 0, _QUIET / _PATIENCE, time.monotonic()
        while begun < len(futures):
            quiet = time.monotonic() - last
            if (now := _begun(folder)) != begun:
                begun, longest, last = now, max(longest, quiet), time.monotonic()
            elif quiet > (_deadline(subject) if begun < max(1, capacity) else _PATIENCE * longest):
                break
            await asyncio.sleep(0.01)
        open_gate(folder)
        await asyncio.wait_for(asyncio.gather(*futures), _deadline(subject))
    return begun if 0 < begun < len(futures) else None


def _begun(folder: str) -> int:
    """Count the functions that have begun: each makes a file."""
    return sum(path.name.startswith("began-") for path in Path(folder).iterdir())


def _deadline(subject: Subject) -> float:
    return 4 * subject.patience
