"""All plugins that are installed, of every group, in one list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from .._groups import GROUPS, PLUGIN_GROUP
from .lookup import select
from .metadata import AVAILABLE, Availability, Declaration, is_disabled, scan

__all__ = ["ListedPlugin", "list_plugins"]


class ListedPlugin(NamedTuple):
    """One line of the list, which imports no plugin unless it is asked to.

    Attributes:
        group: the group of entry points.
        distribution: where it comes from.
        status: ``"available"`` (nothing is wrong, as far as is known without loading it),
            ``"loaded"``, ``"disabled"``, ``"missing-dependency"``, ``"incompatible"`` or
            ``"broken"``.
        reason: what is wrong; empty if nothing is.
        hint: how to fix it.
        value: the module, or the object in it, that is imported.
        summary: of the distribution.
    """

    name: str
    group: str
    distribution: str
    version: str
    status: str
    reason: str
    hint: str
    value: str
    summary: str


def list_plugins(
    check: Callable[[Declaration], Availability], is_loaded: Callable[[Declaration], bool]
) -> list[ListedPlugin]:
    """Return every installed entry point of our groups, in the order of `GROUPS`, then by name.

    Args:
        check: tells what is wrong with one that no other clashes with.
    """
    found = scan(*GROUPS)
    order = {group: place for place, group in enumerate(GROUPS)}
    found.sort(key=lambda one: (order[one.group], one.name, one.label))
    clashes = _clashes(found)
    lines = []
    for one in found:
        wrong = clashes.get((one.group, one.name), AVAILABLE)
        if wrong == AVAILABLE and not is_disabled(one):
            wrong = check(one)
        status = "disabled" if is_disabled(one) else wrong.status.value
        if wrong == AVAILABLE and status != "disabled" and is_loaded(one):
            status = "loaded"
        lines.append(
            ListedPlugin(
                *(one.name, one.group, one.distribution, one.version, status),
                *(("", "") if status == "disabled" else (wrong.reason, wrong.hint)),
                *(one.value, one.summary),
            )
        )
    return lines


def _clashes(found: Iterable[Declaration]) -> dict[tuple[str, str], Availability]:
    """Return what is wrong with the names that more than one distribution declares."""
    many = Counter((one.group, one.name) for one in found)
    return {
        (group, name): select(
            GROUPS[group].noun,
            name,
            [one for one in found if (one.group, one.name) == (group, name)],
        )[1]
        for (group, name), number in many.items()
        if number > 1 and group != PLUGIN_GROUP
    }
