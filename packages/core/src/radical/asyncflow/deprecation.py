"""Warnings for what a later version removes, in the core and in the backends.

The policy is in the documentation's page on deprecations; a test of the repository fails
when a version comes that should have removed something.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = [
    "AsyncFlowDeprecationWarning",
    "deprecated",
    "deprecated_parameter",
    "warn_deprecated",
]

P = ParamSpec("P")
R = TypeVar("R")


class AsyncFlowDeprecationWarning(FutureWarning):
    """The program uses what a later version removes.

    Python shows it wherever it comes from, once for each line: a `DeprecationWarning` is
    hidden unless the line stands in the main script.

    Attributes:
        what: what is deprecated, as a program writes it.
        since: the version that began to warn.
        removal: the version in which it no longer works.
        instead: what to write.
    """

    def __init__(self, what: str, since: str, removal: str, instead: str) -> None:
        super().__init__(what, since, removal, instead)
        self.what = what
        self.since = since
        self.removal = removal
        self.instead = instead

    def __str__(self) -> str:
        return (
            f"{self.what} is deprecated since version {self.since} and will be removed in "
            f"{self.removal}: {self.instead}"
        )


def warn_deprecated(what: str, *, since: str, removal: str, instead: str) -> None:
    """Warn that the program uses *what*; the warning names the line of the program.

    For what `deprecated` and `deprecated_parameter` do not cover, such as a setting or a
    module attribute.  The attributes of `AsyncFlowDeprecationWarning` are the arguments.
    """
    warning = AsyncFlowDeprecationWarning(what, since, removal, instead)
    warnings.warn(warning, stacklevel=_level_of_program())


def deprecated(
    *, since: str, removal: str, instead: str
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that has a function, or a method, warn whenever it is called.

    ::

        @deprecated(since="1.2", removal="2.0", instead="use new_name()")
        def old_name() -> None: ...
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def warn_and_call(*args: P.args, **kwargs: P.kwargs) -> R:
            name = f"{function.__qualname__}()"
            warn_deprecated(name, since=since, removal=removal, instead=instead)
            return function(*args, **kwargs)

        return warn_and_call

    return decorate


def deprecated_parameter(
    old: str, *, since: str, removal: str, new: str | None = None, instead: str = ""
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Return a decorator that has a function warn when it is given the keyword *old*.

    With *new* the value goes to that parameter, and *old* is none of the function's own
    any more; else the function gets *old* as before.

    ::

        @deprecated_parameter("retry", new="on", since="1.2", removal="2.0")
        def policy(*, on: type[Exception] = Exception) -> Policy: ...

    Args:
        instead: what to write; ``use NEW=`` if not given.
    """
    advice = instead or f"use {new}="

    def decorate(function: Callable[..., R]) -> Callable[..., R]:
        @functools.wraps(function)
        def warn_and_call(*args: object, **kwargs: object) -> R:
            if old in kwargs:
                what = f"{function.__qualname__.removesuffix('.__init__')}({old}=...)"
                warn_deprecated(what, since=since, removal=removal, instead=advice)
                if new is not None:
                    if new in kwargs:
                        raise TypeError(
                            f"{function.__qualname__}() got {new}= and {old}=, its former name"
                        )
                    kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return warn_and_call

    return decorate


def _level_of_program() -> int:
    """Return the ``stacklevel`` of the first caller that is not AsyncFlow itself."""
    level = 2  # 1 is `warn_deprecated`, the caller of this function
    frame = sys._getframe(2)
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
        level += 1
    return level


def _is_ours(module: str) -> bool:
    return f"{module}.".startswith("radical.asyncflow.") or module.startswith("asyncflow_")
