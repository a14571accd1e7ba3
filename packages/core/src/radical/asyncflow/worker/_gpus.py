"""The GPUs of this machine: which are visible, which are free, which a task sees."""

from __future__ import annotations

import os
from collections.abc import Iterable

from .._public import public

__all__ = ["GPU_VARIABLE", "FreeGpus", "Gpu", "set_visible_gpus", "visible_gpus"]

Gpu = int | str
"""A GPU as `GPU_VARIABLE` names it, by its number or as ``GPU-...`` or ``MIG-...``."""

GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable that names the GPUs which a program sees."""

_PREFIXES = ("GPU-", "MIG-")


@public("radical.asyncflow.worker")
def visible_gpus() -> tuple[Gpu, ...]:
    """Return the GPUs that `GPU_VARIABLE` names; none if it is not set.

    As for CUDA, the list ends with the first that is no name of a GPU, such as -1.
    """
    gpus: list[Gpu] = []
    for name in map(str.strip, os.environ.get(GPU_VARIABLE, "").split(",")):
        if name.isdecimal() and name.isascii():
            gpus.append(int(name))
        elif name.startswith(_PREFIXES):
            gpus.append(name)
        else:
            break
    return tuple(dict.fromkeys(gpus))


@public("radical.asyncflow.worker")
def set_visible_gpus(gpus: Iterable[Gpu], otherwise: str | None) -> None:
    """Let this process, and those that it starts, see *gpus* alone.

    Args:
        otherwise: the value of `GPU_VARIABLE` if there are none; None unsets it.
    """
    visible = gpu_list(gpus) or otherwise
    if visible is None:
        os.environ.pop(GPU_VARIABLE, None)
    else:
        os.environ[GPU_VARIABLE] = visible


def gpu_list(gpus: Iterable[Gpu]) -> str:
    """Return *gpus* as a value of `GPU_VARIABLE`."""
    return ",".join(map(str, gpus))


@public("radical.asyncflow.worker")
class FreeGpus:
    """The GPUs that no task has, by id; not safe across threads."""

    def __init__(self, gpus: Iterable[Gpu]) -> None:
        self._free = list(gpus)
        self._place = {gpu: place for place, gpu in enumerate(self._free)}

    def __len__(self) -> int:
        return len(self._free)

    def take(self, count: int) -> tuple[Gpu, ...]:
        """Take *count* of them, of which there are enough."""
        taken, self._free = tuple(self._free[:count]), self._free[count:]
        return taken

    def give_back(self, gpus: Iterable[Gpu]) -> None:
        """Make *gpus* free again."""
        # In their first order, so that a process which has used a GPU meets it again.
        self._free = sorted((*self._free, *gpus), key=self._place.__getitem__)
