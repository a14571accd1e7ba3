"""Writes a journal, from a thread of its own, and looks up what earlier runs left in it."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TypeVar

from .._public import public
from .._text import safe_str
from ..errors import ConfigurationError, JournalError
from ._blobs import ResultStore
from ._file import open_for_writing, reason
from ._format import CRC, HEADER, intact
from ._index import Index, corrupt
from ._lock import BEAT, JournalLock
from ._recalled import Damaged, Recalled

__all__ = ["Journal", "JournalWriter", "Record"]

log = logging.getLogger("radical.asyncflow")

Record = bytes | Callable[[], bytes]
"""A line, or what makes one; the latter is called by the writer's thread."""

_T = TypeVar("_T")
_BLOCK = 1 << 16
_sync = getattr(os, "fdatasync", os.fsync)
_open_writers: weakref.WeakSet[JournalWriter] = weakref.WeakSet()


@public("radical.asyncflow.journal")
@dataclass(frozen=True)
class Journal:
    """Where and how runs are recorded.

    Args:
        path: the file; it and the folders on the way to it are made.
        on_error: when it cannot be written any more, the run goes on ("continue") or
            ends ("fail").
        inline_limit: bytes of a pickled result up to which it stands in the file itself;
            a larger one is a file of its own, under ``PATH.results``.
        result_limit: bytes of a pickled result above which it is not kept.
        arguments: whether the arguments of tasks are recorded too.
        sync_seconds: how often the file is forced to the disk, against a failure of the
            whole machine; None leaves that to the system.

    Raises:
        ConfigurationError: one of these is wrong.
    """

    path: str | os.PathLike[str]
    on_error: str = "continue"
    inline_limit: int = 1 << 16
    result_limit: int = 1 << 30
    arguments: bool = False
    sync_seconds: float | None = 1.0

    def __post_init__(self) -> None:
        wrong = []
        if self.on_error not in ("continue", "fail"):
            wrong.append(f"on_error must be 'continue' or 'fail', not {self.on_error!r}")
        limits = {"inline_limit": self.inline_limit, "result_limit": self.result_limit}
        wrong += [
            f"{name} must be bytes, 0 or more, not {limit!r}"
            for name, limit in limits.items()
            if limit < 0
        ]
        if self.sync_seconds is not None and not self.sync_seconds >= 0:
            wrong.append(f"sync_seconds must be 0 or more, or None, not {self.sync_seconds!r}")
        if wrong:
            raise ConfigurationError("; ".join(wrong))


