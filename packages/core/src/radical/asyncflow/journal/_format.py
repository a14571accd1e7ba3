"""The lines of a journal: how to make one, and how to read one.

A line is ``CRC KIND [KEY] JSON`` in ASCII and ends with a newline.  CRC is the CRC-32 of
everything behind it and its space, as eight lowercase hexadecimal digits.  The kinds::

    H  head of the file: format and version
    B  a run begins; all lines up to the next B belong to it
    U  a backend came up            N  a backend went down
    I  the environment of the run: its program, packages, commit, folder, host and user
    F  a function, before its first task
    C  tasks were called, which had not ended when this line was written
    G  a batch of tasks was given to a backend
    S  a task is running: it had not ended when this line was written
    R  an attempt failed, and another follows
    D  a task is done, and its result can be recalled by KEY
    E  a task ended in any other way; KEY is ``-`` if the task has no identity
    V  a service ended, which was done when it was up
    X  the run ended
    K  the run was killed: the next run of the journal writes this before its own lines

Readers ignore kinds and fields that they do not know, so a new one needs no new
version.  Times are seconds since the run began.  The functions that make lines may be
called from any thread, and take a few microseconds.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from zlib import crc32

from ..errors import JournalCorruptError, JournalFormatError
from ..model import TaskTrace, TaskUsage
from ._process import Process
from ._records import ErrorRecord, FunctionRecord

__all__ = [
    "CHECKSUM_LENGTH",
    "FORMAT",
    "HEADER",
    "VERSION",
    "Calls",
    "Line",
    "attempt_failed",
    "backend_down",
    "backend_up",
    "check_header",
    "damage_error",
    "function_used",
    "intact",
    "parse",
    "run_begun",
    "run_ended",
    "run_environment",
    "run_killed",
    "scalar",
    "seal",
    "service_ended",
    "task_done",
    "task_ended",
    "task_reused",
    "task_started",
    "tasks_called",
    "tasks_sent",
    "unstored",
]

FORMAT = "asyncflow-journal"
VERSION = 1
CHECKSUM_LENGTH = 9
"""Bytes of the checksum and of the space behind it."""

_dumps = json.JSONEncoder(separators=(",", ":")).encode
_INT_LIMIT = 1 << 63
MAX_TEXT = 1024
"""Characters of a text that a record holds as it is; a longer one is pickled."""
_LOOKS_LIKE_HEADER = re.compile(rb'[0-9a-f]{8} H \{"format":"asyncflow-journal",')

Times3 = tuple[float | None, float | None, float | None]
Times4 = tuple[float | None, float | None, float | None, float | None]


def seal(text: str) -> bytes:
    """Return *text* as a line, with its checksum and a newline.

    Raises:
        UnicodeEncodeError: *text* is not ASCII.
    """
    data = text.encode("ascii")
    return b"%08x %b\n" % (crc32(data), data)


HEADER = seal(f'H {{"format":"{FORMAT}","version":{VERSION}}}')


def run_begun(
    run: str,
    wall: float,
    host: str,
    pid: int,
    python: str,
    program: Sequence[str],
    *,
    process: Process | None = None,
    clock: float | None = None,
) -> bytes:
    """Make the line of a run that begins; *wall* is seconds since the epoch.

    Args:
        process: what tells its process from others with the same number.
        clock: the same moment by the clock that all processes of the machine share.
    """
    fields: dict[str, object] = {
        "run": run,
        "wall": wall,
        "host": host,
        "pid": pid,
        "python": python,
        "program": list(program),
    }
    if process is not None:
        fields.update(process._asdict())
    if clock is not None:
        fields["clock"] = clock
    return seal(f"B {_dumps(fields)}")


def run_environment(environment: Mapping[str, object]) -> bytes:
    """Make the line of the environment of a run, as `RunRecord` describes it."""
    return seal(f"I {_dumps(environment)}")


def run_ended(time: float, outcome: str) -> bytes:
    """Make the line of a run that ended "done", "failed", "cancelled" or "preempted"."""
    return seal(f'X {{"t":{time:.6f},"outcome":{_quote(outcome)}}}')


def run_killed(run: str, seen: float) -> bytes:
    """Make the line of the *run* before, which left no end; *seen* is its last sign of life.

    Args:
        seen: seconds since the epoch.
    """
    return seal(f'K {{"run":{_dumps(run)},"seen":{seen:.6f}}}')


def backend_up(name: str, version: str, time: float) -> bytes:
    """Make the line of a backend that came up."""
    return seal(f'U {{"backend":{_quote(name)},"version":{_quote(version)},"t":{time:.6f}}}')


def backend_down(name: str, time: float, *, lost: str = "", moved: int = 0) -> bytes:
    """Make the line of a backend that went down.

    Args:
        lost: the reason, if it was lost.
        moved: the number of its tasks that went on elsewhere.
    """
    text = f'N {{"backend":{_quote(name)},"t":{time:.6f}'
    if lost:
        text = f'{text},"lost":{_quote(lost)},"moved":{moved}'
    return seal(text + "}")


def function_used(function: FunctionRecord) -> bytes:
    """Make the line of a function; write it before the line of its first task."""
    fields: dict[str, object] = {
        "f": function.number,
        "name": function.name,
        "kind": function.kind,
        "source": function.source,
        "cache": function.cache,
    }
    if function.version:
        fields["version"] = function.version
    if function.resources:
        fields["resources"] = dict(function.resources)
    if function.parts:
        fields["parts"] = dict(function.parts)
    return seal(f"F {_dumps(fields)}")


class Calls(NamedTuple):
    """Calls of one function that came one after the other, or a single one.

    Attributes:
        first: the number of the first; those of the others follow it.
        added: the time of the first.
        size: how many they are.
        after, workflow: as in `TaskRecord`, only for a single call.
        block: as in `TaskRecord`, for all of them.
    """

    first: int
    function: int
    added: float
    size: int
    after: Sequence[int] = ()
    workflow: str | None = None
    block: int | None = None


def tasks_called(calls: Iterable[Calls]) -> bytes:
    """Make the line of tasks that were called."""
    return seal(f'C {{"tasks":[{",".join(map(_calls, calls))}]}}')


def _calls(calls: Calls) -> str:
    first, function, added, size, after, workflow, block = calls
    text = f"[{first},{function},{added:.6f},{size}"
    if block is not None:
        name = "null" if workflow is None else _quote(workflow)
        return f"{text},[{','.join(map(str, after))}],{name},{block}]"
    if after or workflow is not None:
        text = f"{text},[{','.join(map(str, after))}]"
    return f"{text}]" if workflow is None else f"{text},{_quote(workflow)}]"


def tasks_sent(backend: str, numbers: Sequence[int], time: float) -> bytes:
    """Make the line of the tasks *numbers*, which *backend* was given in one batch."""
    text = f'G {{"t":{time:.6f},"backend":{_quote(backend)}'
    first, count = numbers[0], len(numbers)
    if count > 1 and numbers[-1] == first + count - 1 and _consecutive(numbers):
        return seal(f'{text},"first":{first},"count":{count}}}')
    return seal(f'{text},"tasks":[{",".join(map(str, numbers))}]}}')


def _consecutive(numbers: Sequence[int]) -> bool:
    return list(numbers) == list(range(numbers[0], numbers[0] + len(numbers)))


def task_started(
    number: int,
    function: int,
    times: Times3,
    *,
    attempt: int = 1,
    backend: str = "",
    worker: str | None = None,
    after: Sequence[int] = (),
    workflow: str | None = None,
    block: int | None = None,
) -> bytes:
    """Make the line of a running task; *times* are those of its call, readiness and start."""
    rest = _whereabouts(attempt, backend, worker, after, workflow, block)
    return seal(f'S {{"task":{number},"f":{function},"t":{_times(times)}{rest}}}')


def attempt_failed(
    number: int,
    function: int,
    started: float | None,
    ended: float,
    error: ErrorRecord,
    *,
    attempt: int = 1,
    backend: str = "",
    worker: str | None = None,
    trace: TaskTrace | None = None,
) -> bytes:
    """Make the line of a failed attempt that another one follows, maybe on another backend."""
    times = _times((started, ended))
    rest = _whereabouts(attempt, backend, worker, (), None, None)
    if trace is not None:
        rest += _printed(trace.stdout or None, trace.stderr or None) + _trace(trace)
    return seal(f'R {{"task":{number},"f":{function},"t":{times}{rest},"error":{_error(error)}}}')


def task_ended(
    number: int,
    function: int,
    state: str,
    times: Times4,
    *,
    key: str | None = None,
    result: str = "",
    attempt: int = 1,
    backend: str = "",
    worker: str | None = None,
    after: Sequence[int] = (),
    workflow: str | None = None,
    block: int | None = None,
    place: str = "",
    arguments: str | None = None,
    reused: str | None = None,
    why: str | None = None,
    error: ErrorRecord | None = None,
    exit_code: int | None = None,
    stdout: str | None = None,
    stderr: str | None = None,
    paths: tuple[str, str] | None = None,
    serves: bool = False,
    files: Sequence[Any] = (),
    facts: Sequence[Any] = (),
    trace: TaskTrace | None = None,
) -> bytes:
    """Make the line of a task that ended.

    Args:
        state: "DONE", "FAILED" or "CANCELLED".
        times: of its call, readiness, start and end.
        key: its identity: 32 lowercase hexadecimal digits, which ``.1``, ``.2`` may follow.
        result: what `JournalWriter.store` or `scalar` returned; "" to keep no result.
        block: the number of the block that called it.
        place: the same, told apart from run to run; recalled together with the result.
        arguments: the arguments of the call, as text.
        reused: ``"RUN/NUMBER"`` of the task whose result it was given.
        why: why it was not given an earlier result.
        paths: the files that have its stdout and stderr.
        serves: it is a service that is up.
        files: any JSON values to recall together with the result.
        trace: what it printed, logged and used, beside *stdout* and *stderr* of a command.
        facts: the same, for the things outside of the program that it depends on.
    """
    text = f'"f":{function},"t":{_four_times(times)}'
    if backend:
        text = f'{text},"backend":{_quote(backend)}'
    if worker is not None:
        text = f'{text},"worker":{_quote(worker)}'
    if attempt != 1 or after or workflow is not None or block is not None:
        text += _whereabouts(attempt, "", None, after, workflow, block)
    if place:
        text = f'{text},"in":"{place}"'
    if arguments is not None:
        text = f'{text},"args":{_dumps(arguments)}'
    if why is not None:
        text = f'{text},"why":{_quote(why)}'
    if exit_code is not None:
        text = f'{text},"exit":{exit_code}'
    if trace is not None:
        stdout = trace.stdout or None if stdout is None else stdout
        stderr = trace.stderr or None if stderr is None else stderr
        text += _trace(trace)
    text += _printed(stdout, stderr)
    if paths is not None:
        text = f'{text},"paths":{_dumps(paths)}'
    if serves:
        text = f'{text},"serves":true'
    if files:
        text = f'{text},"files":{_dumps(list(files))}'
    if facts:
        text = f'{text},"facts":{_dumps(list(facts))}'
    stored = result and not result.startswith('"unstored"')
    if stored and key is not None and reused is None and state == "DONE":
        # Task and result come first: whoever recalls them need not parse the rest.
        return seal(f'D {key} {{"task":{number},{result},{text}}}')
    return _ended_otherwise(number, state, key, text, result, reused, error)


def task_done(
    number: int,
    function: int,
    times: tuple[float, float, float, float],
    *,
    key: str,
    result: str,
    backend: str,
    worker: str,
    usage: TaskUsage | None = None,
) -> bytes:
    """Make the line of a task that is done and has nothing else to record.

    The line is the same as that of `task_ended`, in half the time.
    """
    text = (
        'D %s {"task":%d,%s,"f":%d,"t":[%.6f,%.6f,%.6f,%.6f],"backend":%s,"worker":%s%s}'  # noqa: UP031
        % (
            *(key, number, result, function, *times),
            *(_quote(backend), _quote(worker), "" if usage is None else _usage(usage)),
        )
    )
    data = text.encode("ascii")
    return b"%08x %b\n" % (crc32(data), data)


def service_ended(
    number: int,
    ended: float,
    *,
    exit_code: int | None = None,
    stdout: str | None = None,
    stderr: str | None = None,
    paths: tuple[str, str] | None = None,
    trace: TaskTrace | None = None,
) -> bytes:
    """Make the line of a service that ended, some time after the line that it was up."""
    text = f'V {{"task":{number},"t":{ended:.6f}'
    if exit_code is not None:
        text = f'{text},"exit":{exit_code}'
    if trace is not None:
        stdout = trace.stdout or None if stdout is None else stdout
        stderr = trace.stderr or None if stderr is None else stderr
        text += _trace(trace)
    text += _printed(stdout, stderr)
    if paths is not None:
        text = f'{text},"paths":{_dumps(paths)}'
    return seal(f"{text}}}")


def task_reused(
    number: int,
    function: int,
    added: float,
    ready: float,
    ended: float,
    *,
    key: str,
    reused: str,
    backend: str,
) -> bytes:
    """Make the line of a task that was given an earlier result and has nothing else to record.

    The line is the same as that of `task_ended`, in half the time.
    """
    text = (
        'E %s {"task":%d,"state":"DONE","f":%d,"t":[%.6f,%.6f,null,%.6f],"backend":%s,"reused":%s}'  # noqa: UP031
        % (key, number, function, added, ready, ended, _quote(backend), _dumps(reused))
    )
    data = text.encode("ascii")
    return b"%08x %b\n" % (crc32(data), data)


def scalar(value: object) -> str | None:
    """Return the result field of a *value* that JSON keeps exactly; None for any other."""
    kind = type(value)
    if value is None:
        return '"value":null'
    if kind is int:
        return f'"value":{value}' if -_INT_LIMIT <= value < _INT_LIMIT else None  # type: ignore[operator]
    if kind is bool:
        return '"value":true' if value else '"value":false'
    if kind is float:
        return f'"value":{value!r}' if math.isfinite(value) else None  # type: ignore[arg-type]
    # Beyond ASCII, JSON would join two surrogates that were apart.
    if kind is str and len(value) <= MAX_TEXT and value.isascii():  # type: ignore[arg-type, attr-defined]
        return f'"value":{_dumps(value)}'
    return None


def unstored(reason: str) -> str:
    """Return the result field of a value that is not kept."""
    return f'"unstored":{_dumps(reason)}'


@lru_cache(maxsize=4096)
def _quote(text: str) -> str:
    return _dumps(text)


def _printed(stdout: str | None, stderr: str | None) -> str:
    if stdout is None and stderr is None:
        return ""
    return f',"out":{_dumps(stdout)},"err":{_dumps(stderr)}'


def _trace(trace: TaskTrace) -> str:
    """Return the fields of *trace*, but for what was printed."""
    text = "" if trace.usage is None else _usage(trace.usage)
    if trace.logs:
        text = f'{text},"log":{_dumps(trace.logs)}'
    if any(trace.cut):
        text = f'{text},"cut":{_dumps(trace.cut)}'
    return text


def _usage(usage: TaskUsage) -> str:
    cpu, peak, read, written = usage
    if peak is None and read is None and written is None and cpu is not None:
        return ',"use":[%.6f]' % cpu  # noqa: UP031 - faster
    cpu = None if cpu is None else round(cpu, 6)
    return f',"use":{_dumps([cpu, peak, read, written])}'


def _ended_otherwise(
    number: int,
    state: str,
    key: str | None,
    text: str,
    result: str,
    reused: str | None,
    error: ErrorRecord | None,
) -> bytes:
    """Make the line of a task that leaves no result to recall."""
    if reused is not None:
        text = f'{text},"reused":{_dumps(reused)}'
    if error is not None:
        text = f'{text},"error":{_error(error)}'
    if result:
        text = f"{text},{result}"
    return seal(f'E {key or "-"} {{"task":{number},"state":"{state}",{text}}}')


def _four_times(times: Times4) -> str:
    added, ready, started, ended = times
    if added is None or ready is None or ended is None:
        return _times(times)
    if started is None:
        return "[%.6f,%.6f,null,%.6f]" % (added, ready, ended)  # noqa: UP031 - faster
    return "[%.6f,%.6f,%.6f,%.6f]" % (added, ready, started, ended)  # noqa: UP031 - faster


def _times(times: Sequence[float | None]) -> str:
    return f"[{','.join('null' if time is None else f'{time:.6f}' for time in times)}]"


def _error(error: ErrorRecord) -> str:
    fields = {"type": error.type, "text": error.text}
    if error.traceback:
        fields["traceback"] = error.traceback
    return _dumps(fields)


def _whereabouts(
    attempt: int,
    backend: str,
    worker: str | None,
    after: Sequence[int],
    workflow: str | None,
    block: int | None,
) -> str:
    text = ""
    if attempt != 1:
        text = f'{text},"attempt":{attempt}'
    if backend:
        text = f'{text},"backend":{_quote(backend)}'
    if worker is not None:
        text = f'{text},"worker":{_quote(worker)}'
    if after:
        text = f'{text},"after":[{",".join(map(str, after))}]'
    if workflow is not None:
        text = f'{text},"workflow":{_quote(workflow)}'
    if block is not None:
        text = f'{text},"block":{block}'
    return text


class Line(NamedTuple):
    """A parsed line; *key* is "" where the kind has none or the task has no identity."""

    kind: str
    key: str
    fields: Mapping[str, Any]


def intact(line: bytes) -> bool:
    """Tell whether *line*, given without its newline, is as it was written."""
    return line[:CHECKSUM_LENGTH] == b"%08x " % crc32(line[CHECKSUM_LENGTH:])


def parse(line: bytes) -> Line:
    """Parse an `intact` *line*, given without its newline.

    Raises:
        ValueError: the line holds no record.
    """
    kind, _, rest = line[CHECKSUM_LENGTH:].decode("ascii").partition(" ")
    key = ""
    if not rest.startswith("{"):
        key, _, rest = rest.partition(" ")
    fields = json.loads(rest)
    if not isinstance(fields, dict):
        raise ValueError(f"a record holds {rest[:40]!r} where fields should be")
    return Line(kind, "" if key == "-" else key, fields)


def check_header(path: str, line: bytes) -> bool:
    """Tell whether *line*, the first of the file without its newline, is intact.

    Raises:
        JournalFormatError: the file is no journal, or one of another version.
    """
    if not _LOOKS_LIKE_HEADER.match(line) and not _nearly(line):
        raise JournalFormatError(
            f"{path} is not a journal of asyncflow and was not changed: name another file"
        )
    if not intact(line):
        return False
    version = parse(line).fields.get("version")
    if version != VERSION:
        raise JournalFormatError(
            f"journal {path} has format version {version}, but this release of radical.asyncflow "
            f"reads and writes version {VERSION}: use the release that wrote it, or a new journal"
        )
    return True


def damage_error(path: str, offset: int, line: int | None = None) -> JournalCorruptError:
    """Return the error for a damaged line; *offset* in bytes, *line* counted from 1."""
    where = "" if line is None else f"in line {line}, "
    return JournalCorruptError(
        f"journal {path} is damaged {where}at byte {offset}: "
        "radical.asyncflow.journal.repair(path) keeps everything that is good"
    )


def _nearly(line: bytes) -> bool:
    """Tell whether *line* is the header but for a few damaged bytes."""
    wrong = sum(ours != theirs for ours, theirs in zip(HEADER, line, strict=False))
    return len(line) >= len(HEADER) - 1 and wrong <= 4
