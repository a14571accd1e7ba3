"""Reducers for what cloudpickle does not know, and for what forgets its state on the way."""

from __future__ import annotations

import functools
import sys
import types
from collections import ChainMap
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import cloudpickle  # type: ignore[import-untyped]

from .._public import public
from ._buffers import reducers

__all__ = ["Pickler"]

_Cached = type(functools.lru_cache(lambda: None))
_HEAP_TYPE = 1 << 9  # of `__flags__`: the class was made by a program
_OWN_CACHED_ATTRIBUTES = ("__wrapped__", "cache_parameters")


@public("radical.asyncflow.worker")
class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """The pickler of cloudpickle, which here does more.

    It copies also cached and dispatching functions, and all of an exception.  Like
    `PlainPickler`, it leaves also the bytes of tensors to ``buffer_callback``.
    """

    dispatch_table: ClassVar = ChainMap(
        {functools.cached_property: lambda it: _reduce_property(it)},
        cloudpickle.Pickler.dispatch_table,
    )

    def dump(self, obj: Any) -> None:
        self._reducers = reducers()
        super().dump(obj)

    def reducer_override(self, obj: Any) -> Any:
        """Reduce *obj* in a way of our own, if there is one, or else as cloudpickle does."""
        kind = type(obj)
        if kind in self._reducers:
            return self._reducers[kind](obj)
        if kind is types.FunctionType:
            if obj.__code__ is _DISPATCHING and not _is_found_by_name(obj):
                return _reduce_dispatching(obj)
        elif kind is _Cached:
            if not _is_found_by_name(obj):
                return _reduce_cached(obj)
        elif issubclass(kind, BaseException) and (reduced := _reduce_exception(obj)):
            return reduced
        return super().reducer_override(obj)


def _is_found_by_name(obj: Any) -> bool:
    """Tell whether a worker can import *obj*."""
    name = getattr(obj, "__module__", None)
    module = sys.modules.get(name) if name else None
    if module is None or name == "__main__":
        return False
    if name in cloudpickle.list_registry_pickle_by_value():
        return False
    found: Any = module
    for part in obj.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is obj


# --------------------------------------------------------- functions with a cache


def _reduce_cached(cached: Any) -> tuple[Any, ...]:
    # The function comes with the state, because it may call itself by way of the cache.
    parameters = cached.cache_parameters()
    attributes = {
        name: value for name, value in vars(cached).items() if name not in _OWN_CACHED_ATTRIBUTES
    }
    state = cached.__wrapped__, attributes
    return (
        _make_cached,
        (parameters["maxsize"], parameters["typed"]),
        state,
        None,
        None,
        _set_cached,
    )


class _Later:
    """A function that is known later."""

    function: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


def _make_cached(maxsize: int | None, typed: bool) -> Any:
    return functools.lru_cache(maxsize, typed)(_Later())


def _set_cached(cached: Any, state: tuple[Callable[..., Any], dict[str, Any]]) -> None:
    function, attributes = state
    cached.__wrapped__.function = function
    functools.update_wrapper(cached, function)
    vars(cached).update(attributes)


def _reduce_property(cached: functools.cached_property[Any]) -> tuple[Any, ...]:
    # Without the lock that it has in some versions of Python.
    state = {name: value for name, value in vars(cached).items() if name != "lock"}
    return functools.cached_property, (cached.func,), state


# ------------------------------------------------- functions that look at a type

_DISPATCHING = functools.singledispatch(lambda it: it).__code__  # type: ignore[attr-defined]


def _reduce_dispatching(function: Any) -> tuple[Any, ...]:
    state = function.__wrapped__, list(function.registry.items())
    return _make_dispatching, (function.__name__,), state, None, None, _set_dispatching


def _make_dispatching(name: str) -> Any:
    def later(it: Any) -> Any:
        raise NotImplementedError

    later.__name__ = name
    return functools.singledispatch(later)


def _set_dispatching(
    function: Any, state: tuple[Callable[..., Any], Iterable[tuple[type, Callable[..., Any]]]]
) -> None:
    wrapped, registry = state
    for kind, implementation in registry:
        function.register(kind, implementation)
    functools.update_wrapper(function, wrapped)


# -------------------------------------------------------------------- exceptions


def _reduce_exception(error: BaseException) -> tuple[Any, ...] | None:
    """Reduce an exception whose class has an ``__init__`` of its own.

    Python would call that with ``args``, which are what the class gave to `super`.  So it may
    refuse them, as it does if it takes keywords only, or make another message of them.

    Returns:
        None if the class says itself how it is pickled, or has no such method.
    """
    kind = type(error)
    base = _built_in(kind)
    if (
        kind.__init__ is base.__init__
        or kind.__new__ is not base.__new__
        or kind.__reduce__ is not base.__reduce__
        or kind.__reduce_ex__ is not base.__reduce_ex__
    ):
        return None
    reduced: Any = error.__reduce__()
    return _revive, (kind, reduced[1]), *reduced[2:]


def _revive(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """Make an exception as its built-in base does."""
    base = _built_in(kind)
    error = base.__new__(kind, *args)
    base.__init__(error, *args)
    return error


def _built_in(kind: type[BaseException]) -> type[BaseException]:
    return next(
        base
        for base in kind.__mro__
        if issubclass(base, BaseException) and not base.__flags__ & _HEAP_TYPE
    )
