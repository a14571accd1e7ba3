"""The folder of a run."""

from __future__ import annotations

import os
from pathlib import Path

from ..aside import in_thread
from ..errors import ConfigurationError

__all__ = ["WorkDir"]


class WorkDir:
    """The folder of a run, created on first use."""

    def __init__(self, uid: str, given: str | os.PathLike[str] | None) -> None:
        self._uid = uid
        self._given = None if given is None else Path(given).absolute()
        if self._given is not None and self._given.exists() and not self._given.is_dir():
            raise ConfigurationError(f"work_dir must be a folder, but {self._given} is not one")
        self._made: Path | None = None

    def __call__(self) -> Path:
        if self._made is None:
            if self._given is None:
                import tempfile  # here, because it is slow to import and few need it

                self._made = Path(tempfile.mkdtemp(prefix=f"asyncflow-{self._uid}-"))
            else:
                self._given.mkdir(parents=True, exist_ok=True)
                self._made = self._given
        return self._made

    async def remove(self) -> None:
        """Delete the folder if it is a temporary one."""
        if self._made is not None and self._given is None:
            import shutil

            made, self._made = self._made, None
            await in_thread(shutil.rmtree, made)
