"""Names of things outside of the program that a task declares that it reads."""

from __future__ import annotations

from dataclasses import dataclass

from .._public import public
from ..errors import ConfigurationError

__all__ = ["Env"]


@public("radical.asyncflow")
@dataclass(frozen=True, slots=True)
class Env:
    """An environment variable that a task reads; it is for the option ``uses``.

    Attributes:
        name: the name of the variable.
    """

    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or set(self.name) & {"=", "\0"}:
            raise ConfigurationError(
                "the name of an environment variable is a string that is not empty and has no "
                f"'=', not {self.name!r}"
            )
