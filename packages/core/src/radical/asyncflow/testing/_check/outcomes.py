"""A pytest plugin that writes down how each check ends, as it ends."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any, TextIO

import pytest

from .. import LeakError
from .._conformance.needs import is_slow, needs_of
from .suite import SELF_CHECK

__all__ = ["Outcomes"]


class Outcomes:
    """Writes one line of JSON for each thing that happens.

    Attributes:
        lines: where to; each line is flushed, because this process may die of what it checks.
    """

    def __init__(self, lines: TextIO, unmet: frozenset[str], *, fast: bool) -> None:
        self.lines = lines
        self._unmet = unmet
        self._fast = fast

    def write(self, **facts: Any) -> None:
        """Write one line."""
        self.lines.write(json.dumps(facts) + "\n")
        self.lines.flush()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        kept = []
        for item in items:
            name, function = _name(item.name), getattr(item, "function", None)
            lacking = sorted(needs_of(function) & self._unmet)
            if name == SELF_CHECK:
                message = "the command works out itself which checks are about this backend"
                self.write(check=name, outcome="not applicable", message=message)
            elif lacking:
                message = f"the backend does not meet: {', '.join(lacking)}"
                self.write(check=name, outcome="not applicable", message=message)
            elif self._fast and is_slow(function):
                self.write(check=name, outcome="not run", message="a fast run leaves it out")
            else:
                kept.append(item)
        items[:] = kept
        self.write(total=len(kept))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.write(begins=_name(nodeid.rpartition("::")[2]))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        facts = {"check": _name(item.name), "seconds": round(report.duration, 4)}
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            self.write(**facts, outcome="not applicable", message=reason)
        elif report.failed:
            case = item.name.partition("[")[2].removesuffix("]")
            message = _message(report, call)
            is_leak = call.excinfo is not None and call.excinfo.errisinstance(LeakError)
            self.write(
                **facts,
                outcome="leak" if is_leak else "failed",
                message=f"({case}) {message}" if case else message,
            )
        else:
            self.write(**facts, outcome="passed")
        return report


def _name(item: str) -> str:
    return item.partition("[")[0]


def _message(report: pytest.TestReport, call: pytest.CallInfo[None]) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        return f"{crash.message}\n  at {crash.path}:{crash.lineno}"
    return str(call.excinfo.value) if call.excinfo is not None else report.longreprtext
