"""The writer of a journal, which has a thread of its own and recalls results of earlier runs."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Literal, TypeVar

from .._public import public
from .._text import safe_str
from ..errors import ConfigurationError, JournalError
from ._blobs import ResultStore
from ._file import open_for_writing, system_message
from ._format import CHECKSUM_LENGTH, HEADER, damage_error, intact, run_killed
from ._index import ResultIndex
from ._lock import HEARTBEAT_S, JournalLock
from ._recalled import Damaged, Recalled

__all__ = ["Journal", "JournalWriter", "Record"]

log = logging.getLogger("radical.asyncflow")

Record = bytes | Callable[[], bytes]
"""A line, or a function that the writer's thread calls to make one."""

_T = TypeVar("_T")
_BLOCK_BYTES = 1 << 16
_sync = getattr(os, "fdatasync", os.fsync)
_open_writers: weakref.WeakSet[JournalWriter] = weakref.WeakSet()


@public("radical.asyncflow.journal")
@dataclass(frozen=True)
class Journal:
    """The settings of a journal: where runs are recorded, and how.

    Args:
        path: the file; it and its parent folders are made if they are missing.
        on_error: what happens when the file can no longer be written: the run goes on
            ("continue") or fails ("fail").
        inline_limit: the largest pickled result, in bytes, that stands in the file itself;
            a larger one becomes a file in the folder ``PATH.results``.
        result_limit: the largest pickled result, in bytes, that is kept at all.
        arguments: which arguments of tasks are recorded: ``"failed"`` for those of tasks that
            fail, as short text without large values; True for those of all tasks, as Python
            writes them, and for the commands in errors; False for none.
        sync_seconds: seconds between two times that the file is forced to the disk, so
            that it survives a failure of the machine; None leaves that to the system.
        ignore_versions: the installed distributions whose versions do not count when
            results are reused, such as ``["numpy"]``; True for all.  "python" stands for
            the standard library.
        output: whether what functions print and log is recorded: the last 4,000 characters of
            each stream and of the records of `logging`.
        usage: whether it is recorded what tasks use: CPU time, peak memory, bytes.
        mask_secrets: whether ``***`` is recorded for those arguments of the program that
            look like secrets, such as the value of ``--token`` or a password in a URL; and for
            such arguments of tasks that fail.

    Raises:
        ConfigurationError: a setting is wrong.
    """

    path: str | os.PathLike[str]
    on_error: str = "continue"
    inline_limit: int = 1 << 16
    result_limit: int = 1 << 30
    arguments: bool | Literal["failed"] = "failed"
    sync_seconds: float | None = 1.0
    ignore_versions: bool | Collection[str] = False
    mask_secrets: bool = True
    output: bool = True
    usage: bool = True

    def __post_init__(self) -> None:
        wrong = []
        if self.on_error not in ("continue", "fail"):
            wrong.append(f"on_error must be 'continue' or 'fail', not {self.on_error!r}")
        if self.arguments not in (True, False, "failed"):
            wrong.append(f"arguments must be True, False or 'failed', not {self.arguments!r}")
        limits = {"inline_limit": self.inline_limit, "result_limit": self.result_limit}
        wrong += [
            f"{name} must be a number of bytes, 0 or more, not {limit!r}"
            for name, limit in limits.items()
            if limit < 0
        ]
        if self.sync_seconds is not None and not self.sync_seconds >= 0:
            wrong.append(f"sync_seconds must be 0 or more, or None, not {self.sync_seconds!r}")
        ignored = self.ignore_versions
        names = not isinstance(ignored, bool | str) and isinstance(ignored, Collection)
        if not isinstance(ignored, bool) and not (
            names and all(isinstance(name, str) for name in ignored)
        ):
            wrong.append(
                f"ignore_versions must be a list of distributions, True or False, not {ignored!r}"
            )
        if wrong:
            raise ConfigurationError("; ".join(wrong))


