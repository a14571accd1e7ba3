"""What a scenario is, and the rows of figures that come of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

__all__ = ["OURS", "Goal", "Row", "Scenario", "Settings"]

OURS = "ours"


@dataclass(frozen=True, slots=True)
class Settings:
    """How thoroughly to measure.

    Attributes:
        repeat: how often each side runs at least; medians are taken of so many.
        quick: small sizes, to see that everything works; the figures mean little.
    """

    repeat: int = 5
    quick: bool = False

    def size(self, full: int, quick: int | None = None) -> int:
        """*full*, or a tenth of it (or *quick*) in a quick run."""
        return (quick or max(full // 10, 1)) if self.quick else full


@dataclass(frozen=True, slots=True)
class Goal:
    """The most that a figure may be, or the least.

    Attributes:
        limit: for the ratio to *reference*, or for our figure itself where that is None.
        least: more is better.
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
        figure: what was measured, with its unit.
        medians: ``{side: median}``; ours is called ``"ours"``.
        ratios: ``{reference: ours / reference}``, the median of the rounds' own ratios:
            what is measured within the same second suffers from the same neighbours.
    """

    scenario: str
    size: int
    figure: str
    medians: dict[str, float]
    ratios: dict[str, float] = field(default_factory=dict)
    goal: Goal | None = None

    @property
    def reached(self) -> float | None:
        """What the goal looks at."""
        if self.goal is None:
            return None
        if self.goal.reference is None:
            return self.medians[OURS]
        return self.ratios.get(self.goal.reference)

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal or a figure for it."""
        reached = self.reached
        return None if self.goal is None or reached is None else self.goal.met(reached)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something to measure; its name is what ``--scenario`` takes."""

    name: str
    summary: str
    measure: Callable[[Settings], Sequence[Row]]
