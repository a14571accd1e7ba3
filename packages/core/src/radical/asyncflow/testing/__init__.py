"""What the author of a backend, or of a program that uses one, tests with.

`BackendConformance` is the contract as a test class to subclass; `ScriptedBackend`
lets a test decide what happens to each task, and when; `RecordingSink` stands for the
engine where a backend is driven by hand; `LeakGuard` tells what a piece of code left
behind.  Needs the extra ``radical.asyncflow[testing]``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._conformance import BackendConformance
    from ._leaks import LeakError, LeakGuard
    from ._scripted import ScriptedBackend
    from ._sink import RecordingSink

__all__ = ["BackendConformance", "LeakError", "LeakGuard", "RecordingSink", "ScriptedBackend"]

_HOMES = {
    "BackendConformance": "_conformance",
    "LeakError": "_leaks",
    "LeakGuard": "_leaks",
    "RecordingSink": "_sink",
    "ScriptedBackend": "_scripted",
}


def __getattr__(name: str) -> Any:
    # Lazy, because workers import the kit's task bodies from this package and
    # have no use for pytest.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "BackendConformance":
        import pytest

        pytest.register_assert_rewrite(f"{__name__}._conformance")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
