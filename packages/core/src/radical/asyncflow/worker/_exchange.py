"""Feed running processes, read what they write and see their ends, all in one thread."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from ._child import Child
from ._output import Stream

__all__ = ["SHORT_WAIT_MS", "Exchange", "Watch"]

SHORT_WAIT_MS = 50
"""Milliseconds after which a wait gets descriptors of its own."""

_CHUNK_BYTES = 65536  # what a pipe holds
_DRAIN_ROUNDS = 16  # more than a pipe holds, unless somebody goes on writing
_POLL_MS = 10  # between two looks where no such descriptors are left


class Watch:
    """Descriptors that one thread polls, each for the exchange that it belongs to, if any."""

    __slots__ = ("_owners", "_poll")

    def __init__(self) -> None:
        self._poll = select.poll()
        self._owners: dict[int, Exchange | None] = {}

    def add(self, descriptor: int, events: int, owner: Exchange | None) -> None:
        self._owners[descriptor] = owner
        self._poll.register(descriptor, events)

    def remove(self, descriptor: int) -> None:
        """Remove *descriptor*, if it is there."""
        if descriptor in self._owners:
            del self._owners[descriptor]
            self._poll.unregister(descriptor)

    def wait(self, timeout: float | None) -> list[tuple[int, Exchange | None]]:
        """Return what has news, within *timeout* milliseconds; None stands for no limit."""
        owners = self._owners
        return [(descriptor, owners[descriptor]) for descriptor, _ in self._poll.poll(timeout)]


class Exchange:
    """The pipes of one process, and news of its end; `wake` is for other threads.

    Most commands are short.  So the two descriptors that free a long wait of polling,
    one for the process and one to be woken by, are made when a wait gets long.

    Attributes:
        process: that process.
        ended: whether the process is known to have ended; `Child.wait` still has to collect it.
    """

    def __init__(
        self,
        process: Child,
        data: bytes | None,
        streams: Sequence[Stream],
        watch: Watch | None = None,
    ) -> None:
        """Make an exchange with *process*, which is to read *data*.

        Args:
            streams: for its stdout and stderr, where they are pipes.
            watch: polled by somebody who calls `take`; without it the exchange polls for itself.
        """
        self.ended = False
        self.process = process
        self._data = memoryview(data or b"")
        self._streams: dict[int, Stream] = {}
        self._watch = Watch() if watch is None else watch
        for pipe, stream in zip((process.stdout, process.stderr), streams, strict=False):
            if pipe >= 0:
                self._streams[pipe] = stream
                self._watch.add(pipe, select.POLLIN, self)
        self._stdin = process.stdin
        if self._stdin >= 0:
            os.set_blocking(self._stdin, False)
            self._watch.add(self._stdin, select.POLLOUT, self)
        self._end = -1  # readable when the process has ended
        self._wake = -1
        self._extended = False

    # ------------------------------------------------ while it polls for itself

    def run(self, stopped: Callable[[], bool], linger: float, longest: float) -> None:
        """Exchange until the process and its output have ended, or *stopped* (see `wake`).

        Args:
            linger: seconds for which the output may be silent after the process's end.
            longest: seconds for which it may go on in all.
        """
        timeout: float | None = SHORT_WAIT_MS
        deadline: float | None = None
        extend_at = time.monotonic() + SHORT_WAIT_MS / 1000
        while True:
            if not self._streams and not self.look():
                timeout = self._extend()
            if stopped() or (self.ended and not self._streams):
                return
            if self.ended:
                now = time.monotonic()
                deadline = now + longest if deadline is None else deadline
                timeout = min(linger, max(deadline - now, 0.0)) * 1000
            news = self._wait(timeout)
            if deadline is not None and time.monotonic() >= deadline:
                return
            if not news and self.ended:
                return
            # A stream that never pauses must not hide the end of the process.
            if not news or (not self.ended and time.monotonic() >= extend_at):
                timeout = self._extend()
                if timeout is not None:
                    self.look()

    def pump(self, duration: float) -> None:
        """Exchange for *duration* seconds, whatever ends meanwhile."""
        for descriptor in (self._end, self._wake):
            self._watch.remove(descriptor)
        until = time.monotonic() + duration
        left = duration
        while left >= 0:
            self._wait(left * 1000)
            left = until - time.monotonic()

    def wake(self) -> None:
        """Make `run` look whether it is stopped, within 50 ms; from any thread.

        The caller makes sure that `close` does not run at the same time.
        """
        if self._wake != -1:
            os.eventfd_write(self._wake, 1)

    def _wait(self, timeout: float | None) -> list[int]:
        news = [descriptor for descriptor, _ in self._watch.wait(timeout)]
        for descriptor in news:
            self.take(descriptor)
        return news

    # ------------------------------------------------- while somebody else polls

    @property
    def is_over(self) -> bool:
        """True if the process has ended, and all that it wrote was read."""
        return not self._streams and self.look()

    @property
    def reads(self) -> bool:
        """True if there is output that may go on."""
        return bool(self._streams)

    @property
    def size(self) -> int:
        """The number of bytes that the process has written, to streams that are open."""
        return sum(stream.size for stream in self._streams.values())

    def watch_end(self) -> bool:
        """Have the end of the process watched; return False if the system cannot do that."""
        if self._end == -1 and not self.ended:
            try:
                self._end = os.pidfd_open(self.process.pid)
            except OSError:  # none left, or an old kernel
                return False
            self._watch.add(self._end, select.POLLIN, self)
        return True

    def detach(self) -> None:
        """Poll for itself from now on, which another thread may do."""
        watch, self._watch = self._watch, Watch()
        for descriptor in self._streams:
            watch.remove(descriptor)
            self._watch.add(descriptor, select.POLLIN, self)
        if self._stdin != -1:
            watch.remove(self._stdin)
            self._watch.add(self._stdin, select.POLLOUT, self)
        if self._end != -1:
            watch.remove(self._end)
            if not self.ended:
                self._watch.add(self._end, select.POLLIN, self)

    # ------------------------------------------------------------------- always

    def take(self, descriptor: int) -> None:
        """Read from *descriptor*, write to it, or note what it says."""
        stream = self._streams.get(descriptor)
        if stream is not None:
            chunk = os.read(descriptor, _CHUNK_BYTES)
            if chunk:
                stream.write(chunk)
            else:
                del self._streams[descriptor]
                self._watch.remove(descriptor)
        elif descriptor == self._stdin:
            self._feed()
        else:
            self.ended = self.ended or descriptor == self._end
            self._watch.remove(descriptor)

    def drain(self) -> bool:
        """Read what is there already; return whether that was all there will ever be."""
        poll = select.poll()
        for descriptor in self._streams:
            poll.register(descriptor, select.POLLIN)
        for _ in range(_DRAIN_ROUNDS):
            news = poll.poll(0) if self._streams else []
            for descriptor, _events in news:
                self.take(descriptor)
                if descriptor not in self._streams:
                    poll.unregister(descriptor)
            if not news:
                break
        return not self._streams

    def look(self) -> bool:
        """Return whether the process has ended."""
        if not self.ended:
            self.ended = self.process.has_ended()
        return self.ended

    def close(self) -> None:
        """Close all descriptors."""
        for descriptor in (*self._streams, self._stdin, self._end, self._wake):
            self._watch.remove(descriptor)
        self.process.close()
        for descriptor in (self._end, self._wake):
            if descriptor != -1:
                os.close(descriptor)
        self._stdin = self._end = self._wake = -1

    def _feed(self) -> None:
        try:
            written = os.write(self._stdin, self._data[:_CHUNK_BYTES])
        except BlockingIOError:
            return
        except BrokenPipeError:
            written = len(self._data)  # it does not want the rest
        self._data = self._data[written:]
        if not self._data:
            self._watch.remove(self._stdin)
            self._stdin = -1
            self.process.close_stdin()

    def _extend(self) -> float | None:
        """Get descriptors for the end and for `wake`; return the timeout of the next waits."""
        if not self._extended:
            self._extended = True
            # Where there are none, short waits will do.
            if hasattr(os, "pidfd_open") and self.watch_end():
                with suppress(OSError):
                    self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
                    self._watch.add(self._wake, select.POLLIN, self)
        return _POLL_MS if self._wake == -1 else None
