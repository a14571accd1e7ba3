"""Warnings for what a later version removes, in the core and in the backends.

The line that is named is that of the program, or that of a plugin, which is then named with its
version, once for each thing that it uses.

The policy is in the documentation's page on deprecations; a test of the repository fails
when a version comes that should have removed something.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable
from types import FrameType
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
        plugin: the distribution and version of the plugin that uses it; "" for the program.
    """

    def __init__(self, what: str, since: str, removal: str, instead: str, plugin: str = "") -> None:
        super().__init__(what, since, removal, instead, *filter(None, [plugin]))
        self.what = what
        self.since = since
        self.removal = removal
        self.instead = instead
        self.plugin = plugin

    def __str__(self) -> str:
        when = f"deprecated since version {self.since} and will be removed in {self.removal}"
        if self.plugin:
            return f"{self.plugin} uses {self.what}, which is {when}: {self.instead}"
        return f"{self.what} is {when}: {self.instead}"


def warn_deprecated(what: str, *, since: str, removal: str, instead: str) -> None:
    """Warn that the program uses *what*; the warning names the line of the program.

    For what `deprecated` and `deprecated_parameter` do not cover, such as a setting or a
    module attribute.  The attributes of `AsyncFlowDeprecationWarning` are the arguments.
    """
    _warn(what, since, removal, instead, sys._getframe(1).f_globals.get("__name__", ""))


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
            _warn(f"{function.__qualname__}()", since, removal, instead, function.__module__)
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
                _warn(what, since, removal, advice, function.__module__)
                if new is not None:
                    if new in kwargs:
                        raise TypeError(
                            f"{function.__qualname__}() got {new}= and {old}=, its former name"
                        )
                    kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return warn_and_call

    return decorate


def name_plugin(package: str, plugin: str) -> None:
    """Have warnings about code in *package* name *plugin*, a distribution and its version."""
    _plugins[package] = plugin


_plugins: dict[str, str] = {}
"""The packages of the plugins that were loaded, and their distributions."""

_told: set[tuple[str, str]] = set()
"""The plugins and the things of which a warning was given."""


def _warn(what: str, since: str, removal: str, instead: str, announcer: str) -> None:
    """Warn whoever uses *what*.

    Args:
        announcer: the module that deprecates it.
    """
    level, plugin = _find_user(_package_of(announcer))
    if (plugin, what) in _told:
        return
    warning = AsyncFlowDeprecationWarning(what, since, removal, instead, plugin)
    warnings.warn(warning, stacklevel=level)
    if plugin:  # of the program, Python counts the lines itself
        _told.add((plugin, what))


def _find_user(announcing: str) -> tuple[int, str]:
    """Return the ``stacklevel`` of the first caller that is no machinery, and its plugin or "".

    Args:
        announcing: the package of the plugin that deprecates something of its own, or "".
    """
    level = 2  # 1 is `_warn`, the caller of this function
    frame = sys._getframe(2)
    while True:
        if frame.f_back is not None and _is_of_import(frame):
            frame = frame.f_back
            continue
        module = frame.f_globals.get("__name__", "")
        package = _package_of(module)
        if package and package != announcing:
            return level, _plugins[package]
        if not package and not _is_ours(module):
            return level, ""
        if frame.f_back is None:
            return level, ""
        frame = frame.f_back
        level += 1


def _is_of_import(frame: FrameType) -> bool:
    """Tell whether *frame* is Python's import, whose frames `warnings.warn` does not count."""
    file = frame.f_code.co_filename
    return "importlib" in file and "_bootstrap" in file


def _package_of(module: str) -> str:
    """Return the package of a loaded plugin to which *module* belongs; "" for none."""
    name = module
    while name and name not in _plugins:
        name = name.rpartition(".")[0]
    return name


def _is_ours(module: str) -> bool:
    return f"{module}.".startswith("radical.asyncflow.") or module.startswith("asyncflow_")
