"""Tools for the tests of a backend, and of programs that use one.

`BackendConformance` is the contract of a backend as a test class to subclass.
`ScriptedBackend` lets a test decide what happens to each task, and when.  `RecordingSink`
takes the engine's place where a test drives a backend by hand.  `LeakGuard` reports what
a piece of code left behind.  They need the extra ``radical.asyncflow[testing]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..lazy import lazy_names

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
# Lazy, because workers import the kit's task bodies from this package and have no use
# for pytest.
_load, __dir__ = lazy_names(__name__, _HOMES)


def __getattr__(name: str) -> Any:
    if name == "BackendConformance":
        import pytest

        pytest.register_assert_rewrite(f"{__name__}._conformance")
    return _load(name)
