"""Feed a running process, read what it writes and see its end, all in one thread."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from ._child import Child
from ._output import Stream

__all__ = ["Exchange"]

_CHUNK_BYTES = 65536  # what a pipe holds
_SHORT_WAIT_MS = 50  # after which a wait gets descriptors of its own
_POLL_MS = 10  # between two looks where no such descriptors are left


class Exchange:
    """The pipes of one process, and news of its end; `wake` is for other threads.

    Most commands are short.  So the two descriptors that free a long wait of polling,
    one for the process and one to be woken by, are made when a wait gets long.
    """

    def __init__(self, process: Child, data: bytes | None, streams: Sequence[Stream]) -> None:
        self._process = process
        self._data = memoryview(data or b"")
        self._streams: dict[int, Stream] = {}
        self._poll = select.poll()
        for pipe, stream in zip((process.stdout, process.stderr), streams, strict=False):
            if pipe >= 0:
                self._streams[pipe] = stream
                self._poll.register(pipe, select.POLLIN)
        self._stdin = process.stdin
        if self._stdin >= 0:
            os.set_blocking(self._stdin, False)
            self._poll.register(self._stdin, select.POLLOUT)
        self._end = -1  # readable when the process has ended
        self._wake = -1
        self._extended = False
        self._ended = False

    def run(self, stopped: Callable[[], bool], linger: float, longest: float) -> None:
        """Exchange until the process and its output have ended, or *stopped* (see `wake`).

        Args:
            linger: seconds for which the output may be silent after the process's end.
            longest: seconds for which it may go on in all.
        """
        timeout: float | None = _SHORT_WAIT_MS
        deadline: float | None = None
        extend_at = time.monotonic() + _SHORT_WAIT_MS / 1000
        while True:
            if not self._streams and not self._look():
                timeout = self._extend()
            if stopped() or (self._ended and not self._streams):
                return
            if self._ended:
                now = time.monotonic()
                deadline = now + longest if deadline is None else deadline
                timeout = min(linger, max(deadline - now, 0.0)) * 1000
            news = self._poll.poll(timeout)
            if deadline is not None and time.monotonic() >= deadline:
                return
            if not news and self._ended:
                return
            self._handle(news)
            # A stream that never pauses must not hide the end of the process.
            if not news or (not self._ended and time.monotonic() >= extend_at):
                timeout = self._extend()
                if timeout is not None:
                    self._look()

    def pump(self, duration: float) -> None:
        """Exchange for *duration* seconds, whatever ends meanwhile."""
        for descriptor in (self._end, self._wake):
            if descriptor != -1:
                self._leave(descriptor)
        until = time.monotonic() + duration
        left = duration
        while left >= 0:
            self._handle(self._poll.poll(left * 1000))
            left = until - time.monotonic()

    def drain(self) -> None:
        """Read what is there already."""
        while self._streams:
            news = self._poll.poll(0)
            if not any(descriptor in self._streams for descriptor, _ in news):
                return
            self._handle(news)

    def wake(self) -> None:
        """Make `run` look whether it is stopped, within 50 ms; from any thread.

        The caller makes sure that `close` does not run at the same time.
        """
        if self._wake != -1:
            os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Close all descriptors."""
        self._process.close()
        for descriptor in (self._end, self._wake):
            if descriptor != -1:
                os.close(descriptor)
        self._end = self._wake = -1

    def _handle(self, news: Sequence[tuple[int, int]]) -> None:
        for descriptor, _ in news:
            if descriptor == self._stdin:
                self._feed()
            elif descriptor in self._streams:
                chunk = os.read(descriptor, _CHUNK_BYTES)
                if chunk:
                    self._streams[descriptor].write(chunk)
                else:
                    del self._streams[descriptor]
                    self._poll.unregister(descriptor)
            else:
                self._ended = self._ended or descriptor == self._end
                self._leave(descriptor)

    def _feed(self) -> None:
        try:
            written = os.write(self._stdin, self._data[:_CHUNK_BYTES])
        except BlockingIOError:
            return
        except BrokenPipeError:
            written = len(self._data)  # it does not want the rest
        self._data = self._data[written:]
        if not self._data:
            self._poll.unregister(self._stdin)
            self._stdin = -1
            self._process.close_stdin()

    def _look(self) -> bool:
        """Return whether the process has ended; `Child.wait` still has to collect it."""
        if not self._ended:
            self._ended = self._process.has_ended()
        return self._ended

    def _extend(self) -> float | None:
        """Get descriptors for the end and for `wake`; return the timeout of the next waits."""
        if not self._extended:
            self._extended = True
            if hasattr(os, "pidfd_open"):
                with suppress(OSError):  # none left, or an old kernel: short waits will do
                    self._end = os.pidfd_open(self._process.pid)
                    self._poll.register(self._end, select.POLLIN)
                    wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
                    self._poll.register(wake, select.POLLIN)
                    self._wake = wake
        return _POLL_MS if self._wake == -1 else None

    def _leave(self, descriptor: int) -> None:
        with suppress(KeyError):
            self._poll.unregister(descriptor)
