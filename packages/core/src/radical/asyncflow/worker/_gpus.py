"""The GPUs of this machine: which are visible, which are free, which a task sees."""

from __future__ import annotations

import os
from collections.abc import Iterable

from .._public import public

__all__ = ["GPU_VARIABLE", "FreeGpus", "set_visible_gpus", "visible_gpus"]

GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable that names the GPUs which a program sees."""


@public("radical.asyncflow.worker")
def visible_gpus() -> tuple[int, ...]:
    """Return the GPUs that `GPU_VARIABLE` names by number; none if it is not set."""
    names = os.environ.get(GPU_VARIABLE, "").split(",")
    return tuple(int(name) for name in names if name.strip().isdigit())


@public("radical.asyncflow.worker")
def set_visible_gpus(gpus: Iterable[int], otherwise: str | None) -> None:
    """Let this process, and those that it starts, see *gpus* alone.

    Args:
        otherwise: the value of `GPU_VARIABLE` if there are none; None unsets it.
    """
    visible = gpu_list(gpus) or otherwise
    if visible is None:
        os.environ.pop(GPU_VARIABLE, None)
    else:
        os.environ[GPU_VARIABLE] = visible


def gpu_list(gpus: Iterable[int]) -> str:
    """Return *gpus* as a value of `GPU_VARIABLE`."""
    return ",".join(map(str, gpus))


@public("radical.asyncflow.worker")
class FreeGpus:
    """The GPUs that no task has, by id; not safe across threads."""

    def __init__(self, gpus: Iterable[int]) -> None:
        self._free = list(gpus)

    def __len__(self) -> int:
        return len(self._free)

    def take(self, count: int) -> tuple[int, ...]:
        """Take *count* of them, of which there are enough."""
        taken, self._free = tuple(self._free[:count]), self._free[count:]
        return taken

    def give_back(self, gpus: Iterable[int]) -> None:
        """Make *gpus* free again."""
        # Lowest first, so that a process which has used a GPU meets it again.
        self._free = sorted((*self._free, *gpus))
