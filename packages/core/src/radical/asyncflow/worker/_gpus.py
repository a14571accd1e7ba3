"""The GPUs of a worker: which are named, which are free, which a task sees."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping

from .._public import public

__all__ = [
    "GPU_VARIABLE",
    "FreeGpus",
    "Gpu",
    "GpuShares",
    "gpu_list",
    "gpus_by_rank",
    "named_gpus",
    "set_visible_gpus",
    "visible_gpus",
]

Gpu = int | str
"""A GPU by its number, or by its name ``GPU-...`` or ``MIG-...``, as its variable has it."""

GpuShares = Mapping[Gpu, int]
"""What a task has of each of its GPUs, in thousandths."""

GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable that names the GPUs which a program sees, if they are NVIDIA's."""

_NAME = re.compile(r"(?:GPU|MIG)-\S+|[0-9]+(?:\.[0-9]+)+")
_WHOLE = 1000


def named_gpus(value: str) -> tuple[Gpu, ...]:
    """Return the GPUs that the value of a variable names, such as ``"0,GPU-8c1f"``.

    As for CUDA, the list ends with the first that is no name of a GPU, such as -1.
    """
    gpus: list[Gpu] = []
    for name in map(str.strip, value.split(",")):
        if name.isdecimal() and name.isascii():
            gpus.append(int(name))
        elif _NAME.fullmatch(name):
            gpus.append(name)
        else:
            break
    return tuple(dict.fromkeys(gpus))


@public("radical.asyncflow.worker")
def visible_gpus(variable: str = GPU_VARIABLE) -> tuple[Gpu, ...]:
    """Return the GPUs that *variable* names; none if it is not set."""
    return named_gpus(os.environ.get(variable, ""))


@public("radical.asyncflow.worker")
def set_visible_gpus(
    gpus: Iterable[Gpu], otherwise: str | None, variable: str = GPU_VARIABLE
) -> None:
    """Let this process, and those that it starts, see *gpus* alone.

    Args:
        otherwise: the value of *variable* if there are none; None unsets it.
        variable: what the GPUs are named by; see `found_gpus`.
    """
    visible = gpu_list(gpus) or otherwise
    if visible is None:
        os.environ.pop(variable, None)
    else:
        os.environ[variable] = visible


def gpu_list(gpus: Iterable[Gpu]) -> str:
    """Return *gpus* as the value of a variable."""
    return ",".join(map(str, gpus))


def _share(gpus: float) -> int:
    """Return what a task that asks for *gpus* has of each, in thousandths."""
    # Rounded down, so that three times a third fit; 0.29 is a little less in binary.
    return _WHOLE if gpus >= 1 else int(gpus * _WHOLE + 1e-6)


@public("radical.asyncflow.worker")
def gpus_by_rank(taken: GpuShares, gpus: float, ranks: int) -> tuple[tuple[Gpu, ...], ...]:
    """Return which of the GPUs that `FreeGpus.take` returned each rank has; empty for none."""
    if not taken:
        return ()
    share = _share(gpus)
    parts = [gpu for gpu, has in taken.items() for _ in range(has // share)]
    each = len(parts) // ranks
    return tuple(tuple(parts[rank * each : (rank + 1) * each]) for rank in range(ranks))


@public("radical.asyncflow.worker")
class FreeGpus:
    """The GPUs, and parts of GPUs, that no task has, by id; not safe across threads.

    A part is of one GPU.  Parts are counted in whole thousandths, so nothing is lost by
    rounding however often they are taken and given back.
    """

    def __init__(self, gpus: Iterable[Gpu]) -> None:
        self._free = dict.fromkeys(gpus, _WHOLE)

    def __len__(self) -> int:
        """Return the number of those of which no task has a part."""
        return sum(free == _WHOLE for free in self._free.values())

    def __getitem__(self, gpu: Gpu) -> int:
        """Return how many thousandths of *gpu* are free."""
        return self._free[gpu]

    def could_fit(self, gpus: float, ranks: int = 1) -> bool:
        """Tell whether *gpus* for each of *ranks* would fit if no task had any."""
        if gpus < 1:
            return not gpus or ranks <= len(self._free) * (_WHOLE // _share(gpus))
        return gpus * ranks <= len(self._free)

    def fits(self, gpus: float, ranks: int = 1) -> bool:
        """Tell whether *gpus* are free for each of *ranks*."""
        if gpus < 1:
            share = _share(gpus)
            return not gpus or ranks <= sum(free // share for free in self._free.values())
        return gpus * ranks <= len(self)

    def take(
        self,
        gpus: float,
        ranks: int = 1,
        *,
        among: Iterable[Gpu] | None = None,
        cost: Callable[[Gpu, int], int] | None = None,
    ) -> dict[Gpu, int] | None:
        """Take *gpus* for each of *ranks*.

        Parts go where the least is left, so that whole GPUs stay free; whole GPUs are taken
        in their first order.

        Args:
            among: the GPUs to choose from; all by default.
            cost: returns what it costs to take so many thousandths of a GPU, which decides
                before everything else.

        Returns:
            What was taken, in the first order; None, and nothing was taken, if it is not free.
        """
        candidates = list(self._free if among is None else among)
        share = _share(gpus)
        taken: dict[Gpu, int] = {}
        for _ in range(ranks if gpus < 1 else int(gpus) * ranks):
            fitting = [gpu for gpu in candidates if self._free[gpu] >= share]
            if not fitting:
                self.give_back(taken)
                return None
            # The first of the cheapest; a whole GPU that is taken does not fit any more.
            gpu = min(fitting, key=lambda gpu: (cost(gpu, share) if cost else 0, self._free[gpu]))
            self._free[gpu] -= share
            taken[gpu] = taken.get(gpu, 0) + share
        return {gpu: taken[gpu] for gpu in self._free if gpu in taken}

    def give_back(self, taken: GpuShares) -> None:
        """Make what was taken free again."""
        for gpu, share in taken.items():
            self._free[gpu] += share
