"""The parts that backends and all other plugins share: which one a name means, and its errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .._reference import load_reference
from .._text import close_matches
from ..deprecation import name_plugin
from .metadata import AVAILABLE, DISABLE, Availability, Declaration, Status, is_disabled

__all__ = ["article", "explain_missing", "load_declared", "select"]


def select(
    noun: str, name: str, found: Sequence[Declaration]
) -> tuple[Declaration | None, Availability]:
    """Return which of the declarations of *name* counts, or one of those that clash.

    The availability says only what is wrong with the choice; AVAILABLE means that the
    declaration itself is still to be checked.

    Args:
        noun: what messages call such a plugin.
    """
    enabled = [one for one in found if not is_disabled(one)]
    enabled = [one for one in enabled if one.is_official] or enabled
    if len(enabled) == 1:
        return enabled[0], AVAILABLE
    if enabled:
        labels = " and ".join(one.label for one in enabled)
        reason = f"{labels} both declare {article(noun)} {name!r}"
        hint = f"Uninstall one of them, or name it in {DISABLE}"
        return enabled[0], Availability(Status.BROKEN, reason, hint)
    if found:
        reason, hint = f"{found[0].label} is disabled", f"Take it out of {DISABLE}"
        return None, Availability(Status.NOT_INSTALLED, reason, hint)
    return None, Availability(Status.NOT_INSTALLED)


def article(noun: str) -> str:
    """Return *noun* with its article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def explain_missing(
    noun: str,
    name: str,
    availability: Availability,
    *,
    usable: Iterable[str],
    known: Iterable[str] | None,
) -> str:
    """Return the message of the error that the plugin *name* cannot be used.

    Args:
        usable: the names of those that can.
        known: the names to compare *name* with; None if it is a known one itself.
    """
    lines = [f"{noun.capitalize()} {name!r} is not available."]
    if availability.reason:
        lines.append(f"Reason: {availability.reason}")
    lines.append(f"Available {noun}s: {', '.join(usable) or 'none'}")
    if availability.hint:
        lines.append(f"Installation hint: {availability.hint}")
    elif known is not None:
        near = close_matches(name, list(known))
        lines.append(f"Closest known names: {', '.join(near) or 'none'}")
    return "\n".join(lines)


def load_declared(declaration: Declaration) -> Any:
    """Import and return what *declaration* names; this raises what the plugin raises."""
    module = declaration.value.partition(":")[0].strip()
    name_plugin(module.rpartition(".")[0] or module, declaration.label)
    return load_reference(declaration.value)
