"""A watch on the bodies of blocks, because they share the engine's loop with everything else."""

from __future__ import annotations

import logging
import types
from collections.abc import Coroutine, Generator
from time import perf_counter
from typing import Any, TypeVar

__all__ = ["SLOW_STEP_S", "watch"]

log = logging.getLogger("radical.asyncflow")

T = TypeVar("T")

SLOW_STEP_S = 1.0
"""Seconds that one step of a block's body may hold the loop before a warning is logged."""


@types.coroutine
def watch(body: Coroutine[Any, Any, T], name: str) -> Generator[Any, Any, T]:
    """Run *body*; log a warning with *name* when one of its steps holds the loop for too long."""
    value: Any = None
    error: BaseException | None = None
    while True:
        began = perf_counter()
        try:
            waiting = body.send(value) if error is None else body.throw(error)
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            took = perf_counter() - began
            if took > SLOW_STEP_S:
                log.warning(
                    "block %r held the event loop for %.1f s, and nothing else could run: "
                    "put long work into a function_task",
                    name, took,
                )  # fmt: skip
        try:
            value, error = (yield waiting), None
        except BaseException as thrown:
            value, error = None, thrown
