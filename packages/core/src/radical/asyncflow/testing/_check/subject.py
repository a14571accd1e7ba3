"""The description of what is checked and how, which goes from the command to its child."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass, field
from typing import Any, Self

__all__ = ["FAST_LOAD", "FULL_LOAD", "SUBJECT", "Subject"]

SUBJECT = "ASYNCFLOW_CHECKED"
"""The variable that tells the child what to check."""

FULL_LOAD = 10_000
FAST_LOAD = 1_000


@dataclass(frozen=True)
class Subject:
    """A backend that is checked, and how.

    What is None is measured: see `BackendConformance` for what these attributes mean.

    Attributes:
        name: the name of its entry point.
        settings: those that are given to it.
        fast: whether slow checks and benchmarks are left out.
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    fast: bool = False
    load: int = FULL_LOAD
    patience: float = 30.0
    slots: int | None = None
    travel: float | None = None

    @property
    def silence(self) -> float:
        """The seconds without a word from the child after which it counts as hanging."""
        return max(120.0, 6 * self.patience)

    def to_environment(self) -> str:
        """Return the value of the variable `SUBJECT`."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_environment(cls) -> Self:
        """Return what the command that started this process passed on."""
        return cls(**json.loads(os.environ[SUBJECT]))
