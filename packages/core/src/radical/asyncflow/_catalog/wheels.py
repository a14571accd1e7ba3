"""The files of a wheel that anybody may have made: read in memory, bounded, and never run.

Nothing is extracted, so no path of the archive matters outside of it; and no more of a file is
unpacked than a catalog takes.
"""

from __future__ import annotations

import errno
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path, PurePosixPath
from typing import IO

from .._text import shorten, size_text
from ..errors import ConfigurationError

__all__ = ["WheelFiles"]

LARGEST_DIRECTORY = 10_000_000
"""The bytes that the directory of an archive may have, which is enough for 100,000 files."""

LARGEST_FILE = 5_000_000
"""The bytes that one of the files that a catalog reads may have when it is unpacked."""

NOT_A_DATE = frozenset({(1980, 1, 1), (2016, 1, 1), (2020, 2, 2)})
"""Days that builders write into each archive, so that the same sources give the same wheel."""

_END_OF_DIRECTORY = b"PK\x05\x06"
_ZIP64 = b"PK\x06\x07"


class WheelFiles:
    """The files of one wheel.

    Attributes:
        origin: the name of its file, for messages.
        name: of the distribution, from the name of the file, normalized.
        version: the same way.
    """

    def __init__(self, path: Path) -> None:
        """Open *path* and read its directory.

        Raises:
            ConfigurationError: it is no wheel, or none that an installer would take.
        """
        from packaging.utils import InvalidWheelFilename, parse_wheel_filename

        self.origin = path.name
        try:
            self.name, version, _, _ = parse_wheel_filename(path.name)
        except InvalidWheelFilename as error:
            raise ConfigurationError(shorten(f"it has no name of a wheel: {error}", 300)) from None
        self.version = str(version)
        with _guarded():
            self._file = path.open("rb")
            try:
                self._archive = _open(self._file)
                self._names = _names(self._archive)
                self._info = self._find_info()
            except BaseException:
                self._file.close()
                raise

    def __enter__(self) -> WheelFiles:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def info(self, name: str) -> str:
        """Return a file of the metadata, such as ``METADATA``; "" if there is none.

        Raises:
            ConfigurationError: it cannot be read.
        """
        return (self._read(f"{self._info}/{name}") or b"").decode("utf-8", "replace")

    def beside(self, module: str, name: str) -> bytes | None:
        """Return the file *name* beside a *module*; None if there is none.

        Raises:
            ConfigurationError: it cannot be read.
        """
        path = module.replace(".", "/")
        folder = path if f"{path}/__init__.py" in self._names else path.rpartition("/")[0]
        return self._read(f"{folder}/{name}".lstrip("/"))

    def released(self) -> date | None:
        """Return the day on which the newest of the files was made, if the archive tells."""
        days = {info.date_time[:3] for info in self._archive.infolist()} - NOT_A_DATE
        found = []
        for day in days:
            try:
                found.append(date(*day))
            except ValueError:
                continue  # no day has such a number: it tells nothing
        newest = max(found, default=None)
        return newest if newest and newest <= date.today() else None

    def _find_info(self) -> str:
        """Return the folder of the metadata, which has the name of the wheel."""
        from packaging.utils import canonicalize_name

        found = {name.partition("/")[0] for name in self._names if ".dist-info/" in name}
        found = {folder for folder in found if folder.endswith(".dist-info")}
        if len(found) != 1:
            raise ConfigurationError(f"it has {len(found) or 'no'} folders of metadata, not one")
        folder = found.pop()
        if canonicalize_name(folder.partition("-")[0]) != self.name:
            raise ConfigurationError(
                f"its metadata are those of another distribution: {shorten(folder, 100)}"
            )
        return folder

    def _read(self, name: str) -> bytes | None:
        if name not in self._names:
            return None
        with _guarded(), self._archive.open(name) as file:
            data = file.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise ConfigurationError(
                f"{shorten(name, 100)} has more than {size_text(LARGEST_FILE)} when it is unpacked"
            )
        return data


@contextmanager
def _guarded() -> Iterator[None]:
    """Turn what an archive that is broken raises into a `ConfigurationError`."""
    try:
        yield
    except ConfigurationError:
        raise
    except RuntimeError as error:  # also NotImplementedError
        raise ConfigurationError(shorten(f"it cannot be unpacked: {error}", 300)) from None
    except (
        *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
        *(EOFError, ValueError, OverflowError, KeyError),
    ) as error:
        raise ConfigurationError(shorten(f"it is no sound archive: {error}", 300)) from None
    except OSError as error:
        # An archive may say that something lies in front of its beginning.
        what = "it is no sound archive" if error.errno == errno.EINVAL else "it cannot be read"
        raise ConfigurationError(f"{what}: {error.strerror or error}") from None


def _open(file: IO[bytes]) -> zipfile.ZipFile:
    """Open an archive whose directory fits into memory."""
    end = file.seek(0, 2)
    file.seek(max(end - 65_557, 0))  # the longest comment and what is in front of it
    tail = file.read()
    place = tail.rfind(_END_OF_DIRECTORY)
    if place < 0 or len(tail) < place + 22:
        raise ConfigurationError("it is no archive of the format zip")
    size = int.from_bytes(tail[place + 12 : place + 16], "little")
    if size > LARGEST_DIRECTORY or tail[max(place - 20, 0) : place].startswith(_ZIP64):
        raise ConfigurationError(f"its directory has more than {size_text(LARGEST_DIRECTORY)}")
    return zipfile.ZipFile(file)


def _names(archive: zipfile.ZipFile) -> frozenset[str]:
    """Return the names of the files, if an installer would take them."""
    names = [info.filename for info in archive.infolist()]
    known = frozenset(names)
    if len(known) < len(names):
        raise ConfigurationError("two of its files have the same name")
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", name):
            raise ConfigurationError(
                f"its file {shorten(name, 100)!r} would be outside of the folder of the archive"
            )
    return known
