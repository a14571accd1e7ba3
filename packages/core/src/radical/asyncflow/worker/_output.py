"""What a command wrote: bounded in memory, whole in a file."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO

from .._public import public

_PIECE = 1024 * 1024  # bytes that are decoded at a time
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")


@public("radical.asyncflow.worker")
class Output(str):
    """The beginning of a stream that was too long for memory; the whole is in a file.

    A shorter stream is a plain `str`.

    Attributes:
        path: the file, as the command wrote it.
        size: bytes in total.
        truncated: whether this string is less than all of it.
    """

    path: Path | None
    size: int
    truncated: bool

    def __new__(
        cls, text: str = "", path: Path | None = None, size: int = 0, truncated: bool = False
    ) -> Output:
        self = super().__new__(cls, text)
        self.path = path
        self.size = size
        self.truncated = truncated
        return self


class Stream:
    """Takes the bytes of one stream; used by one thread.

    Attributes:
        size: bytes so far.
    """

    __slots__ = ("_file", "_held", "_limit", "_path", "_place", "size")

    def __init__(self, limit: int, place: Callable[[], Path]) -> None:
        """Hold up to *limit* bytes; *place* gives the name of the file for more."""
        self._limit = limit
        self._place = place
        self._held: bytes | bytearray = b""
        self._file: IO[bytes] | None = None
        self._path: Path | None = None
        self.size = 0

    def write(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self._file is not None:
            self._file.write(chunk)
        elif self.size <= self._limit:
            self._hold(chunk)
        else:
            self._spill(chunk)

    def _hold(self, chunk: bytes) -> None:
        if not self._held:
            self._held = chunk  # most outputs are one chunk
        elif isinstance(self._held, bytearray):
            self._held += chunk
        else:
            self._held = bytearray(self._held) + chunk

    def _spill(self, chunk: bytes) -> None:
        self._path = self._place()
        self._file = self._path.open("xb")
        self._file.write(self._held)
        self._file.write(chunk)
        self._held = b""

    def close(self) -> None:
        """Close the file, if there is one; it is kept."""
        if self._file is not None:
            self._file.close()

    def text(self) -> str:
        """What came, decoded; an `Output` if it did not fit.  Call `close` before."""
        if self._path is None:
            return self._held.decode("utf-8", "replace")
        text = self._head(self._path)
        return Output(text, self._path, self.size, truncated=True)

    def _head(self, path: Path) -> str:
        """The first bytes, decoded; fewer where text takes far more memory than its bytes.

        One character outside of the basic plane makes Python spend four bytes on each,
        and arbitrary bytes hold some.
        """
        # Incremental, so that a character which the limit cuts in two is left out.
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        pieces: list[str] = []
        length, width = 0, 1
        left = self._limit
        with path.open("rb") as file:
            while data := file.read(min(left, _PIECE)):
                left -= len(data)
                piece = decoder.decode(data)
                length += len(piece)
                width = max(width, _width(piece))
                if pieces and length * width > 1.5 * self._limit:
                    break
                pieces.append(piece)
        return "".join(pieces)


def _width(text: str) -> int:
    """Bytes that Python spends on each character of *text*."""
    if text.isascii():
        return 1
    return 4 if _ASTRAL.search(text) else 2
