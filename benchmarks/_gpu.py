"""A short training on a GPU, for which a process needs seconds only the first time."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from importlib.util import find_spec

__all__ = ["library", "train"]

_BYTES = 1 << 26
_WIDTH = 1024


def library() -> str:
    """Return what `train` uses: PyTorch, CuPy, or else the driver of NVIDIA itself."""
    return next((name for name in ("torch", "cupy") if find_spec(name)), "driver")


def train(steps: int) -> int:
    """Do *steps* of work on the GPU that this process sees, wait for them and return *steps*."""
    step, wait = _prepared()
    for _ in range(steps):
        step()
    wait()
    return steps


@functools.cache
def _prepared() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return what does a step, and what waits for all; the start of the library is in it."""
    return {"torch": _by_torch, "cupy": _by_cupy, "driver": _by_driver}[library()]()


def _by_torch() -> tuple[Callable[[], object], Callable[[], object]]:
    import torch

    model = torch.nn.Linear(_WIDTH, _WIDTH, device="cuda")
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    batch = torch.randn(_WIDTH, _WIDTH, device="cuda")

    def step() -> None:
        optimizer.zero_grad()
        model(batch).square().mean().backward()
        optimizer.step()

    return step, torch.cuda.synchronize


def _by_cupy() -> tuple[Callable[[], object], Callable[[], object]]:
    import cupy

    weights = cupy.random.rand(_WIDTH, _WIDTH, dtype=cupy.float32)
    return lambda: weights @ weights, cupy.cuda.Device().synchronize


def _by_driver() -> tuple[Callable[[], object], Callable[[], object]]:
    driver = ctypes.CDLL("libcuda.so.1")

    def ask(function: str, *arguments: object) -> None:
        code = getattr(driver, function)(*arguments)
        if code:
            raise RuntimeError(f"{function} of NVIDIA's driver failed with code {code}")

    context, memory = ctypes.c_void_p(), ctypes.c_uint64()
    ask("cuInit", 0)
    ask("cuCtxCreate_v2", ctypes.byref(context), 0, 0)
    ask("cuMemAlloc_v2", ctypes.byref(memory), ctypes.c_size_t(_BYTES))
    count = ctypes.c_size_t(_BYTES // 4)
    return lambda: ask("cuMemsetD32_v2", memory, 7, count), lambda: ask("cuCtxSynchronize")
