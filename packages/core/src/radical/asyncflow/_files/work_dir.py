"""The folder of a run."""

from __future__ import annotations

import logging
import os
import stat
from contextlib import suppress
from pathlib import Path

from ..aside import in_thread
from ..errors import ConfigurationError

__all__ = ["WorkDir"]

_log = logging.getLogger("radical.asyncflow")


class WorkDir:
    """The folder of a run, created on first use."""

    def __init__(self, uid: str, given: str | os.PathLike[str] | None) -> None:
        self._uid = uid
        self._given = None if given is None else Path(given).absolute()
        if self._given is not None and self._given.exists() and not self._given.is_dir():
            raise ConfigurationError(f"work_dir must be a folder, but {self._given} is not one")
        self._made: Path | None = None
        self._status: os.stat_result | None = None

    def __call__(self) -> Path:
        if self._made is None or (self._given is None and not self._is_there()):
            if self._given is None:
                import tempfile  # here, because it is slow to import and few need it

                self._made = Path(tempfile.mkdtemp(prefix=f"asyncflow-{self._uid}-"))
                self._status = self._made.stat()
            else:
                self._given.mkdir(parents=True, exist_ok=True)
                self._made = self._given
        return self._made

    def _is_there(self) -> bool:
        """Tell whether the temporary folder is the one that was made: cleaners remove them."""
        assert self._made is not None
        assert self._status is not None
        try:
            return os.path.samestat(self._made.lstat(), self._status)
        except FileNotFoundError:
            return False

    async def remove(self) -> None:
        """Delete the folder if it is a temporary one, and log what cannot be deleted."""
        if self._made is not None and self._given is None:
            made, there, self._made = self._made, self._is_there(), None
            if there:
                await in_thread(_remove, made)


def _remove(folder: Path) -> None:
    import shutil

    error: OSError | None = None
    for _ in range(3):
        try:
            shutil.rmtree(folder)
        except FileNotFoundError as missing:  # somebody else removes it as well
            error = missing
            if not folder.exists():
                return
        except OSError as refused:
            error = refused
            _make_writable(folder)
        else:
            return
    _log.warning("the temporary folder %s cannot be removed: %s", folder, error)


def _make_writable(folder: Path) -> None:
    """Allow this user to remove what is in *folder* and in the folders below, as far as it may."""
    with suppress(OSError):
        folder.chmod(stat.S_IRWXU)
    for above, names, _ in os.walk(folder):
        for name in names:  # before they are entered
            below = Path(above, name)
            if not below.is_symlink():
                with suppress(OSError):
                    below.chmod(stat.S_IRWXU)
