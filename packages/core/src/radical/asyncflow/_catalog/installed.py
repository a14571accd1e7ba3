"""The files of an installed distribution, found without an import of its modules."""

from __future__ import annotations

import importlib.util
from datetime import date
from importlib.metadata import Distribution
from pathlib import Path

from .._text import shorten
from ..errors import ConfigurationError
from .wheels import LARGEST_FILE

__all__ = ["InstalledFiles"]


class InstalledFiles:
    """The files of one distribution.

    Attributes:
        origin: where it is installed, for messages.
    """

    def __init__(self, distribution: Distribution, origin: str) -> None:
        self._distribution = distribution
        self.origin = origin

    def info(self, name: str) -> str:
        """Return a file of the metadata, such as ``METADATA``; "" if there is none.

        Raises:
            ConfigurationError: it cannot be read.
        """
        try:
            return self._distribution.read_text(name) or ""
        except (OSError, UnicodeError) as error:
            raise ConfigurationError(f"{name} cannot be read: {error}") from None

    def beside(self, module: str, name: str) -> bytes | None:
        """Return the file *name* beside a *module*; None if there is none.

        Raises:
            ConfigurationError: it cannot be read.
        """
        for folder in _folders_of(module):
            try:
                with (folder / name).open("rb") as file:
                    return file.read(LARGEST_FILE + 1)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise ConfigurationError(f"{folder / name} cannot be read: {error}") from None
        return None

    def released(self) -> date | None:
        """Return None: what is installed does not tell when it was made."""
        return None


def _folders_of(module: str) -> list[Path]:
    """Return the folders in which the file of *module* may be.

    Only its first part is looked up, as an import would do it; to look up the others Python
    would import what is above them.
    """
    first, *others = module.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError) as error:
        raise ConfigurationError(shorten(f"{first} cannot be found: {error}", 300)) from None
    if spec is None:
        return []
    roots = [Path(root) for root in spec.submodule_search_locations or ()]
    if not roots:
        return [Path(spec.origin).parent] if spec.origin and not others else []
    paths = [root.joinpath(*others) for root in roots]
    return [
        path if (path / "__init__.py").is_file() or not others else path.parent for path in paths
    ]