class JournalWriter:
    """The writer of the journal of one run.

    `open` and `close` block.  Any thread may call the other methods; they do not wait for
    the disk, except that `store` writes large results.  The writer's thread calls the
    callbacks: set them before `open`.

    Args:
        run: the uid of the run; the error that a second writer gets names it.

    Attributes:
        path: the file, as an absolute path without links.
        on_written: called after each write with the number that the last `append` of it
            returned: everything up to that number is in the file.  After an error it is
            still called, although nothing is written.
        on_failed: called once with `error` when writing stops.  `close` itself calls it
            if it had to wait too long.
        error: why nothing is written any more; None while the journal works.
    """

    def __init__(self, journal: Journal, *, run: str) -> None:
        self.path = os.path.realpath(journal.path)
        self.error: JournalError | None = None
        self.on_written: Callable[[int], None] = _ignore
        self.on_failed: Callable[[JournalError], None] = _ignore
        self._sync_seconds = journal.sync_seconds
        self._results = ResultStore(
            f"{self.path}.results", journal.inline_limit, journal.result_limit
        )
        self._lock = JournalLock(self.path, run)
        self._index = ResultIndex()
        self._descriptor = -1
        self._block = 0, b""
        self._end = 0
        self._wake = threading.Condition(threading.Lock())
        self._queue: list[Sequence[Record]] = []
        self._appended = 0
        self._state = "new"
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Lock the journal, check every line of it, and start the thread that writes.

        Half a line at the end, which a killed run left, is cut off.

        Raises:
            JournalInUseError: another run writes the journal.
            JournalFormatError: the file is no journal, or one of another version.
            JournalCorruptError: a line in the middle is damaged.
            JournalError: the file cannot be opened, or other users can write it.
        """
        if self._state != "new":
            raise JournalError(f"journal {self.path} was opened before")
        try:
            self._descriptor = open_for_writing(self.path, self._lock)
            try:
                self._read_file()
            except BaseException:
                self._lock.release()
                os.close(self._descriptor)
                raise
        except OSError as error:
            raise JournalError(
                f"journal {self.path} cannot be opened: {system_message(error)}; "
                "name a file in a folder that you can write"
            ) from error
        self._state = "open"
        self._thread = threading.Thread(target=self._run, name="asyncflow-journal", daemon=True)
        _open_writers.add(self)
        atexit.register(self.close)
        self._thread.start()

    def recall(self, key: str) -> Recalled | None:
        """Return the last result that earlier runs left under *key*, or None.

        This reads the file, which takes a few microseconds.  It never raises, but loading
        the result may.
        """
        offset = self._index.find(key)
        if offset is None or self._state != "open":
            return None
        try:
            line = self._line_at(offset)
        except OSError as error:
            return Damaged(
                JournalError(f"journal {self.path} cannot be read: {system_message(error)}")
            )
        if not intact(line):
            return Damaged(damage_error(self.path, offset))
        kind, _, rest = line[CHECKSUM_LENGTH:].decode("ascii").partition(" ")
        found, _, body = rest.partition(" ")
        if kind != "D" or found != key:
            return None  # another key with the same fingerprint
        return Recalled(body, offset, self._index.run_at, self._results)

    def store(self, value: object) -> str:
        """Return the field that keeps *value* in a record; `task_ended` takes it.

        A large result is in a file of its own when this returns.  It never raises: for a
        value that cannot be kept, the field says why.
        """
        return self._results.store(value)

    def append(self, records: Sequence[Record]) -> int:
        """Have *records* written together and in this order, without waiting for it.

        Returns:
            The number by which `on_written` reports them; each call adds one to it.

        Raises:
            JournalError: the journal is not open.
        """
        with self._wake:
            if self._state != "open":
                raise JournalError(f"journal {self.path} is not open")
            self._queue.append(records)
            self._appended += 1
            self._wake.notify()
            return self._appended

    def close(self, timeout: float = 10.0) -> None:
        """Write and sync everything that was appended, and give the lock up.

        This waits *timeout* seconds at most; if the disk takes longer, `error` says so.
        Further calls do nothing.
        """
        with self._wake:
            if self._state == "open":
                self._state = "closing"
                self._wake.notify()
        if self._thread is None:
            return
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._fail(f"could not be finished within {timeout:g} s")
            return
        self._thread = None
        atexit.unregister(self.close)

    def _read_file(self) -> None:
        """Index what is in the file, and make it end with a whole line."""
        descriptor = self._descriptor
        size = os.fstat(descriptor).st_size
        if size < len(HEADER) and HEADER.startswith(os.pread(descriptor, size, 0)):
            os.ftruncate(descriptor, 0)
            _write_all(descriptor, HEADER)
        if self._index.read(self.path, descriptor):
            os.ftruncate(descriptor, self._index.end)
        self._end = self._index.end
        previous = self._lock.previous
        if previous is not None and self._index.last_run == previous.run:
            # The file beside the journal knows that until now.
            line = run_killed(previous.run, previous.seen)
            _write_all(descriptor, line)
            self._end += len(line)
        self._results.clean()

    def _line_at(self, offset: int) -> bytes:
        # A resumed run asks in about the order in which the first run ended its tasks.
        start, block = self._block
        place = offset - start
        if 0 <= place < len(block) and (end := block.find(b"\n", place)) >= 0:
            return block[place:end]
        block = os.pread(self._descriptor, _BLOCK_BYTES, offset)
        self._block = offset, block
        if (end := block.find(b"\n")) >= 0:
            return block[:end]
        length = 16 * _BLOCK_BYTES
        while True:
            data = os.pread(self._descriptor, length, offset)
            end = data.find(b"\n")
            if end >= 0:
                return data[:end]
            if len(data) < length:
                return data
            length *= 16

    # ------------------------------------------------------------ the writer's thread

    def _run(self) -> None:
        try:
            try:
                self._serve()
            except BaseException as error:  # a run that waits for the file must not wait for ever
                self._fail(f"cannot be written: {safe_str(error)}", error)
                self._serve()
        finally:
            self._lock.release()
            os.close(self._descriptor)
            self._state = "closed"
            _open_writers.discard(self)

    def _serve(self) -> None:
        synced = touched = monotonic()
        dirty = False
        while True:
            with self._wake:
                if not self._queue and self._state == "open":
                    self._wake.wait(self._rest(dirty, synced, touched))
                batches, self._queue = self._queue, []
                number = self._appended
                closing = self._state != "open"
            if batches:
                dirty = self._write(batches)
                self._tell(self.on_written, number)
            now = monotonic()
            if now - touched >= HEARTBEAT_S:
                self._lock.show_life()
                touched = now
            if dirty and self._sync_due(now - synced, closing and not batches):
                self._force()
                dirty, synced = False, monotonic()
            if closing and not batches:
                return

    def _rest(self, dirty: bool, synced: float, touched: float) -> float:
        """Return for how many seconds the thread may sleep."""
        wait = touched + HEARTBEAT_S - monotonic()
        if dirty and self._sync_seconds is not None:
            wait = min(wait, synced + self._sync_seconds - monotonic())
        return max(wait, 0.0)

    def _sync_due(self, since: float, last: bool) -> bool:
        return self._sync_seconds is not None and (last or since >= self._sync_seconds)

    def _write(self, batches: list[Sequence[Record]]) -> bool:
        """Append *batches* to the file, and tell whether that was possible."""
        if self.error is not None:
            return False
        try:
            data = b"".join(
                [
                    record if type(record) is bytes else record()  # type: ignore[operator]
                    for batch in batches
                    for record in batch
                ]
            )
        except BaseException as error:  # a record may run foreign code
            self._fail(f"cannot be written: a record cannot be made: {safe_str(error)}", error)
            return False
        view = memoryview(data)
        done = 0
        try:
            while done < len(data):
                done += os.write(self._descriptor, view[done:])
        except OSError as error:
            self._cut(data, done)
            self._fail(f"cannot be written: {system_message(error)}", error)
            return False
        self._end += len(data)
        return True

    def _cut(self, data: bytes, done: int) -> None:
        """Remove the record of *data* of which only a part was written."""
        self._end += data.rfind(b"\n", 0, done) + 1
        try:
            os.ftruncate(self._descriptor, self._end)
        except OSError as error:
            log.warning("journal %s ends in half a record: %s", self.path, system_message(error))

    def _force(self) -> None:
        """Force the file to the disk, and check that nobody else changed it."""
        try:
            _sync(self._descriptor)
            status = os.fstat(self._descriptor)
        except OSError as error:
            self._fail(f"cannot be forced to the disk: {system_message(error)}", error)
            return
        if not status.st_nlink:
            self._fail("was removed while it was written")
        elif status.st_size != self._end:
            self._fail("was changed by another program while it was written")

    def _fail(self, what: str, cause: BaseException | None = None) -> None:
        if self.error is None:
            self.error = JournalError(f"journal {self.path} {what}; nothing more is recorded")
            self.error.__cause__ = cause
            self._tell(self.on_failed, self.error)

    def _tell(self, callback: Callable[[_T], None], what: _T) -> None:
        try:
            callback(what)
        except Exception:  # the thread still has lines to write
            log.exception("a callback of journal %s failed", self.path)

    def _forget(self) -> None:
        """Let go of the journal in a fork: it stays with the process that opened it."""
        os.close(self._descriptor)
        self._wake = threading.Condition(threading.Lock())
        self._queue = []
        self._state = "closed"
        self._thread = None
        atexit.unregister(self.close)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _ignore(_: object) -> None:
    pass


def _after_fork() -> None:
    for writer in list(_open_writers):
        writer._forget()
    _open_writers.clear()


os.register_at_fork(after_in_child=_after_fork)
