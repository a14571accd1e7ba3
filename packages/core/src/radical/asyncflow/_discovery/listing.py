"""What users are told of a backend: one line of the listing, or why they cannot have it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypedDict

from .._public import public
from .._text import close_matches, safe_str
from ..errors import (
    BackendBrokenError,
    BackendError,
    BackendIncompatibleError,
    BackendNotFoundError,
)
from .declared import Registration
from .metadata import OFFICIAL, Declaration, Status, Verdict, is_local

__all__ = ["BackendInfo", "Entry", "broken", "unavailable"]

_ERRORS: Mapping[Status, type[BackendError]] = {
    Status.NOT_INSTALLED: BackendNotFoundError,
    Status.MISSING_DEPENDENCY: BackendNotFoundError,
    Status.INCOMPATIBLE: BackendIncompatibleError,
    Status.BROKEN: BackendBrokenError,
}


@public("radical.asyncflow.registry")
class BackendInfo(TypedDict):
    """One backend of the listing: a plain `dict` of what JSON knows.

    Attributes:
        available: whether it can be asked for, as far as is known without loading it.
        installation_hint: what would make it available; empty where it is.
        status: ``"available"``, ``"not-installed"``, ``"missing-dependency"``,
            ``"incompatible"`` or ``"broken"``.
        distribution: None where nothing is installed, or this program registered it.
        version: of the distribution; None where there is none.
        summary: one line.
        failure_reason: None unless something is wrong.
    """

    available: bool
    installation_hint: str
    status: str
    distribution: str | None
    version: str | None
    summary: str
    failure_reason: str | None


class Entry(NamedTuple):
    """A name, what stands behind it (None if nothing does), and what can be said of it."""

    name: str
    source: Declaration | Registration | None
    verdict: Verdict

    @property
    def is_available(self) -> bool:
        """Whether it can be asked for, as far as is known without loading it."""
        return self.verdict.status is Status.AVAILABLE

    @property
    def is_known(self) -> bool:
        """Whether the name means anything."""
        return self.source is not None or self.name in OFFICIAL

    def info(self) -> BackendInfo:
        """Its line of the listing."""
        installed = self.source if isinstance(self.source, Declaration) else None
        summary = self.source.summary if self.source else ""
        return BackendInfo(
            available=self.is_available,
            installation_hint=self.verdict.hint,
            status=self.verdict.status.value,
            distribution=installed.distribution if installed else None,
            version=installed.version if installed else None,
            summary=summary or (OFFICIAL[self.name].summary if self.name in OFFICIAL else ""),
            failure_reason=self.verdict.reason or None,
        )


def broken(source: Declaration | Registration, error: BaseException, what: str = "") -> Verdict:
    """The verdict on a backend whose code raised *error* while it was loaded.

    To install it anew helps who has it from an index, not the author who has it on disk.

    Args:
        what: which part of it was being loaded.
    """
    hint = ""
    if isinstance(source, Declaration):
        wanted = source.distribution
        if source.is_official:
            wanted = f"radical.asyncflow[{OFFICIAL[source.name].extra}]"
        if not is_local(source.distribution):
            hint = f"Try: pip install --upgrade '{wanted}'"
    reason = safe_str(error)
    if what:
        reason += f" ({what})"
    return Verdict(Status.BROKEN, reason, hint, error)


def unavailable(entry: Entry, entries: Iterable[Entry]) -> BackendError:
    """The error for asking for *entry*; *entries* is the whole listing."""
    status, reason, hint, cause = entry.verdict
    entries = list(entries)
    usable = ", ".join(one.name for one in entries if one.is_available)
    lines = [f"Backend {entry.name!r} is not available."]
    if reason:
        lines.append(f"Reason: {reason}")
    lines.append(f"Available backends: {usable or 'none'}")
    if hint:
        lines.append(f"Installation hint: {hint}")
    elif not entry.is_known:
        near = close_matches(entry.name, [one.name for one in entries])
        lines.append(f"Closest known names: {', '.join(near) or 'none'}")
    error = _ERRORS[status]("\n".join(lines))
    error.__cause__ = cause
    return error
