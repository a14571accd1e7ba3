"""The bodies of the tasks: they do next to nothing, so that the engine is measured."""

from __future__ import annotations

import asyncio
import time
from typing import Any

__all__ = [
    "held",
    "hold",
    "ignore",
    "nap",
    "nothing",
    "one_more",
    "pause",
    "shifted",
    "top",
    "total",
]

_held: list[Any] = []


def nothing() -> None:
    """Do nothing."""


def one_more(number: int) -> int:
    return number + 1


async def one_more_async(number: int) -> int:
    return number + 1


async def one_more_later(number: int) -> int:
    await asyncio.sleep(0)
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


def hold(kind: str, size: int) -> None:
    """Make a value of *size* bytes, and keep it for `held`."""
    import numpy as np

    _held.clear()
    numbers: Any = np.ones(size // 8)
    columns = {name: numbers[place::8].copy() for place, name in enumerate("abcdefgh")}
    if kind == "torch":
        import torch  # type: ignore[import-not-found, unused-ignore]

        _held.append(torch.from_numpy(numbers))
    elif kind == "pandas":
        import pandas  # type: ignore[import-not-found, import-untyped, unused-ignore]

        _held.append(pandas.DataFrame(columns))
    elif kind == "pandas text":
        import pandas
        import pyarrow  # type: ignore[import-not-found, import-untyped, unused-ignore]

        texts = pyarrow.array(["x" * 56]).take(pyarrow.array(np.zeros(size // 64, np.int64)))
        _held.append(pandas.Series(texts, dtype=pandas.ArrowDtype(texts.type)))
    elif kind == "arrow":
        import pyarrow

        _held.append(pyarrow.table(columns))
    else:
        _held.append(numbers)


def held() -> Any:
    return _held[0]


def ignore(value: Any) -> None:
    pass


def nap(seconds: float) -> float:
    """Sleep for so many seconds, and return how long that took."""
    began = time.perf_counter()
    time.sleep(seconds)
    return time.perf_counter() - began


class Counter:
    """A number that calls of a service add to."""

    def __init__(self) -> None:
        self.total = 0

    def add(self, amount: int) -> int:
        self.total += amount
        return self.total
