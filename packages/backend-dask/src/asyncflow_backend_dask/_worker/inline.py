"""Small values, which travel to the program with the event that tells of them."""

from __future__ import annotations

import pickle
import sys
from typing import Any

from dask.sizeof import sizeof
from radical.asyncflow.worker import dump

from .._messages.pickles import check_dumpable

__all__ = ["dump_if_small"]

_MAX_MEMORY_BYTES = 64 * 1024  # a value that takes more in memory is not pickled to see its size
_TENSOR_BYTES = 100  # of the object itself
_ATOMS = frozenset({int, float, bool, type(None)})


def dump_if_small(value: Any, max_bytes: int) -> bytes | None:
    """Return *value* as a pickle of at most *max_bytes*; None if it is larger.

    Raises:
        BaseException: it cannot be pickled.
    """
    if type(value) in _ATOMS:
        return pickle.dumps(value, 5)
    if sizeof(value) > _MAX_MEMORY_BYTES + max_bytes:
        check_dumpable(value)
        return None
    buffers: list[Any] = []
    head = dump(value, buffers)
    return None if buffers or len(head) > max_bytes else head


@sizeof.register_lazy("torch")  # type: ignore[untyped-decorator]
def _register_tensors() -> None:
    """Have Dask know the sizes of tensors, by which it chooses workers and frees memory."""
    torch: Any = sys.modules["torch"]

    def size_of_tensor(tensor: Any) -> int:
        try:
            shown, stored = int(tensor.nbytes), int(tensor.untyped_storage().nbytes())
            return min(shown, stored) + _TENSOR_BYTES
        except Exception:  # such as a sparse one
            return _TENSOR_BYTES

    def size_of_module(module: Any) -> int:
        tensors = (*module.parameters(), *module.buffers())
        return sum(map(size_of_tensor, tensors)) + _TENSOR_BYTES

    sizeof.register(torch.Tensor, size_of_tensor)
    sizeof.register(torch.nn.Module, size_of_module)
