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
        gpus: whole GPUs for each rank.
        memory: bytes for each rank; 0 asks for nothing in particular.  `of` also accepts a
            string such as ``"4GB"`` or ``"512 MiB"``.
        ranks: the number of processes, for MPI; an ordinary task has 1.
    """

    cores: int = 1
    gpus: int = 0
    memory: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        wrong = [
            f"{item.name} must be a whole number of at least {_least(item)}, not {value!r}"
            for item in fields(self)
            for value in (getattr(self, item.name),)
            if not isinstance(value, int) or isinstance(value, bool) or value < _least(item)
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
    def total_gpus(self) -> int:
        """The GPUs of all ranks."""
        return self.gpus * self.ranks

    @property
    def total_memory(self) -> int:
        """The memory of all ranks, in bytes."""
        return self.memory * self.ranks


def _least(item: Field[int]) -> int:
    """Return the smallest sensible value of a field, which is also its default."""
    return cast(int, item.default)


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
