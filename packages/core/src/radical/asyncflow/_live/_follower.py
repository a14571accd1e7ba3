"""Follow a journal that another process writes, and keep a model of one of its runs."""

from __future__ import annotations

import json
import mmap
import os
import re
from collections.abc import Mapping
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any, Self

from ..errors import JournalError
from ..journal import AttemptRecord, ErrorRecord, FunctionRecord, TaskRecord
from ..journal._file import system_message
from ..journal._format import HEADER, Calls, Line, check_header, intact, parse
from ..journal._reader import life_of, record_of
from ._run import LiveRun, RunHeader

__all__ = ["Follower"]

CHUNK_BYTES = 1 << 20
"""Bytes that are read at once; a longer line is read at once, too."""

LOOK_S = 1.0
"""Seconds between two looks at the lock while nothing is written."""

REMEMBERED = 64
"""Bytes before the place reached so far, and at the beginning of the run, that must be the same
when reading goes on."""

_MAY_BEGIN = re.compile(rb"[^ ]* B |.*\"run\":.*\"wall\":", re.DOTALL)


class Follower:
    """One run in the journal *path*, the last one or *uid*, followed while it grows.

    Call `poll` again and again, in one thread, and `close` in the end, or use ``with``.  It
    reads nothing twice but a half-written line.  A run that begins later takes the place of the
    last one, unless *uid* names one.  If the journal was replaced, as a repair does it,
    everything begins anew.

    Attributes:
        run: the model; None until there is a run.  Another object when another run begins or
            the journal was replaced.
        damaged: the number of lines that could not be read.
        life, life_reason: as in `RunRecord`, as they were some moments ago at most.

    Raises:
        JournalFormatError: from `poll`: the file is no journal, or one of another version.
        JournalError: from `poll`: the file cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str], uid: str | None = None) -> None:
        self.path = os.fspath(path)
        self.run: LiveRun | None = None
        self.damaged = 0
        self._uid = uid
        self._descriptor = -1
        self._looked = -inf
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.close()
        self.run = None
        self.damaged = 0
        self._offset = 0
        self._begin: Mapping[str, Any] = {}
        self._functions: list[Line] = []
        self._service_ends: dict[int, Line] = {}
        self._begin_at = 0
        self._remembered = b"", b""
        self._others = False
        self.life = self.life_reason = ""
        self._seen: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; `poll` opens it again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def state(self) -> str:
        """The same as `RunRecord.state`; "" without a run."""
        if self.run is None:
            return ""
        return self.run.outcome or self.life or "unknown"

    @property
    def now(self) -> float:
        """The seconds since the run began, or until the last moment that is known of it."""
        run = self.run
        if run is None:
            return 0.0
        if run.ended is not None:
            return run.ended
        seen = 0.0 if self._seen is None else self._seen
        if self.life == "running":
            seen += monotonic() - self._looked
        return max(run.latest, seen)

    @property
    def behind(self) -> int:
        """The bytes in the file that are still to be read."""
        if self._descriptor < 0:
            return 0
        return max(os.fstat(self._descriptor).st_size - self._offset, 0)

    def poll(self, seconds: float = 0.1) -> bool:
        """Take in what was written since the last call, for about so many *seconds* at most.

        Returns:
            Whether anything changed; `behind` tells whether more is to be read.
        """
        try:
            changed = self._reopen()
            end = monotonic() + seconds
            while self._descriptor >= 0 and self._read():
                changed = True
                if monotonic() > end:
                    break
        except OSError as error:
            raise JournalError(
                f"journal {self.path} cannot be read: {system_message(error)}"
            ) from error
        if self.run is not None:
            self.run.trim()
        return self._look(changed) or changed

    def task(self, number: int) -> TaskRecord | None:
        """Return all that the journal says of the task *number*; None if it says nothing.

        This reads its last line once more, for the error, the output and the like.
        """
        run = self.run
        if run is None or not run.state_of(number):
            return None
        known = run.record(number)
        offset = run.columns.offset[number]
        if offset < 0 or self._descriptor < 0:
            return known
        line = self._line_at(offset)
        if not intact(line):
            return known
        end = self._service_ends.get(number)
        lines = [*self._functions, parse(line), *([] if end is None else [end])]
        found = record_of(self._begin, lines, number)
        return known if found is None else found._replace(failed=run.attempts_of(number))

    # ------------------------------------------------------------------- the file

    def _reopen(self) -> bool:
        """Open the file if that is due, and tell whether everything began anew."""
        try:
            there = Path(self.path).stat()
        except FileNotFoundError:
            return False  # not yet, or not any more: what was read stays
        anew = False
        if self._descriptor >= 0:
            if self._is_same(there):
                return False
            self._begin_anew()
            anew = True
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        head = os.pread(descriptor, len(HEADER), 0)
        if len(head) < len(HEADER) and HEADER.startswith(head):
            os.close(descriptor)  # not written yet
            return anew
        try:
            check_header(self.path, head.rstrip(b"\n"))
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        self._offset = self._place_to_begin(descriptor)
        self._remembered = self._marks()
        return anew

    def _is_same(self, there: os.stat_result) -> bool:
        """Tell whether the file goes on where reading stopped."""
        own = os.fstat(self._descriptor)
        if not os.path.samestat(own, there) or own.st_size < self._offset:
            return False
        return self._marks() == self._remembered

    def _marks(self) -> tuple[bytes, bytes]:
        """Return the bytes by which a file is known again that was changed in place."""
        length = min(REMEMBERED, self._offset)
        return (
            os.pread(self._descriptor, REMEMBERED, self._begin_at),
            os.pread(self._descriptor, length, self._offset - length),
        )

    def _place_to_begin(self, descriptor: int) -> int:
        """Return where the first line of the run begins, so that others need not be read."""
        size = os.fstat(descriptor).st_size
        with mmap.mmap(descriptor, size, prot=mmap.PROT_READ) as data:
            words = b' B {"run":'
            if self._uid is not None:
                words += json.dumps(self._uid).encode("ascii")
            end = size
            while (found := data.rfind(words, 0, end)) >= 0:
                start = data.rfind(b"\n", 0, found) + 1
                stop = data.find(b"\n", found)
                if stop >= 0 and intact(data[start:stop]):
                    return start
                end = found
            return data.find(b"\n") + 1

    def _read(self) -> bool:
        """Read and take in the next lines, and tell whether there were any."""
        length = CHUNK_BYTES
        while True:
            data = os.pread(self._descriptor, length, self._offset)
            stop = data.rfind(b"\n") + 1
            if stop or len(data) < length:
                break
            length *= 4
        if not stop:
            return False
        offset = self._offset
        for line in data[: stop - 1].split(b"\n"):
            self._take(line, offset)
            offset += len(line) + 1
        self._offset = offset
        self._remembered = self._marks()
        return True

    def _line_at(self, offset: int) -> bytes:
        length = 1 << 14
        while True:
            data = os.pread(self._descriptor, length, offset)
            end = data.find(b"\n")
            if end >= 0 or len(data) < length:
                return data[:end] if end >= 0 else data
            length *= 8

    # ------------------------------------------------------------------- the lines

    def _take(self, body: bytes, offset: int) -> None:
        """Take in one line; count it as damaged if it is no record."""
        if not intact(body):
            self._take_damaged(body, offset)
            return
        try:
            line = parse(body)
            if line.kind == "B":
                self._begin_run(line.fields, offset)
            elif self.run is not None and not self._others:
                self._take_line(self.run, line, offset)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            self.damaged += 1

    def _take_damaged(self, body: bytes, offset: int) -> None:
        self.damaged += 1
        if _MAY_BEGIN.match(body):
            # The lines that follow do not belong to the run before.
            self._begin_run({"run": "unknown", "wall": 0.0}, offset)

    def _begin_run(self, fields: Mapping[str, Any], offset: int) -> None:
        uid = str(fields["run"])
        if self._uid is not None and uid != self._uid:
            self._others = True
            return
        self._others = False
        self._begin, self._begin_at, self._functions = fields, offset, []
        self._service_ends = {}
        self._looked = -inf
        self.life = self.life_reason = ""
        self._seen = None
        header = RunHeader(
            uid,
            float(fields["wall"]),
            host=str(fields.get("host", "")),
            pid=int(fields.get("pid", 0)),
            python=str(fields.get("python", "")),
            program=tuple(map(str, fields.get("program", ()))),
        )
        self.run = LiveRun(header)

    def _take_line(self, run: LiveRun, line: Line, offset: int) -> None:
        """Tell *run* what *line* says; ignore a kind that this release does not know."""
        fields = line.fields
        match line.kind:
            case "D" | "E":
                _task_ended(run, line, offset)
            case "C":
                for each in fields["tasks"]:
                    calls = Calls(*each)
                    run.called(
                        calls.first,
                        calls.size,
                        calls.function,
                        calls.added,
                        calls.after,
                        calls.workflow,
                    )
            case "G":
                first = fields.get("first", 0)
                numbers = fields.get("tasks") or range(first, first + fields["count"])
                run.sent(fields["backend"], numbers, fields["t"])
            case "S":
                run.started(fields["task"], fields["f"], fields["t"], **_whereabouts(fields))
            case "R":
                started, ended = fields["t"]
                attempt = AttemptRecord(
                    fields.get("attempt", 1),
                    started,
                    ended,
                    fields.get("worker"),
                    _error(fields["error"]),
                )
                run.attempt_failed(fields["task"], fields["f"], attempt)
            case "V":
                self._service_ends[fields["task"]] = line
                run.service_ended(fields["task"], fields["t"])
            case "F":
                self._functions.append(line)
                record = FunctionRecord(
                    int(fields["f"]), str(fields["name"]), str(fields["kind"]), ""
                )
                run.function(record._replace(resources=dict(fields.get("resources", {}))))
            case "U":
                run.backend_up(fields["backend"], fields.get("version", ""), fields["t"])
            case "N":
                lost, moved = str(fields.get("lost", "")), int(fields.get("moved", 0))
                run.backend_down(fields["backend"], fields["t"], lost, moved)
            case "X":
                run.end(float(fields["t"]), str(fields["outcome"]))

    def _look(self, changed: bool) -> bool:
        """Look whether the program lives, if that may have changed; return whether it has."""
        before = self.life
        if self.run is None or self.run.outcome:
            self.life, self.life_reason = "", ""
        elif monotonic() - self._looked >= LOOK_S or (changed and before != "running"):
            found = self._life()
            if found[0] != "running" and self._descriptor >= 0 and self._read():
                found = self._life()  # it had written something more, perhaps its end
            self._looked = monotonic()
            self.life, self.life_reason, self._seen = found
        return self.life != before

    def _life(self) -> tuple[str, str, float | None]:
        if self.run is None or self.run.outcome:
            return "", "", None
        return life_of(os.path.realpath(self.path), self._begin, last=not self._others)


def _task_ended(run: LiveRun, line: Line, offset: int) -> None:
    fields = line.fields
    number = fields["task"]
    state = "DONE" if line.kind == "D" else fields["state"]
    run.task_ended(
        number,
        fields["f"],
        state,
        fields["t"],
        reused=fields.get("reused"),
        offset=offset,
        **_whereabouts(fields),
    )
    if fields.get("serves") and state == "DONE":
        run.service_up(number)
    if state == "FAILED":
        run.describe_failure(
            number,
            _error(fields["error"]) if "error" in fields else None,
            exit_code=fields.get("exit"),
            stdout=fields.get("out"),
            stderr=fields.get("err"),
            arguments=fields.get("args"),
        )


def _whereabouts(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "attempt": fields.get("attempt", 1),
        "backend": fields.get("backend", ""),
        "worker": fields.get("worker"),
        "after": fields.get("after", ()),
        "workflow": fields.get("workflow"),
    }


def _error(fields: Mapping[str, str]) -> ErrorRecord:
    return ErrorRecord(fields["type"], fields["text"], fields.get("traceback", ""))