class JournalWriter:
    """Writes the journal of one run.

    `open` and `close` block; all else may be called by any thread and does not wait for
    the disk, except that `store` writes large results.  The callbacks are called by the
    writer's thread: set them before `open`.

    Args:
        run: uid of the run, which the error of a second writer names.

    Attributes:
        path: the file, as an absolute path without links.
        on_written: is called after each write with the number that the last `append`
            in it returned: all up to this one is in the file.  After an error it goes
            on counting, although nothing is written.
        on_failed: is called once, with `error`, when writing stopped; by `close` itself
            if that is because it waited too long.
        error: why nothing is written any more; None while all is well.
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
        self._index = Index()
        self._descriptor = -1
        self._block = 0, b""
        self._end = 0
        self._wake = threading.Condition(threading.Lock())
        self._queue: list[Sequence[Record]] = []
        self._appended = 0
        self._state = "new"
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Lock the journal, see what is in it, and start the thread that writes.

        What a killed run left unfinished at the end is cut off.

        Raises:
            JournalInUseError: another run writes it.
            JournalFormatError: the file is no journal, or one of another version.
            JournalCorruptError: something in its middle is damaged.
            JournalError: it cannot be opened, or not be trusted, as others can write it.
        """
        if self._state != "new":
            raise JournalError(f"journal {self.path} was opened before")
        try:
            self._descriptor = open_for_writing(self.path, self._lock)
            try:
                self._read()
            except BaseException:
                self._lock.release()
                os.close(self._descriptor)
                raise
        except OSError as error:
            raise JournalError(
                f"journal {self.path} cannot be opened: {reason(error)}; "
                "name a file in a folder that can be written"
            ) from error
        self._state = "open"
        self._thread = threading.Thread(target=self._run, name="asyncflow-journal", daemon=True)
        _open_writers.add(self)
        atexit.register(self.close)
        self._thread.start()

    def recall(self, key: str) -> Recalled | None:
        """The last result that runs before this one left under *key*, or None.

        It is read from the file, a few microseconds; never raises, but loading may.
        """
        if self._index.lines < 2:  # there was no run before this one
            return None
        offset = self._index.find(key.encode("ascii"))
        if offset is None or self._state != "open":
            return None
        try:
            line = self._line_at(offset)
        except OSError as error:
            return Damaged(JournalError(f"journal {self.path} cannot be read: {reason(error)}"))
        if not intact(line):
            return Damaged(corrupt(self.path, offset))
        kind, _, rest = line[CRC:].decode("ascii").partition(" ")
        found, _, body = rest.partition(" ")
        if kind != "D" or found != key:
            return None  # of another key with the same fingerprint
        return Recalled(body, offset, self._index.run_at, self._results)

    def store(self, value: object) -> str:
        """The field with which a record keeps *value*, to be given to `task_ended`.

        A large result is written to a file before this returns.  Never raises: one that
        cannot be kept becomes a field that says why.
        """
        return self._results.store(value)

    def append(self, records: Sequence[Record]) -> int:
        """Have *records* written, in this order and together; never waits.

        Returns:
            The number under which `on_written` reports them; it grows by one a call.

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
        """Write and sync all that was appended, save the index, give the lock up.

        May be called more than once.  Waits *timeout* seconds at most: if the disk takes
        longer, `error` says so.
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

    def _read(self) -> None:
        """See what is in the file, and make it end with a whole line."""
        descriptor = self._descriptor
        size = os.fstat(descriptor).st_size
        if size < len(HEADER) and HEADER.startswith(os.pread(descriptor, size, 0)):
            os.ftruncate(descriptor, 0)
            _write_all(descriptor, HEADER)
        self._index = Index.load(f"{self.path}.index", descriptor, size)
        torn = self._index.scan(self.path, descriptor)
        if torn:
            os.ftruncate(descriptor, self._index.covered)
        self._end = self._index.covered
        self._results.clean()

    def _line_at(self, offset: int) -> bytes:
        # A run that is resumed asks in about the order in which the first one ended them.
        start, block = self._block
        place = offset - start
        if 0 <= place < len(block) and (end := block.find(b"\n", place)) >= 0:
            return block[place:end]
        block = os.pread(self._descriptor, _BLOCK, offset)
        self._block = offset, block
        if (end := block.find(b"\n")) >= 0:
            return block[:end]
        length = 16 * _BLOCK
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
            except BaseException as error:  # a run that waits for us must not wait for ever
                self._fail(f"cannot be written: {safe_str(error)}", error)
                self._serve()
        finally:
            self._lock.release()
            os.close(self._descriptor)
            self._state = "closed"
            _open_writers.discard(self)

    def _serve(self) -> None:
        wanted = self.error is None and self._index.worthwhile()
        saving = self._saving() if wanted else None
        synced = beaten = monotonic()
        dirty = False
        while True:
            with self._wake:
                if not self._queue and self._state == "open" and saving is None:
                    self._wake.wait(self._rest(dirty, synced, beaten))
                batches, self._queue = self._queue, []
                number = self._appended
                closing = self._state != "open"
            if batches:
                dirty = self._write(batches)
                self._tell(self.on_written, number)
            now = monotonic()
            if now - beaten >= BEAT:
                self._lock.beat()
                beaten = now
            if dirty and self._sync_due(now - synced, closing and not batches):
                self._force()
                dirty, synced = False, monotonic()
            if saving is not None and not batches and next(saving, self) is self:
                saving = None
            if closing and not batches and saving is None:
                return

    def _rest(self, dirty: bool, synced: float, beaten: float) -> float:
        """Seconds that the thread may sleep."""
        wait = beaten + BEAT - monotonic()
        if dirty and self._sync_seconds is not None:
            wait = min(wait, synced + self._sync_seconds - monotonic())
        return max(wait, 0.0)

    def _sync_due(self, since: float, last: bool) -> bool:
        return self._sync_seconds is not None and (last or since >= self._sync_seconds)

    def _write(self, batches: list[Sequence[Record]]) -> bool:
        """Append to the file; False if it could not be done."""
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
        except BaseException as error:  # a record may run code of the program's
            self._fail(f"cannot be written: a record cannot be made: {safe_str(error)}", error)
            return False
        view = memoryview(data)
        done = 0
        try:
            while done < len(data):
                done += os.write(self._descriptor, view[done:])
        except OSError as error:
            self._cut(data, done)
            self._fail(f"cannot be written: {reason(error)}", error)
            return False
        self._end += len(data)
        return True

    def _cut(self, data: bytes, done: int) -> None:
        """Remove the record that was written in part."""
        self._end += data.rfind(b"\n", 0, done) + 1
        try:
            os.ftruncate(self._descriptor, self._end)
        except OSError as error:
            log.warning("journal %s ends in half a record: %s", self.path, reason(error))

    def _force(self) -> None:
        """Force the file to the disk, and see that it is still ours."""
        try:
            _sync(self._descriptor)
            status = os.fstat(self._descriptor)
        except OSError as error:
            self._fail(f"cannot be forced to the disk: {reason(error)}", error)
            return
        if not status.st_nlink:
            self._fail("was removed while it was written")
        elif status.st_size != self._end:
            self._fail("was changed by another program while it was written")

    def _saving(self) -> Iterator[None]:
        try:
            yield from self._index.save(f"{self.path}.index", self._descriptor)
        except (OSError, MemoryError) as error:  # it only spares time
            log.debug("index of journal %s not written: %r", self.path, error)

    def _fail(self, what: str, cause: BaseException | None = None) -> None:
        if self.error is None:
            self.error = JournalError(f"journal {self.path} {what}; no more is recorded")
            self.error.__cause__ = cause
            self._tell(self.on_failed, self.error)

    def _tell(self, callback: Callable[[_T], None], what: _T) -> None:
        try:
            callback(what)
        except Exception:  # the thread has more to write
            log.exception("a callback of journal %s failed", self.path)

    def _forget(self) -> None:
        """This process is a fork: the journal stays with the one that opened it."""
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
