"""Where in a journal the result of each identity stands.

A key of 32 digits and more is kept as 64 bits of it, beside the offset of its line:
who looks a key up compares it with the line, so two keys that share these bits cost
one of them its reuse and nothing else.  What the file ``PATH.index`` covers is two
sorted arrays, 16 bytes a key; what was found beyond it is a dict.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path
from zlib import crc32

from ..errors import JournalCorruptError
from ._format import CRC, check_header, intact, parse, seal

__all__ = ["WORTHWHILE", "Index", "corrupt"]

WORTHWHILE = 10_000
"""Lines beyond what the index file covers that make it worth writing anew."""

CHUNK = 1 << 20
BLOCK = 4096
"""Bytes at the journal's begin, and at the end of what is covered, that are compared."""

_FORMAT = "asyncflow-index"
_DONE, _BEGUN = b"DB"
_MASK = (1 << 64) - 1
_SLICE = 20_000


class Index:
    """The results of one journal by their keys.

    One thread fills it; then any may look keys up, also while another saves it.

    Attributes:
        covered: bytes of the journal, all of them whole lines, that it speaks of.
        lines: number of these lines.
        runs: offset and uid of each run's first line, in their order.
    """

    def __init__(self) -> None:
        self.covered = 0
        self.lines = 0
        self.runs: list[tuple[int, str]] = []
        self._saved_lines = 0
        self._table: dict[int, int] = {}
        self._sorted = array("Q"), array("Q")
        self._last = 0, 0, ""

    @classmethod
    def load(cls, file: str, descriptor: int, size: int) -> Index:
        """What *file* knows about the journal open as *descriptor*; nothing if it is stale."""
        index = cls()
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # it is rebuilt
            index._load(Path(file).read_bytes(), descriptor, size)
        return index

    def _load(self, data: bytes, descriptor: int, size: int) -> None:
        end = data.index(b"\n")
        if not intact(data[:end]):
            raise ValueError
        fields = parse(data[:end]).fields
        count, covered = fields["count"], fields["covered"]
        body = memoryview(data)[end + 1 :]
        same = (
            (fields["format"], fields["version"]) == (_FORMAT, 1)
            and fields["order"] == sys.byteorder
            and len(body) == 16 * count
            and fields["crc"] == crc32(body)
            and covered <= size
            and fields["proof"] == _proof(descriptor, covered)
        )
        if not same:
            raise ValueError
        keys, offsets = array("Q"), array("Q")
        keys.frombytes(body[: 8 * count])
        offsets.frombytes(body[8 * count :])
        runs = [(offset, run) for offset, run in fields["runs"]]
        self.lines = self._saved_lines = fields["lines"]
        self.covered, self.runs, self._sorted = covered, runs, (keys, offsets)

    def scan(self, path: str, descriptor: int) -> bytes:
        """Take in what the journal holds beyond what is covered.

        Returns:
            What follows the last newline, and so was not written to its end.

        Raises:
            JournalCorruptError: a line is damaged.
            OSError: it cannot be read.
        """
        rest = b""
        while chunk := os.pread(descriptor, CHUNK, self.covered + len(rest)):
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()
            self._take(path, lines)
        if rest and not self.lines:
            check_header(path, rest)
            raise corrupt(path, 0, 1)
        if intact(rest[:-1]) and not intact(rest):  # whole, but for the newline
            raise corrupt(path, self.covered, self.lines + 1)
        return rest

    def _take(self, path: str, lines: list[bytes]) -> None:
        if lines and not self.lines and not check_header(path, lines[0]):
            raise corrupt(path, 0, 1)
        offset = self.covered
        table = self._table
        for number, line in enumerate(lines, self.lines + 1):
            if line[:CRC] != b"%08x " % crc32(line[CRC:]):
                raise corrupt(path, offset, number)
            kind = line[CRC]
            if kind == _DONE:
                if line[43:44] == b" ":
                    table[int(line[11:27], 16)] = offset
                else:
                    table[_fingerprint(line[11 : line.index(b" ", 11)])] = offset
            elif kind == _BEGUN:
                self.runs.append((offset, str(parse(line).fields.get("run", ""))))
            offset += len(line) + 1
        self.covered = offset
        self.lines += len(lines)

    def find(self, key: bytes) -> int | None:
        """Offset of the line that may have the last result under *key*."""
        mark = _fingerprint(key)
        offset = self._table.get(mark)
        if offset is None:
            keys, offsets = self._sorted
            place = bisect_left(keys, mark)
            if place < len(keys) and keys[place] == mark:
                offset = offsets[place]
        return offset

    def run_at(self, offset: int) -> str:
        """The uid of the run that the line at *offset* belongs to."""
        begin, end, uid = self._last
        if begin <= offset < end:  # a resumed run asks for one run's results in a row
            return uid
        runs = self.runs
        place = bisect_right(runs, offset, key=lambda run: run[0])
        if not place:
            return ""
        begin, uid = runs[place - 1]
        self._last = begin, runs[place][0] if place < len(runs) else self.covered, uid
        return uid

    def worthwhile(self) -> bool:
        """Whether enough was found that the file does not have."""
        return self.lines - self._saved_lines >= WORTHWHILE

    def save(self, file: str, descriptor: int) -> Iterator[None]:
        """Write the index, in steps of some milliseconds each.

        Raises:
            OSError: it cannot be written; what was there before is still there.
        """
        buckets: list[list[int]] = [[] for _ in range(256)]
        marks = iter(self._table)
        while some := list(islice(marks, _SLICE)):
            for mark in some:
                buckets[mark >> 56].append(mark)
            yield
        keys, offsets = array("Q"), array("Q")
        for number, bucket in enumerate(buckets):
            merged = self._slice(number)
            merged.update(zip(bucket, map(self._table.__getitem__, bucket), strict=True))
            order = sorted(merged)
            keys.extend(order)
            offsets.extend(map(merged.__getitem__, order))
            yield
        self._write(file, descriptor, keys, offsets)
        self._saved_lines = self.lines
        self._sorted = keys, offsets  # before the dict goes: a reader looks there first
        self._table = {}

    def _slice(self, bucket: int) -> dict[int, int]:
        keys, offsets = self._sorted
        low = bisect_left(keys, bucket << 56)
        high = bisect_left(keys, (bucket + 1) << 56, low)
        return dict(zip(keys[low:high], offsets[low:high], strict=True))

    def _write(self, file: str, descriptor: int, keys: array[int], offsets: array[int]) -> None:
        body = keys.tobytes() + offsets.tobytes()
        fields = {
            "format": _FORMAT,
            "version": 1,
            "order": sys.byteorder,
            "count": len(keys),
            "crc": crc32(body),
            "covered": self.covered,
            "lines": self.lines,
            "proof": _proof(descriptor, self.covered),
            "runs": self.runs,
        }
        part = Path(f"{file}.part")
        try:
            part.unlink(missing_ok=True)
            part.touch(mode=0o600)
            with part.open("wb") as stream:
                stream.write(seal(f"I {json.dumps(fields)}"))
                stream.write(body)
            part.replace(file)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()
            raise


def corrupt(path: str, offset: int, line: int | None = None) -> JournalCorruptError:
    """The error for a damaged line; *offset* in bytes, *line* from 1."""
    where = "" if line is None else f"in line {line}, "
    return JournalCorruptError(
        f"journal {path} is damaged {where}at byte {offset}; "
        "radical.asyncflow.journal.repair(path) keeps all that is good"
    )


def _fingerprint(key: bytes) -> int:
    mark = int(key[:16], 16)
    return mark if len(key) == 32 else (mark + (crc32(key) << 32)) & _MASK


def _proof(descriptor: int, covered: int) -> str:
    """A hash that another journal, or this one rewritten, does not have."""
    end = min(covered, BLOCK)
    blocks = os.pread(descriptor, end, 0) + os.pread(descriptor, end, covered - end)
    return sha256(blocks).hexdigest()
