"""Choose how the progress of a run is shown: as a table, in a notebook, as lines, or not at all."""

from __future__ import annotations

import os
import sys
from typing import Literal

from .._text import closest
from ..errors import ConfigurationError
from .cell import in_notebook

__all__ = ["VARIABLE", "Kind", "choose", "on_terminal"]

VARIABLE = "ASYNCFLOW_PROGRESS"

Kind = Literal["table", "cell", "lines", "off"]

_CHOICES = ("auto", "table", "lines", "off")


def choose() -> Kind:
    """Return what `VARIABLE` says or, with ``auto`` or without it, what suits.

    Raises:
        ConfigurationError: the variable has another value.
    """
    given = os.environ.get(VARIABLE, "").strip().lower() or "auto"
    if given not in _CHOICES:
        raise ConfigurationError(
            f"{VARIABLE} must be one of {', '.join(_CHOICES)}, not {os.environ[VARIABLE]!r}"
            f"{closest(given, _CHOICES)}"
        )
    match given:
        case "table" | "lines" | "off":
            return given
    if in_notebook():
        return "cell"
    if on_terminal():
        return "table"
    return "off" if _is_closed() else "lines"


def on_terminal() -> bool:
    """Tell whether a table can be drawn: stderr is a terminal that can move its cursor.

    That of a service for continuous integration is read as a file, so it gets lines.
    """
    if _is_closed() or not sys.stderr.isatty():
        return False
    if os.environ.get("CI", "").lower() not in ("", "0", "false", "no"):
        return False
    return os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


def _is_closed() -> bool:
    return sys.stderr is None or getattr(sys.stderr, "closed", False)
