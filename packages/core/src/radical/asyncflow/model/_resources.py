"""The resources that a task asks for: cores, GPUs, memory, ranks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from typing import Any, cast

from .._public import public
from .._text import closest
from ..errors import ConfigurationError

__all__ = ["DEFAULT_RESOURCES", "Resources", "parse_size"]

_SMALLEST_PART = 0.001  # of a GPU
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_UNITS |= {unit + "i": 2 ** (10 * power) for power, unit in enumerate("kmgt", start=1)}
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]i?)?b?\s*", re.IGNORECASE)


@public("radical.asyncflow")
@dataclass(frozen=True, slots=True)
class Resources:
    """The cores, GPUs and memory that a task occupies while it runs.

    Each of *ranks* processes gets *cores*, *gpus* and *memory* of its own.

    Attributes:
        cores: processor cores for each rank, at least 1.
        gpus: GPUs for each rank: a whole number, or a part of one GPU that other tasks may
            share, such as 0.25.  Parts are counted in thousandths, rounded down, so that three
            tasks with ``1 / 3`` share a GPU.
        memory: bytes for each rank; 0 asks for nothing in particular.  `of` also accepts a
            string such as ``"4GB"`` or ``"512 MiB"``.
        ranks: the number of processes, for MPI; an ordinary task has 1.
    """

    cores: int = 1
    gpus: int | float = 0
    memory: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.gpus, float) and self.gpus.is_integer():
            object.__setattr__(self, "gpus", int(self.gpus))
        wrong = [
            f"{item.name} must be {_valid(item)}, not {value!r}"
            for item in fields(self)
            for value in (getattr(self, item.name),)
            if not _fits(item, value)
        ]
        if wrong:
            raise ConfigurationError("resources: " + "; ".join(wrong))

    @classmethod
    def of(cls, value: Resources | Mapping[str, Any] | None) -> Resources:
        """Return *value*, such as ``{"cores": 2}``, as Resources.

        Raises:
            ConfigurationError: a key is unknown or a value wrong; the error lists every one.
        """
        if value is None:
            return DEFAULT_RESOURCES
        if isinstance(value, Resources):
            return value
        if not isinstance(value, Mapping):
            raise ConfigurationError(
                f"resources must be a Resources or a mapping such as {{'cores': 2}}, not {value!r}"
            )
        known = [item.name for item in fields(cls)]
        unknown = [
            f"unknown key {key!r}{closest(str(key), known)}" for key in value if key not in known
        ]
        if unknown:
            raise ConfigurationError(f"resources: {'; '.join(unknown)} (known: {', '.join(known)})")
        values = dict(value)
        if isinstance(values.get("memory"), str):
            values["memory"] = parse_size(values["memory"])
        return cls(**values)

    @property
    def total_cores(self) -> int:
        """The cores of all ranks."""
        return self.cores * self.ranks

    @property
    def total_gpus(self) -> int | float:
        """The GPUs of all ranks."""
        total = self.gpus * self.ranks
        return total if isinstance(total, int) else round(total, 3)

    @property
    def total_memory(self) -> int:
        """The memory of all ranks, in bytes."""
        return self.memory * self.ranks


def _least(item: Field[Any]) -> int:
    """Return the smallest sensible value of a field, which is also its default."""
    return cast(int, item.default)


def _fits(item: Field[Any], value: object) -> bool:
    if item.name == "gpus" and isinstance(value, float):
        return _SMALLEST_PART <= value < 1
    return isinstance(value, int) and not isinstance(value, bool) and value >= _least(item)


def _valid(item: Field[Any]) -> str:
    """Return in words which values a field may have."""
    text = f"a whole number of at least {_least(item)}"
    if item.name == "gpus":
        text += f", or a part of one GPU from {_SMALLEST_PART} to below 1, such as 0.5"
    return text


DEFAULT_RESOURCES = Resources()
"""The resources of a task that asks for nothing in particular, which is one core."""


@public("radical.asyncflow.model")
def parse_size(text: str) -> int:
    """Return the bytes in a string such as ``"1.5 GB"`` or ``"512MiB"``.

    Raises:
        ConfigurationError: *text* is no size.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ConfigurationError(
            f"not a size in bytes: {text!r} (write it like '4GB' or '512 MiB')"
        )
    return int(float(match[1]) * _UNITS[(match[2] or "").lower()])
