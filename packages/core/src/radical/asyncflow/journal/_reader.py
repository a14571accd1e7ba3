"""Read a journal, also one that is being written, was left by a kill, or is damaged."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic, time
from typing import Any, BinaryIO, NamedTuple

from .._public import public
from ..errors import JournalError
from ..model import LogLine, TaskTrace, TaskUsage
from ._file import system_message
from ._format import (
    CHECKSUM_LENGTH,
    HEADER,
    Calls,
    Line,
    check_header,
    damage_error,
    intact,
    parse,
    run_begun,
)
from ._lock import holder_of
from ._process import Process
from ._records import AttemptRecord, ErrorRecord, FunctionRecord, RunRecord, TaskRecord

__all__ = ["Damage", "life_of", "read", "record_of", "records"]

_UNKNOWN_RUN = "unknown"
"""The uid of a run whose first line is damaged."""


@public("radical.asyncflow.journal")
class Damage(NamedTuple):
    """A line that cannot be read.

    Attributes:
        line: its number, counted from 1.
        offset, length: its place in the file, in bytes, with its newline.
        reason: what is wrong with it.
    """

    line: int
    offset: int
    length: int
    reason: str


@public("radical.asyncflow.journal")
def read(
    path: str | os.PathLike[str], *, damage: list[Damage] | None = None
) -> tuple[RunRecord, ...]:
    """Return the runs in a journal, the oldest first.

    Another process may write the journal meanwhile.  Half a line at the end, as a kill
    leaves it, is passed over.

    Args:
        damage: a list that receives every other damaged line, which is then passed over too.

    Raises:
        JournalCorruptError: a line is damaged, and no *damage* was given.
        JournalFormatError: the file is no journal, or one of another version.
        JournalError: the file cannot be read.
    """
    path = os.fspath(path)
    try:
        if not Path(path).is_file():
            raise JournalError(f"there is no journal {path}")
        with Path(path).open("rb", buffering=1 << 18) as stream:
            found, runs, size = _read(path, stream, damage is None)
            last = runs[-1].life if runs else ""
            if last not in ("", "running") and os.fstat(stream.fileno()).st_size != size:
                # It was read while the run ended.  By now the rest is there.
                found, runs, _ = _read(path, stream, damage is None)
    except OSError as error:
        raise JournalError(f"journal {path} cannot be read: {system_message(error)}") from error
    if damage is not None:
        damage += found
    return runs


def _read(
    path: str, stream: BinaryIO, strict: bool
) -> tuple[list[Damage], tuple[RunRecord, ...], int]:
    """Return the damage, the runs, and the size of the file before these were read."""
    size = os.fstat(stream.fileno()).st_size
    stream.seek(0)
    damage: list[Damage] = []
    runs: list[_Run] = []
    for _ in records(path, stream, runs, None if strict else damage):
        pass
    return damage, tuple(at_present(path, runs)), size


def at_present(path: str, runs: Sequence[_Run]) -> Iterator[RunRecord]:
    """Yield the records of *runs*, all those of the journal *path*, with what they do now."""
    for number, run in enumerate(runs, 1):
        record = run.record()
        if not record.outcome:
            life = _life(path, run, record) if number == len(runs) else _earlier_life(run)
            record = record._replace(life=life[0], life_reason=life[1], seen=life[2])
        yield record


def life_of(path: str, begun: Mapping[str, Any], *, last: bool) -> tuple[str, str, float | None]:
    """Return *life*, *life_reason* and *seen* of a run without an end, as they are now.

    Args:
        begun: the fields of the first line of the run.
        last: whether no other run began in its journal later.
    """
    run = _Run(begun)
    return _life(path, run, run.record()) if last else _earlier_life(run)


def _life(path: str, run: _Run, record: RunRecord) -> tuple[str, str, float | None]:
    """Return *life*, *life_reason* and *seen* of the last run of a journal."""
    runs, reason = run.process.runs()
    holder = holder_of(path)
    if holder is None or holder.run != record.uid:
        if runs:
            return "unknown", f"{reason}, but it does not write this journal any more", None
        return "unknown" if runs is None else "killed", reason, None
    if runs:
        now = time() - record.begun if run.clock is None else monotonic() - run.clock
        return "running", reason, now
    return "unknown" if runs is None else "killed", reason, max(holder.seen - record.begun, 0.0)


def _earlier_life(run: _Run) -> tuple[str, str, float | None]:
    """Return the same of a run that another one followed in its journal."""
    runs, reason = run.process.runs()
    if runs:
        return "unknown", f"{reason}, but it does not write this journal any more", run.killed
    return "killed", "another run began in its journal later", run.killed


def records(
    path: str, stream: BinaryIO, runs: list[_Run], damage: list[Damage] | None
) -> Iterator[bytes]:
    """Yield the intact lines of *stream*, and add what they say to *runs*.

    The lines that this yields make up a journal again.

    Raises:
        JournalCorruptError, JournalFormatError: as for `read`.
        OSError: the file cannot be read.
    """
    offset = 0
    for number, line in enumerate(stream, 1):
        body = line.removesuffix(b"\n")
        if body is line:
            if number == 1 and HEADER.startswith(line):
                return
            if number == 1:
                check_header(path, line)
            elif intact(line) or not intact(line[:-1]):
                return  # torn; it is no whole line whose newline is another byte
        wrong = _take(path, number, body, runs) if body is not line else "it has no end"
        if wrong is None:
            yield line
        else:
            if damage is None:
                raise damage_error(path, offset, number)
            damage.append(Damage(number, offset, len(line), wrong))
            if number == 1:
                yield HEADER
            elif _may_begin_run(body):
                # The lines that follow do not belong to the run before.
                substitute = run_begun(_UNKNOWN_RUN, 0.0, "", 0, "", ())
                runs.append(_Run(parse(substitute[:-1]).fields))
                yield substitute
        offset += len(line)


def record_of(begun: Mapping[str, Any], lines: Iterable[Line], number: int) -> TaskRecord | None:
    """Return what some *lines* of a run say of the task *number*.

    Args:
        begun: the fields of the first line of the run.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: a field is missing or wrong.
    """
    run = _Run(begun)
    for line in lines:
        run.take(line)
    return run.record().tasks.get(number)


def _may_begin_run(body: bytes) -> bool:
    """Tell whether a damaged line may have been the first of a run."""
    kind = body[CHECKSUM_LENGTH : CHECKSUM_LENGTH + 2]
    return kind == b"B " or (b'"run":' in body and b'"wall":' in body)


def _take(path: str, number: int, body: bytes, runs: list[_Run]) -> str | None:
    """Add a line to *runs*, or return what is wrong with it."""
    if number == 1:
        return None if check_header(path, body) else "its checksum is wrong"
    if not intact(body):
        return "its checksum is wrong"
    try:
        line = parse(body)
        if line.kind == "B":
            runs.append(_Run(line.fields))
        elif runs:
            runs[-1].take(line)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"it is no record: {error!r}"
    return None


class _Run:
    """A run whose lines are being read.

    Attributes:
        clock: when it began, by the clock that the processes of its machine share; None if its
            first line does not say it.
        killed: its last sign of life in seconds after it began, if the run after it noted that.
    """

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._begun = RunRecord(
            uid=str(fields["run"]),
            begun=float(fields["wall"]),
            host=str(fields.get("host", "")),
            pid=int(fields.get("pid", 0)),
            python=str(fields.get("python", "")),
            program=tuple(map(str, fields.get("program", ()))),
        )
        self.process = Process.parse(fields)
        self.clock = float(fields["clock"]) if "clock" in fields else None
        self.killed: float | None = None
        self._environment: Mapping[str, Any] = {}
        self._ended: float | None = None
        self._outcome = ""
        self._backends: dict[str, dict[str, object]] = {}
        self._functions: dict[int, FunctionRecord] = {}
        self._called: dict[int, TaskRecord] = {}
        self._sent: dict[int, str] = {}
        self._tasks: dict[int, TaskRecord] = {}
        self._failed: dict[int, tuple[AttemptRecord, ...]] = {}

    def record(self) -> RunRecord:
        tasks = {**self._called, **self._tasks}
        for number, backend in self._sent.items():
            task = tasks.get(number)
            if task is not None and task.state == "PENDING":
                tasks[number] = task._replace(state="SUBMITTED", backend=backend)
        return self._begun._replace(
            ended=self._ended,
            outcome=self._outcome,
            backends=self._backends,
            functions=self._functions,
            tasks=dict(sorted(tasks.items())),
            environment=self._environment,
        )

    def take(self, line: Line) -> None:
        """Add what *line* says; ignore a kind that this release does not know.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: a field is missing or wrong.
        """
        fields = line.fields
        match line.kind:
            case "D" | "E":
                self._task_ended(line)
            case "C":
                for calls in fields["tasks"]:
                    self._tasks_called(Calls(*calls))
            case "G":
                first = fields.get("first", 0)
                numbers = fields.get("tasks") or range(first, first + fields["count"])
                self._sent.update(dict.fromkeys(numbers, fields["backend"]))
            case "S":
                self._task_started(fields)
            case "R":
                self._attempt_failed(fields)
            case "V":
                self._service_ended(fields)
            case "F":
                function = _function(fields)
                self._functions[function.number] = function
            case "U":
                self._backends[fields["backend"]] = {
                    "version": fields.get("version", ""),
                    "up": fields["t"],
                    "down": None,
                }
            case "N":
                backend = self._backends.setdefault(fields["backend"], {})
                backend["down"] = fields["t"]
                if "lost" in fields:
                    backend.update(lost=str(fields["lost"]), moved=int(fields.get("moved", 0)))
            case "K":
                if fields["run"] == self._begun.uid:
                    self.killed = max(float(fields["seen"]) - self._begun.begun, 0.0)
            case "I":
                self._environment = fields
            case "X":
                self._ended, self._outcome = float(fields["t"]), str(fields["outcome"])

    def _tasks_called(self, calls: Calls) -> None:
        task = TaskRecord(
            calls.first,
            self._function(calls.function),
            "PENDING",
            after=tuple(calls.after),
            workflow=calls.workflow,
            added=calls.added,
            block=calls.block,
        )
        for number in range(calls.first, calls.first + calls.size):
            if number not in self._tasks:
                self._called[number] = task._replace(number=number)

    def _leave_queue(self, number: int) -> TaskRecord | None:
        """Forget that *number* was called and sent, and return what was known of it."""
        self._sent.pop(number, None)
        return self._called.pop(number, None)

    def _task_ended(self, line: Line) -> None:
        fields = line.fields
        number = fields["task"]
        self._leave_queue(number)
        added, ready, started, ended = fields["t"]
        self._tasks[number] = TaskRecord(
            number,
            self._function(fields["f"]),
            "DONE" if line.kind == "D" else fields["state"],
            after=tuple(fields.get("after", ())),
            attempt=fields.get("attempt", 1),
            backend=fields.get("backend", ""),
            worker=fields.get("worker"),
            workflow=fields.get("workflow"),
            block=fields.get("block"),
            added=added,
            ready=ready,
            started=started,
            ended=ended,
            key=line.key or None,
            reused=fields.get("reused"),
            why=fields.get("why"),
            error=_error(fields["error"]) if "error" in fields else None,
            failed=self._failed.get(number, ()),
            exit_code=fields.get("exit"),
            stdout=fields.get("out"),
            stderr=fields.get("err"),
            result_bytes=_size(fields),
            unstored=fields.get("unstored"),
            arguments=fields.get("args"),
            logs=_logs(fields),
            cut=_cut(fields),
            usage=_usage(fields),
            paths=_paths(fields),
            serves=fields.get("serves") is True,
        )

    def _service_ended(self, fields: Mapping[str, Any]) -> None:
        number = fields["task"]
        task = self._tasks.get(number)
        if task is not None:  # else its line is damaged
            self._tasks[number] = task._replace(
                served=float(fields["t"]),
                exit_code=fields.get("exit"),
                stdout=fields.get("out"),
                stderr=fields.get("err"),
                logs=_logs(fields),
                cut=_cut(fields),
                usage=_usage(fields),
                paths=_paths(fields),
            )

    def _task_started(self, fields: Mapping[str, Any]) -> None:
        number = fields["task"]
        self._leave_queue(number)
        added, ready, started = fields["t"]
        self._tasks[number] = TaskRecord(
            number,
            self._function(fields["f"]),
            "RUNNING",
            after=tuple(fields.get("after", ())),
            attempt=fields.get("attempt", 1),
            backend=fields.get("backend", ""),
            worker=fields.get("worker"),
            workflow=fields.get("workflow"),
            block=fields.get("block"),
            added=added,
            ready=ready,
            started=started,
            failed=self._failed.get(number, ()),
        )

    def _attempt_failed(self, fields: Mapping[str, Any]) -> None:
        number = fields["task"]
        started, ended = fields["t"]
        attempt = AttemptRecord(
            fields.get("attempt", 1),
            started,
            ended,
            fields.get("worker"),
            _error(fields["error"]),
            TaskTrace(
                fields.get("out") or "",
                fields.get("err") or "",
                _logs(fields),
                _cut(fields),
                _usage(fields),
            ),
            fields.get("backend", ""),
        )
        failed = self._failed[number] = (*self._failed.get(number, ()), attempt)
        called = self._leave_queue(number)
        task = self._tasks.get(number) or called
        if task is None:
            task = TaskRecord(number, self._function(fields["f"]), "PENDING")
        self._tasks[number] = task._replace(
            state="PENDING", attempt=attempt.attempt + 1, started=None, failed=failed
        )

    def _function(self, number: int) -> FunctionRecord:
        known = self._functions.get(number)
        if known is None:  # its line is damaged
            known = FunctionRecord(int(number), "?", "function", "")
        return known


def _function(fields: Mapping[str, Any]) -> FunctionRecord:
    return FunctionRecord(
        int(fields["f"]),
        str(fields["name"]),
        str(fields["kind"]),
        str(fields.get("source", "")),
        str(fields.get("version", "")),
        str(fields.get("cache", "yes")),
        dict(fields.get("resources", {})),
        dict(fields.get("parts", {})),
    )


def _error(fields: Mapping[str, str]) -> ErrorRecord:
    return ErrorRecord(fields["type"], fields["text"], fields.get("traceback", ""))


def _logs(fields: Mapping[str, Any]) -> tuple[LogLine, ...]:
    return tuple([LogLine(*line) for line in fields.get("log", ())])


def _cut(fields: Mapping[str, Any]) -> tuple[int, int, int]:
    stdout, stderr, logs = fields.get("cut", (0, 0, 0))
    return stdout, stderr, logs


def _paths(fields: Mapping[str, Any]) -> tuple[str, str] | None:
    paths = fields.get("paths")
    return None if paths is None else (str(paths[0]), str(paths[1]))


def _usage(fields: Mapping[str, Any]) -> TaskUsage | None:
    usage = fields.get("use")
    return None if usage is None else TaskUsage(*usage)


def _size(fields: Mapping[str, Any]) -> int | None:
    if "value" in fields:
        value = fields["value"]
        return len(value) if isinstance(value, str) else 8
    size: int | None = fields.get("size")
    return size
