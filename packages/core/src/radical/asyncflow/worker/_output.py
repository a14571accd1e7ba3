"""The output of a command: the beginning in memory, all of a long one in a file."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO

from .._public import public

__all__ = ["Output", "Stream", "read_end"]

_PIECE_BYTES = 1024 * 1024  # that are decoded at a time
_MOST_EXPANSION = 1.5  # of text in memory over the limit in bytes
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")


@public("radical.asyncflow.worker")
class Output(str):
    """The beginning of an output that was too long for memory; all of it is in a file.

    A shorter output is a plain `str`.

    Attributes:
        path: the file, which holds what the command wrote.
        size: bytes in total.
        truncated: whether this string is not all of the output.
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
    """Stdout or stderr of a command as it arrives; used by one thread.

    Attributes:
        size: bytes so far.
    """

    __slots__ = ("_file", "_held", "_limit", "_path", "_place", "size")

    def __init__(self, limit: int, place: Callable[[], Path]) -> None:
        """Make a stream that holds up to *limit* bytes; *place* names the file for more."""
        self._limit = limit
        self._place = place
        self._held: bytes | bytearray = b""
        self._file: IO[bytes] | None = None
        self._path: Path | None = None
        self.size = 0

    def write(self, chunk: bytes) -> None:
        """Add *chunk*; from the limit on, move everything to the file."""
        self.size += len(chunk)
        if self._file is not None:
            self._file.write(chunk)
            self._file.flush()  # others may be reading it
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
        """Close the file, if there is one; the file stays."""
        if self._file is not None:
            self._file.close()

    def end(self, most: int) -> tuple[str | tuple[str, ...], int]:
        """Return the last *most* bytes so far as text, and how many came before them.

        Any thread may call this.  Of an output that is in a file it is the path of the file.
        """
        path, held = self._path, self._held
        if path is not None:
            return (str(path),), 0
        part = bytes(held[-most:])
        before = max(len(held) - most, 0)
        if before:
            part = part[_continuation_bytes(part) :]
        # A character of which the rest has not come yet is left out.
        return codecs.getincrementaldecoder("utf-8")("replace").decode(part), before

    def text(self) -> str:
        """Return what came, decoded; an `Output` if it did not fit.  Call `close` before."""
        if self._path is None:
            return self._held.decode("utf-8", "replace")
        text = self._head(self._path)
        return Output(text, self._path, self.size, truncated=True)

    def _head(self, path: Path) -> str:
        """Return the first bytes, decoded; fewer if the text takes far more memory than them.

        A single character outside the basic plane makes Python spend four bytes on each
        character of a text, and arbitrary bytes hold such characters.
        """
        # Incremental, so that a character that the limit cuts in two is left out.
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        pieces: list[str] = []
        length, width = 0, 1
        left = self._limit
        with path.open("rb") as file:
            while data := file.read(min(left, _PIECE_BYTES)):
                left -= len(data)
                piece = decoder.decode(data)
                length += len(piece)
                width = max(width, _width(piece))
                if pieces and length * width > _MOST_EXPANSION * self._limit:
                    break
                pieces.append(piece)
        return "".join(pieces)


@public("radical.asyncflow.worker")
def read_end(path: Path, most: int) -> Output:
    """Return the last *most* bytes of a file as text; an empty one if it cannot be read here."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - most))
            text = file.read(most).decode("utf-8", "replace")
    except OSError:
        return Output("", path)
    return Output(text, path, size, truncated=size > most)


def _continuation_bytes(part: bytes) -> int:
    """Return how many bytes at the beginning of *part* belong to a character that is cut off."""
    return next((at for at, byte in enumerate(part[:4]) if byte & 0xC0 != 0x80), 0)


def _width(text: str) -> int:
    """Return how many bytes Python spends on each character of *text*."""
    if text.isascii():
        return 1
    return 4 if _ASTRAL.search(text) else 2
