"""The facts about a backend that users see: its line of the list, or why it is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypedDict

from .._public import public
from .._text import safe_str
from ..errors import (
    BackendBrokenError,
    BackendError,
    BackendIncompatibleError,
    BackendNotFoundError,
)
from .declared import Registration
from .lookup import explain_missing
from .metadata import OFFICIAL, Availability, Declaration, Status, is_local

__all__ = ["BackendInfo", "BackendListing", "ListedBackend", "broken", "unavailable"]

_ERRORS: Mapping[Status, type[BackendError]] = {
    Status.NOT_INSTALLED: BackendNotFoundError,
    Status.MISSING_DEPENDENCY: BackendNotFoundError,
    Status.INCOMPATIBLE: BackendIncompatibleError,
    Status.BROKEN: BackendBrokenError,
}


@public("radical.asyncflow.registry")
class BackendInfo(TypedDict):
    """One backend of the list, as a plain `dict` of JSON values.

    Attributes:
        available: whether it can be used, as far as is known without loading it.
        installation_hint: how to make it available; empty if it is.
        status: ``"available"``, ``"not-installed"``, ``"missing-dependency"``,
            ``"incompatible"`` or ``"broken"``.
        distribution: None if nothing is installed, or if this program registered it.
        version: of the distribution; None if there is none.
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


class BackendListing(dict[str, BackendInfo]):
    """The backends by name; a notebook shows it as a table."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        from .._html import LEFT, cell, table

        heads = ("backend", "status", "version", "summary")
        rows = [
            (
                cell(name),
                cell(info["status"]),
                cell(info["version"] or ""),
                cell(info["summary"] if info["available"] else info["installation_hint"]),
            )
            for name, info in self.items()
        ]
        return table("backends", heads, rows, empty="no backend is known", style=LEFT)


class ListedBackend(NamedTuple):
    """The name of a backend, where it comes from (None if from nowhere), and its availability."""

    name: str
    source: Declaration | Registration | None
    availability: Availability

    @property
    def is_available(self) -> bool:
        """True if it can be used, as far as is known without loading it."""
        return self.availability.status is Status.AVAILABLE

    @property
    def is_known(self) -> bool:
        """True if a backend of this name is declared, or is one of this project."""
        return self.source is not None or self.name in OFFICIAL

    def info(self) -> BackendInfo:
        """Return its line of the list."""
        installed = self.source if isinstance(self.source, Declaration) else None
        summary = self.source.summary if self.source else ""
        return BackendInfo(
            available=self.is_available,
            installation_hint=self.availability.hint,
            status=self.availability.status.value,
            distribution=installed.distribution if installed else None,
            version=installed.version if installed else None,
            summary=summary or (OFFICIAL[self.name].summary if self.name in OFFICIAL else ""),
            failure_reason=self.availability.reason or None,
        )


def broken(
    source: Declaration | Registration, error: BaseException, what: str = ""
) -> Availability:
    """Return the availability of a backend whose code raised *error* while it was loaded.

    The hint to install it again helps users, but not its author who has it in a folder.

    Args:
        what: the part of it that was being loaded.
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
    return Availability(Status.BROKEN, reason, hint, error)


def unavailable(wanted: ListedBackend, known: Iterable[ListedBackend]) -> BackendError:
    """Return the error for using *wanted*; *known* is the whole list."""
    known = list(known)
    error = _ERRORS[wanted.availability.status](
        explain_missing(
            "backend",
            wanted.name,
            wanted.availability,
            usable=[one.name for one in known if one.is_available],
            known=None if wanted.is_known else [one.name for one in known],
        )
    )
    error.__cause__ = wanted.availability.cause
    return error
