"""The folder of a run."""

from __future__ import annotations

import json
import logging
import os
import threading
from contextlib import suppress
from pathlib import Path

from ..errors import ConfigurationError
from ..journal._process import Process

__all__ = ["RUNS", "WorkDir", "is_in_use"]

_log = logging.getLogger("radical.asyncflow")

RUNS = "asyncflow-runs"
"""The name of the folder in which each run has its folder, unless the user chose another."""

_IN_USE = ".in-use"  # a file in the folder of a run that has not ended


class WorkDir:
    """The folder of a run, created on first use and kept.

    It is ``asyncflow-runs/RUN`` in the folder that is current now, or the one that was *given*.
    If nothing can be written there, it is a temporary folder, and the log says so.  If another
    run that goes on was given the same folder, it is ``RUN`` in that folder, because the tasks
    of both have the same numbers.
    """

    def __init__(self, uid: str, given: str | os.PathLike[str] | None) -> None:
        self._uid = uid
        self._given = None if given is None else Path(given).absolute()
        if self._given is not None and self._given.exists() and not self._given.is_dir():
            raise ConfigurationError(f"work_dir must be a folder, but {self._given} is not one")
        self._runs: Path | None = None
        with suppress(FileNotFoundError):  # the current folder was deleted
            self._runs = Path.cwd() / RUNS
        self._made: Path | None = None
        self._lock = threading.Lock()  # tasks ask for it in threads

    def __call__(self) -> Path:
        made = self._made
        if made is not None and made.is_dir():
            return made
        with self._lock:
            if self._made is None or not self._made.is_dir():
                self._made = self._make() if self._given is None else self._take(self._given)
            return self._made

    def _take(self, given: Path) -> Path:
        """Return *given*, or a new folder in it if another run uses it."""
        given.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):  # tasks will say that nothing can be written there
            if not _mark(given):
                if not (given / _IN_USE).stat().st_size or is_in_use(given):  # or is being noted
                    folder = _new_folder(given, self._uid)
                    _mark(folder)
                    _log.info("the files of the run are in %s: another run uses %s", folder, given)
                    return folder
                (given / _IN_USE).unlink(missing_ok=True)  # a killed run left it
                _mark(given)
        return given

    def _make(self) -> Path:
        try:
            if self._runs is None:
                raise FileNotFoundError("the folder that the program was started in was deleted")
            self._runs.mkdir(parents=True, exist_ok=True)
            folder = _new_folder(self._runs, self._uid)
        except OSError as error:
            import tempfile  # here, because it is slow to import and few need it

            folder = Path(tempfile.mkdtemp(prefix=f"asyncflow-{self._uid}-"))
            _log.warning("the files of the run are in %s, because: %s", folder, error)
        _mark(folder)
        return folder

    def close(self) -> None:
        """Note that the run has ended, and remove what is empty of the folders made for it."""
        if self._made is None:
            return
        made, self._made = self._made, None
        with suppress(OSError):  # it was cleaned away, or something is in it
            (made / _IN_USE).unlink(missing_ok=True)
            if made == self._given:
                return
            made.rmdir()
            if made.parent == self._runs:
                self._runs.rmdir()


def _new_folder(runs: Path, uid: str) -> Path:
    """Make a folder for the run *uid* below *runs*; an earlier run may have had that name."""
    number = 1
    while True:
        folder = runs / (uid if number == 1 else f"{uid}.{number}")
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            number += 1
        else:
            return folder


def _mark(folder: Path) -> bool:
    """Note in *folder* that this program uses it; return False if somebody has noted that."""
    user = json.dumps(Process.own()._asdict())
    try:
        with (folder / _IN_USE).open("x") as file:
            file.write(user)
    except FileExistsError:
        return False
    return True


def is_in_use(folder: Path) -> bool:
    """Tell whether the run that has *folder* goes on, or may go on, on another machine."""
    try:
        user = Process.parse(json.loads((folder / _IN_USE).read_text()))
    except PermissionError:
        return True
    except (OSError, ValueError, TypeError, AttributeError):
        return False
    return bool(user.pid) and user.runs()[0] is not False
