"""The scenarios, and the rows of figures that they produce."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

__all__ = ["OURS", "Goal", "Row", "Scenario", "Settings"]

OURS = "ours"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a measurement.

    Attributes:
        repeat: the least number of rounds, of which the medians are taken.
        quick: True for small sizes, to see that everything works; the figures mean little.
    """

    repeat: int = 5
    quick: bool = False

    def size(self, full: int, quick: int | None = None) -> int:
        """Return *full*; in a quick run return *quick*, or else a tenth of *full*."""
        return (quick or max(full // 10, 1)) if self.quick else full


@dataclass(frozen=True, slots=True)
class Goal:
    """The largest value that a figure may have, or the smallest.

    Attributes:
        limit: the limit for the ratio to *reference*, or for our figure if that is None.
        least: True if the figure must be at least *limit*, because more is better.
    """

    limit: float
    reference: str | None
    least: bool = False

    def met(self, reached: float) -> bool:
        return reached >= self.limit if self.least else reached <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.least else '≤'} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one scenario, for all sides.

    Attributes:
        figure: the name of what was measured, with its unit.
        medians: ``{side: median}``; our side is ``"ours"``.
        ratios: ``{reference: ours / reference}``, the median of the ratios of the rounds,
            because both sides of a round suffer from the same neighbours.
    """

    scenario: str
    size: int
    figure: str
    medians: dict[str, float]
    ratios: dict[str, float] = field(default_factory=dict)
    goal: Goal | None = None

    @property
    def reached(self) -> float | None:
        """The value that the goal is compared with; None without one."""
        if self.goal is None:
            return None
        if self.goal.reference is None:
            return self.medians[OURS]
        return self.ratios.get(self.goal.reference)

    @property
    def met(self) -> bool | None:
        """True if the goal is met; None without a goal or a figure for it."""
        reached = self.reached
        return None if self.goal is None or reached is None else self.goal.met(reached)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One measurement; ``--scenario`` takes its name."""

    name: str
    summary: str
    measure: Callable[[Settings], Sequence[Row]]
