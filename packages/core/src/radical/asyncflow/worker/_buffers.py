"""Reducers for large values of other libraries, so that their bytes leave the pickle.

The plain arrays of NumPy need none: what they reduce to has its bytes in buffers.  The columns
of pandas may have gaps or be times, a tensor of PyTorch would save itself to a file in memory,
and an Arrow array that is a slice would send all that it is a slice of.  A library is looked up
only when somebody has loaded it.

Whatever is not covered here, such as a sparse tensor or a subclass, is left to its library.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from .._public import public

__all__ = ["LEAST_APART", "PlainPickler", "reducers"]

LEAST_APART = 16 * 1024
"""Bytes; a smaller buffer stays inside its pickle."""

_MOST_SLACK = 4096  # bytes that an Arrow array may hold for nothing

Reducer = Callable[[Any], Any]

_known: dict[type, Reducer] = {}
_reducer_of = _known.get


def reducers() -> Mapping[type, Reducer]:
    """Return the reducers of all libraries that are loaded, each by the exact type it takes."""
    for name in _pending:
        if name in sys.modules:
            _register(name)
    return _known


@public("radical.asyncflow.worker")
class PlainPickler(pickle.Pickler):
    """The plain pickler, which leaves also the bytes of tensors to ``buffer_callback``."""

    def dump(self, obj: Any) -> None:
        reducers()
        super().dump(obj)

    def reducer_override(self, obj: Any) -> Any:
        reducer = _reducer_of(type(obj))
        return NotImplemented if reducer is None else reducer(obj)


def _register(name: str) -> None:
    global _pending
    try:
        found = _LIBRARIES[name](sys.modules[name])
    except (AttributeError, KeyError):  # it is still being imported, in another thread
        return
    _known.update(found)
    _pending = tuple(one for one in _pending if one != name)


# ------------------------------------------------------------------------------ torch


def _of_torch(torch: Any) -> dict[type, Reducer]:
    return {torch.Tensor: _reduce_tensor}


def _reduce_tensor(tensor: Any) -> Any:
    if tensor.is_cuda:
        tensor = _on_cpu(tensor)
    try:
        reduced = _reduce_dense(tensor)
    except Exception:  # such as in a transform, which lets nobody see the bytes
        reduced = None
    return tensor.__reduce_ex__(5) if reduced is None else reduced


def _on_cpu(tensor: Any) -> Any:
    """Return a copy of *tensor* in the memory of the machine.

    Its device may be another one elsewhere, or none.  And whoever only passes a tensor on must
    not start to use a GPU for that.
    """
    copy = tensor.detach().cpu().requires_grad_(tensor.requires_grad)
    copy.__dict__.update(tensor.__dict__)
    return copy


def _reduce_dense(tensor: Any) -> Any:
    """Reduce a tensor whose elements are bytes in memory; return None if it is another one."""
    torch = sys.modules["torch"]
    if (
        tensor.layout is not torch.strided
        or tensor.device.type != "cpu"
        or tensor.is_quantized
        or tensor.is_nested
        or tensor.is_conj()
        or tensor.is_neg()
        or tensor._is_zerotensor()
        or any(getattr(tensor, "names", ()))  # which later versions do not have
        or tensor._backward_hooks
        or tensor.__dict__
    ):
        return None
    size, strides, count = tuple(tensor.shape), tensor.stride(), tensor.numel()
    data = tensor.detach()
    spanned = 1 + sum([(n - 1) * stride for n, stride in zip(size, strides, strict=True)])
    if spanned > count > 0:  # between its elements lie others, which stay here
        data = data.clone()
        strides, spanned = data.stride(), count
    content: Any = b""
    if count:
        content = data.as_strided((spanned,), (1,)).view(torch.uint8).numpy()
        small = content.nbytes < LEAST_APART
        content = bytearray(content) if small else pickle.PickleBuffer(content)
    return _make_tensor, (content, tensor.dtype, size, strides, tensor.requires_grad)


def _make_tensor(
    content: Any, dtype: Any, size: tuple[int, ...], strides: tuple[int, ...], requires_grad: bool
) -> Any:
    """Make a tensor in the memory of *content*, or of a copy where that cannot be written."""
    torch: Any = import_module("torch")
    if not content:
        tensor = torch.empty_strided(size, strides, dtype=dtype, device="cpu")
    else:
        if memoryview(content).readonly:
            content = bytearray(content)
        flat = torch.frombuffer(content, dtype=torch.uint8)
        if flat.data_ptr() % dtype.itemsize:
            flat = flat.clone()
        tensor = torch.empty(0, dtype=dtype, device="cpu")
        tensor.set_(flat.untyped_storage(), 0, size, strides)
    return tensor.requires_grad_() if requires_grad else tensor


# ----------------------------------------------------------------------------- pandas


def _of_pandas(pandas: Any) -> dict[type, Reducer]:
    return {
        sys.modules["numpy"].ndarray: _reduce_array,
        pandas.arrays.ArrowExtensionArray: _reduce_column,
        pandas.arrays.ArrowStringArray: _reduce_column,
    }


def _reduce_array(array: Any) -> Any:
    """Reduce an array of NumPy, also one whose bytes would stay inside the pickle.

    Those are one with gaps, as a part of a table is, and one of times.
    """
    if array.nbytes >= LEAST_APART and not array.dtype.hasobject:
        if not array.flags.forc:
            array = array.copy(order="C")
        if array.dtype.kind in "mM":
            return _view_array, (array.view("int64"), array.dtype)
    return array.__reduce_ex__(5)


def _view_array(array: Any, dtype: Any) -> Any:
    return array.view(dtype)


def _reduce_column(column: Any) -> Any:
    """Reduce a column that Arrow holds; pandas would copy it first, to cut off what is hidden."""
    state = dict(vars(column))
    chunked: Any = state.get("_pa_array")
    if getattr(chunked, "num_chunks", 0) != 1:
        return column.__reduce_ex__(5)
    state["_pa_array"] = chunked.chunk(0)
    if "_cache" in state:
        state["_cache"] = {}
    return _new_column, (type(column),), state


def _new_column(kind: Any) -> Any:
    return kind.__new__(kind)


# ---------------------------------------------------------------------------- pyarrow


def _of_pyarrow(pyarrow: Any) -> dict[type, Reducer]:
    kinds = [kind for kind in vars(pyarrow.lib).values() if isinstance(kind, type)]
    return {kind: _reduce_arrow for kind in kinds if issubclass(kind, pyarrow.Array)}


def _reduce_arrow(array: Any) -> Any:
    try:
        if array.get_total_buffer_size() > 1.5 * array.nbytes + _MOST_SLACK:
            array = sys.modules["pyarrow"].concat_arrays([array])
    except Exception:  # a kind that cannot be measured or copied so
        pass
    return array.__reduce_ex__(5)


_LIBRARIES: Mapping[str, Callable[[Any], dict[type, Reducer]]] = {
    "torch": _of_torch,
    "pandas": _of_pandas,
    "pyarrow": _of_pyarrow,
}
_pending = tuple(_LIBRARIES)
