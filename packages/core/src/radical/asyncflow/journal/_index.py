"""The place of every result in a journal, found by one pass over the file.

The index lives in memory only.  Opening a journal builds it anew and checks every line on
the way: some 1.4 s for a million results, and some 120 bytes of memory for each.  A saved
copy would spare that second of the sixteen that recalling a million results takes; but it
would be a second file, which can be torn, out of date, or of another journal, and a line
that it covers would not be checked.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from zlib import crc32

from ._format import CHECKSUM_LENGTH, check_header, damage_error, intact, parse

__all__ = ["ResultIndex"]

CHUNK_BYTES = 1 << 20
"""How much of the file is read at once."""

_DONE, _BEGUN = b"DB"
_MASK = (1 << 64) - 1


class ResultIndex:
    """The offset of the last result under each key, and the runs of one journal.

    A key is kept as 64 bits of it.  Whoever looks a key up compares it with the line that
    is found, so two keys with the same 64 bits cost one of them its reuse, and no more.

    One thread calls `read` once; afterwards any thread may ask.

    Attributes:
        end: bytes of whole lines in the file.
    """

    def __init__(self) -> None:
        self.end = 0
        self._lines = 0
        self._offsets: dict[int, int] = {}
        self._runs: list[tuple[int, str]] = []
        self._last_run = 0, 0, ""

    def read(self, path: str, descriptor: int) -> bool:
        """Check and index every line of the journal *path*, open as *descriptor*.

        Returns:
            Whether the file ends in a line that was not written to its end.

        Raises:
            JournalFormatError: the file is no journal, or one of another version.
            JournalCorruptError: a line is damaged.
            OSError: the file cannot be read.
        """
        rest = b""
        while chunk := os.pread(descriptor, CHUNK_BYTES, self.end + len(rest)):
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()
            self._add(path, lines)
        if rest and not self._lines:
            check_header(path, rest)
            raise damage_error(path, 0, 1)
        if intact(rest[:-1]) and not intact(rest):  # whole, but its newline is another byte
            raise damage_error(path, self.end, self._lines + 1)
        return bool(rest)

    def _add(self, path: str, lines: list[bytes]) -> None:
        if lines and not self._lines and not check_header(path, lines[0]):
            raise damage_error(path, 0, 1)
        offset = self.end
        offsets = self._offsets
        for number, line in enumerate(lines, self._lines + 1):
            if line[:CHECKSUM_LENGTH] != b"%08x " % crc32(line[CHECKSUM_LENGTH:]):
                raise damage_error(path, offset, number)
            kind = line[CHECKSUM_LENGTH]
            if kind == _DONE:
                if line[43:44] == b" ":  # a key of 32 digits
                    offsets[int(line[11:27], 16)] = offset
                else:
                    offsets[_fingerprint(line[11 : line.index(b" ", 11)])] = offset
            elif kind == _BEGUN:
                self._runs.append((offset, str(parse(line).fields.get("run", ""))))
            offset += len(line) + 1
        self.end = offset
        self._lines += len(lines)

    @property
    def last_run(self) -> str | None:
        """The uid of the run that began last in the file; None if there is none."""
        return self._runs[-1][1] if self._runs else None

    def find(self, key: str) -> int | None:
        """Return the offset of the line that may hold the last result under *key*."""
        if not self._offsets:
            return None
        return self._offsets.get(_fingerprint(key.encode("ascii")))

    def run_at(self, offset: int) -> str:
        """Return the uid of the run that the line at *offset* belongs to."""
        begin, end, uid = self._last_run
        if begin <= offset < end:  # a resumed run asks for one run's results in a row
            return uid
        runs = self._runs
        place = bisect_right(runs, offset, key=lambda run: run[0])
        if not place:
            return ""
        begin, uid = runs[place - 1]
        self._last_run = begin, runs[place][0] if place < len(runs) else self.end, uid
        return uid


def _fingerprint(key: bytes) -> int:
    first = int(key[:16], 16)
    return first if len(key) == 32 else (first + (crc32(key) << 32)) & _MASK
