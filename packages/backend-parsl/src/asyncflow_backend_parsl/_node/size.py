"""The number of workers that a node gets."""

from __future__ import annotations

import os

from radical.asyncflow.worker import found_gpus, usable_cores, usable_memory

__all__ = ["slots_here"]


def slots_here(most: int | None, cores: int, memory: int, gpus: int) -> int:
    """Return how many workers fit on this machine, if each needs so much; at least one."""
    # Parsl's providers say by this variable how many cores they have asked for.
    own = int(os.environ.get("PARSL_CORES") or usable_cores())
    fits = [own // cores if most is None else most]
    if memory:
        fits.append(usable_memory() // memory)
    if gpus:
        fits.append(len(found_gpus().ids) // gpus)
    return max(1, min(fits))
