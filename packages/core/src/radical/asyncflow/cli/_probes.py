"""The tasks that ``asyncflow doctor`` runs; in a module that a worker can import alone."""

from __future__ import annotations

import asyncio
import time

from ..worker import cancelled

__all__ = ["COMMAND", "FAILURE", "PATIENT_COMMAND", "PROMPT", "add", "add_later", "fail", "wait"]

COMMAND = "printf 'well'"
FAILURE = "deliberate failure of asyncflow doctor"
PATIENT_COMMAND = "sleep 600"
PROMPT = "Answer with the single word: well"


def add(left: int, right: int) -> int:
    return left + right


async def add_later(left: int, right: int) -> int:
    await asyncio.sleep(0)
    return left + right


def fail() -> None:
    raise ValueError(FAILURE)


def wait() -> None:
    """Wait to be cancelled, ten minutes at most."""
    end = time.monotonic() + 600
    while not cancelled() and time.monotonic() < end:
        time.sleep(0.02)
