"""The bodies of the tasks: they do next to nothing, so that the engine is measured."""

from __future__ import annotations

import time
from typing import Any

__all__ = ["one_more", "pause", "shifted", "top", "total"]


def one_more(number: int) -> int:
    return number + 1


def total(numbers: list[int]) -> int:
    return sum(numbers)


def top(first: int, second: int, third: int) -> int:
    return max(first, second, third) + 1


def shifted(array: Any) -> Any:
    return array + 1


def pause(seconds: float) -> float:
    time.sleep(seconds)
    return seconds
