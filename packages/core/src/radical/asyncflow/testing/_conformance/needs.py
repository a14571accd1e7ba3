"""The needs of checks, and the checks that a run leaves out because of them."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Collection
from typing import Any, TypeVar, cast

import pytest

from ...backend import Capabilities
from ...model import TaskKind

_Check = TypeVar("_Check", bound=Callable[..., Any])

DECLARED: dict[str, Callable[[Capabilities], bool]] = {
    "function": lambda declared: TaskKind.FUNCTION in declared.kinds,
    "executable": lambda declared: TaskKind.EXECUTABLE in declared.kinds,
    "prompt": lambda declared: TaskKind.PROMPT in declared.kinds,
    "executes": lambda declared: declared.executes,
    "markers": lambda declared: not declared.executes,
    "kills functions": lambda declared: TaskKind.FUNCTION in declared.kills_running,
    "spares functions": lambda declared: TaskKind.FUNCTION not in declared.kills_running,
    "kills executables": lambda declared: TaskKind.EXECUTABLE in declared.kills_running,
    "cores": lambda declared: "cores" in declared.resources,
    "pickles": lambda declared: declared.pickles,
    "shares memory": lambda declared: not declared.pickles,
    "contexts": lambda declared: declared.contexts,
    "isolates": lambda declared: declared.isolates,
    "native dependencies": lambda declared: declared.native_dependencies,
    "chains": lambda declared: declared.chains,
    "priorities": lambda declared: declared.priorities,
    "remote results": lambda declared: declared.remote_results,
    "instances": lambda declared: declared.instances and declared.executes,
    "service": lambda declared: declared.service and TaskKind.EXECUTABLE in declared.kinds,
}
"""The needs that the capabilities of a backend meet, each with its test."""

SETTINGS = frozenset({"slots", "workers", "plugin"})
"""The needs that an attribute of the test class meets; `Suite.unmet` knows which."""


def needs(*words: str) -> Callable[[_Check], _Check]:
    """Mark a check that only a backend which meets all of these needs has to pass."""
    unknown = set(words) - DECLARED.keys() - SETTINGS
    if unknown:
        raise ValueError(
            f"unknown needs: {sorted(unknown)}; known are {sorted([*DECLARED, *SETTINGS])}"
        )

    def mark(check: _Check) -> _Check:
        @functools.wraps(check)
        async def bounded(self: Any, *args: Any, **kwargs: Any) -> None:
            # A backend that loses a task must fail the check, not hang the run.
            async with asyncio.timeout(4 * self.patience):
                await check(self, *args, **kwargs)

        bounded._needs = frozenset(words)  # type: ignore[attr-defined]
        return cast(_Check, bounded)

    return mark


def needs_of(check: object) -> frozenset[str]:
    """Return the needs with which *check* was marked."""
    return getattr(check, "_needs", frozenset())


def slow(check: _Check) -> _Check:
    """Mark a check that takes seconds even on a quick backend; a fast run leaves it out."""
    check._slow = True  # type: ignore[attr-defined]
    return check


def is_slow(check: object) -> bool:
    """Tell whether *check* was marked as slow."""
    return bool(getattr(check, "_slow", False))


class Deselection:
    """A pytest plugin that deselects the checks whose needs `unmet_needs` names.

    It goes by that attribute and not by the capabilities, which may depend on the settings
    of a backend that only the fixtures of a test can make.  Another check compares the two,
    so that no check goes missing for an entry that is wrong.
    """

    @classmethod
    def register(cls, config: pytest.Config) -> None:
        """Add the plugin to this run of pytest, unless it is there."""
        name = f"{__name__}:{cls.__qualname__}"
        if not config.pluginmanager.has_plugin(name):
            config.pluginmanager.register(cls(), name)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        kept: list[pytest.Item] = []
        deselected: list[pytest.Item] = []
        for item in items:
            (deselected if _is_unused(item) else kept).append(item)
        if deselected:
            config.hook.pytest_deselected(items=deselected)
            items[:] = kept


def _is_unused(item: pytest.Item) -> bool:
    expected = getattr(getattr(item, "cls", None), "unmet_needs", None)
    # A property has no value before there is an instance: then the checks skip when they run.
    if not isinstance(expected, Collection):
        return False
    return not needs_of(getattr(item, "function", None)).isdisjoint(expected)
