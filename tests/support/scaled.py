"""A class whose instances can be called, in a module that workers can import."""

from __future__ import annotations


class Scaled:
    """An object that multiplies its argument."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, number: int, *, plus: int = 0) -> int:
        return self.factor * number + plus
