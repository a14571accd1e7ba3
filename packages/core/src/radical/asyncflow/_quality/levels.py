"""The levels of a backend, computed from what its reports say and never declared.

Each level is a set of groups of checks, and contains the levels below it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

__all__ = [
    "ENOUGH_TASKS",
    "FINE",
    "GROUPS",
    "LEVELS",
    "MINORS",
    "Gap",
    "Judged",
    "gaps",
    "level_of",
]

LEVELS = ("bronze", "silver", "gold")
"""The levels, from the lowest to the highest."""

GROUPS: dict[str, str] = {
    "plugin": "bronze",
    "contract": "bronze",
    "functions": "bronze",
    "failures": "bronze",
    "commands": "bronze",
    "prompts": "bronze",
    "services": "bronze",
    "order": "bronze",
    "life": "bronze",
    "options": "bronze",
    "cancellation": "silver",
    "isolation": "silver",
    "leaks": "silver",
    "load": "silver",
    "typing": "gold",
    "settings": "gold",
    "package": "gold",
    "benchmarks": "gold",
}
"""The groups of checks, each with the lowest level that needs it."""

ENOUGH_TASKS = 10_000
"""The tasks that the biggest bag of a run must have had for silver."""

MINORS = 2
"""The minor versions of the core with which a backend must have been checked for gold."""

FINE = ("passed", "not applicable")
"""The outcomes of a check that do not count against a backend."""

_OUTCOMES = {"failed": "failed", "not run": "was not run"}


class _Ended(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def outcome(self) -> str: ...


class Judged(Protocol):
    """A report, or the manifest that is made of it, as far as a level is computed from it."""

    @property
    def backend(self) -> str: ...
    @property
    def core(self) -> str: ...
    @property
    def load(self) -> int: ...
    @property
    def checks(self) -> Sequence[_Ended]: ...


class Gap(NamedTuple):
    """One thing that keeps a backend from a level.

    Attributes:
        level: the lowest level that needs it.
        text: what it is, as a sentence without its full stop.
    """

    level: str
    text: str


def level_of(reports: Sequence[Judged]) -> str | None:
    """Return the highest level that all of *reports* together reach; None if they reach none.

    They are about one backend, with one or several minor versions of the core.
    """
    reached = None
    missing = {gap.level for gap in gaps(reports)}
    for level in LEVELS:
        if level in missing:
            break
        reached = level
    return reached


def gaps(reports: Sequence[Judged]) -> list[Gap]:
    """List what keeps the backend of *reports* from gold, the lowest level first.

    Raises:
        ValueError: there is no report, or they are about different backends.
    """
    names = {report.backend for report in reports}
    if len(names) != 1:
        about = ", ".join(sorted(names)) or "none"
        raise ValueError(f"a level is computed from reports about one backend, not about: {about}")
    found = [gap for report in reports for gap in _gaps_of(report)]
    cores = sorted({_minor(report.core) for report in reports})
    if len(cores) < MINORS:
        there = ".".join(map(str, cores[0]))
        found.append(Gap("gold", f"it was checked with core {there} only, and with no other minor"))
    return sorted(dict.fromkeys(found), key=lambda gap: LEVELS.index(gap.level))


def _gaps_of(report: Judged) -> Iterator[Gap]:
    groups: dict[str, set[str]] = {}
    for check in report.checks:
        groups.setdefault(check.group, set()).add(check.outcome)
        if check.outcome not in FINE:
            # A group that this core does not know is one of a newer core: it counts for all.
            level = GROUPS.get(check.group, LEVELS[0])
            yield Gap(level, f"{check.name} {_OUTCOMES[check.outcome]} with core {report.core}")
    for group, level in GROUPS.items():
        if group not in groups:
            yield Gap(level, f"nothing of {group!r} was checked with core {report.core}")
    if report.load < ENOUGH_TASKS and groups.get("load", set()) - {"not applicable"}:
        tasks = f"{report.load:,} tasks with core {report.core}, and not {ENOUGH_TASKS:,}"
        yield Gap("silver", f"the biggest bag had {tasks}")


def _minor(version: str) -> tuple[int, int]:
    from packaging.version import Version

    parsed = Version(version)
    return parsed.major, parsed.minor
