"""Durations as people write them: seconds, ``HH:MM:SS`` or a timedelta."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from .._public import public
from ..errors import ConfigurationError

if TYPE_CHECKING:
    from datetime import timedelta

__all__ = ["parse_duration"]

_SECONDS = re.compile(r"\d{1,12}(?:\.\d*)?", re.ASCII)
_CLOCK = re.compile(r"(?:(?:(\d{1,9})-)?(\d{1,9}):)?(\d{1,9}):(\d\d?(?:\.\d*)?)", re.ASCII)

FORMS = 'seconds, "MM:SS", "HH:MM:SS", "D-HH:MM:SS" or a timedelta'
"""The forms of a duration, for messages and descriptions of settings."""


@public("radical.asyncflow.model")
def parse_duration(value: float | str | timedelta) -> float:
    """Return the seconds in *value*.

    A number is seconds, and so is a string that is only a number (``"90"``).  A string with
    colons is read as Slurm and PBS read it: ``"MM:SS"``, ``"HH:MM:SS"`` or ``"D-HH:MM:SS"``.
    The first part may be of any size (``"90:00"`` is an hour and a half); minutes and seconds
    after it are below 60, and hours after days below 24.  Seconds may have a fraction.

    A string that can be read in two ways is refused: after days, all three other parts are
    needed, because Slurm reads ``"1-12:30"`` as hours and minutes.

    Raises:
        ConfigurationError: *value* is no duration, or it is negative or not finite.
    """
    seconds: float | None = None
    if isinstance(value, str):
        seconds = _read(value.strip())
    elif isinstance(value, int | float) and not isinstance(value, bool):
        with suppress(OverflowError):
            seconds = float(value)
    else:
        from datetime import timedelta  # here, because few durations are one

        if isinstance(value, timedelta):
            seconds = value.total_seconds()
    if seconds is None or not 0 <= seconds < math.inf:
        raise ConfigurationError(f"not a duration: {value!r} (write {FORMS})")
    return seconds


def _read(text: str) -> float | None:
    if _SECONDS.fullmatch(text):
        return float(text)
    match = _CLOCK.fullmatch(text)
    if match is None:
        return None
    days, hours, minutes, seconds = match.groups()
    if float(seconds) >= 60 or (hours and int(minutes) >= 60) or (days and int(hours) >= 24):
        return None
    return ((int(days or 0) * 24 + int(hours or 0)) * 60 + int(minutes)) * 60 + float(seconds)
