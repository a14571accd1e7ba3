"""The results that a journal keeps: in the record, or as files named by their content."""

from __future__ import annotations

import binascii
import contextlib
import hashlib
import itertools
import os
import pickle
from pathlib import Path
from typing import Any, cast

from .._text import safe_str, truncate
from ..errors import JournalError
from ._format import scalar, unstored

__all__ = ["ResultStore"]

_numbers = itertools.count()


class _TooLargeError(Exception):
    """The pickle is larger than the limit."""


class ResultStore:
    """The store of a journal's results: small pickles in the record, others in a folder.

    Args:
        folder: made when the first file needs it, readable by its owner only.
        inline_limit: the largest pickle, in bytes, that stands in the record.
        result_limit: the largest pickle, in bytes, that is kept at all.
    """

    def __init__(self, folder: str, inline_limit: int, result_limit: int) -> None:
        self._folder = Path(folder)
        self._inline_limit = inline_limit
        self._result_limit = result_limit

    def store(self, value: object) -> str:
        """Do as `JournalWriter.store`."""
        text = scalar(value)
        if text is not None:
            return text
        reason = ""
        for pickler in (pickle.Pickler, _by_value):
            sink = _Sink(self._folder, self._inline_limit, self._result_limit)
            try:
                pickler(sink, pickle.HIGHEST_PROTOCOL).dump(value)
                return sink.finish()
            except _TooLargeError:
                return unstored(f"result too large (over {self._result_limit} bytes)")
            except OSError as error:
                if sink.failed:
                    return unstored(f"result could not be written: {error.strerror or error}")
                reason = reason or safe_str(error)
            except BaseException as error:  # pickling runs foreign code
                reason = reason or safe_str(error)
            finally:
                sink.discard()
        return unstored(f"cannot be pickled: {truncate(reason, 300)}")

    def load(self, kind: str, text: str) -> Any:
        """Return the value of the field *kind* ("pickle" or "blob") with the content *text*.

        Raises:
            JournalError: it is missing, damaged, or cannot be rebuilt by this program.
        """
        if kind == "pickle":
            data = binascii.a2b_base64(text)
        elif kind == "blob":
            data = self._read(text)
        else:
            raise JournalError(f"a result is stored as {kind!r}, which this release does not know")
        try:
            return pickle.loads(data)
        except BaseException as error:  # foreign code; and the class may be gone
            raise JournalError(f"a stored result cannot be rebuilt: {safe_str(error)}") from error

    def clean(self) -> None:
        """Remove files that killed runs left half written; only the journal's writer may do so."""
        for path in self._folder.glob("*.part"):
            path.unlink(missing_ok=True)

    def _read(self, digest: str) -> bytes:
        path = _place(self._folder, digest)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise JournalError(
                f"the stored result {path} cannot be read: {error.strerror or error}"
            ) from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise JournalError(f"the stored result {path} is damaged: remove it")
        return data


class _Sink:
    """The output of a pickler: memory first, then a file; hashes what is written.

    Attributes:
        failed: an error came from the file, not from the pickling.
    """

    def __init__(self, folder: Path, inline_limit: int, result_limit: int) -> None:
        self.failed = False
        self._folder = folder
        self._inline_limit = inline_limit
        self._result_limit = result_limit
        self._size = 0
        self._parts: list[bytes] = []
        self._hash = hashlib.sha256()
        self._path: Path | None = None
        self._descriptor: int | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._size += view.nbytes
        if self._size > self._result_limit:
            raise _TooLargeError
        if self._descriptor is None:
            if self._size <= self._inline_limit:
                self._parts.append(bytes(view))
                return view.nbytes
            self._open()
        self._put(view.cast("B") if view.nbytes else view)
        return view.nbytes

    def finish(self) -> str:
        """Move the file, if there is one, to its place; return the fields for the record."""
        if self._descriptor is None:
            data = b"".join(self._parts)
            text = binascii.b2a_base64(data, newline=False).decode()
            return f'"pickle":"{text}","size":{self._size}'
        digest = self._hash.hexdigest()
        place = _place(self._folder, digest)
        try:
            place.parent.mkdir(mode=0o700, exist_ok=True)
            cast(Path, self._path).replace(place)
        except OSError:
            self.failed = True
            raise
        self._path = None
        return f'"blob":"{digest}","size":{self._size}'

    def discard(self) -> None:
        """Close the file, and remove it unless it was moved to its place."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if self._path is not None:
            with contextlib.suppress(OSError):  # the next writer will remove it
                self._path.unlink()
            self._path = None
        self._parts.clear()

    def _open(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._path = self._folder / f"{os.getpid()}-{next(_numbers)}.part"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o600)
        except OSError:
            self.failed = True
            raise
        for part in self._parts:
            self._put(memoryview(part))
        self._parts.clear()

    def _put(self, view: memoryview) -> None:
        self._hash.update(view)
        try:
            while view:
                view = view[os.write(cast(int, self._descriptor), view) :]
        except OSError:
            self.failed = True
            raise


def _by_value(sink: _Sink, protocol: int) -> Any:
    """Return a pickler for functions, and for classes that were defined inside a function."""
    import cloudpickle  # type: ignore[import-untyped]  # here, because few results need it

    return cloudpickle.Pickler(sink, protocol)


def _place(folder: Path, digest: str) -> Path:
    return folder / digest[:2] / digest
