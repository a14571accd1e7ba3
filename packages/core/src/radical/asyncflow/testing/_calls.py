"""The cost of a piece of code in calls, which a busy machine does not change."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["WatchedId", "calls"]


def calls(work: Callable[[], object]) -> int:
    """Count the functions, in Python and in C, that this thread calls during *work*."""
    number = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:  # noqa: ARG001
        nonlocal number
        number += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return number


class WatchedId(int):
    """A number whose comparisons are calls, so that `calls` counts a search in a list."""

    __slots__ = ()
    __hash__ = int.__hash__

    def __eq__(self, other: object) -> bool:
        return int(self) == other

    def __ne__(self, other: object) -> bool:
        return int(self) != other
