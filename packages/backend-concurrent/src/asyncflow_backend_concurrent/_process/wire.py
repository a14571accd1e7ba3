"""Messages over a pipe or a socket.

A message is two small numbers, a body and any number of parts.  Mostly the body is a
pickle and the parts are its large buffers.  These go through shared memory; smaller ones,
and all where there is no shared memory, are sent from where they lie and received into
fresh memory.  Either way an array arrives writable.  Both ends of a worker, parent and
child, use this module.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from select import POLLIN, POLLOUT
from typing import NamedTuple

from .arena import Arena

__all__ = [
    "Inlet",
    "Message",
    "Outlet",
    "Part",
]

Part = bytes | bytearray | memoryview

_HEAD = struct.Struct("<QQHHdd")  # place, size of the body, code, number of parts, times
_PART = struct.Struct("<qQ")  # its offset in the shared memory, or one of these; its size
_INLINE = -1  # it is not there, but follows
_FREED = -2  # and below: no part, but memory that may be written again
_COPIED_BYTES = 32 * 1024  # below it one copy is cheaper than a vectored call
_SHARED_BYTES = 256 * 1024  # a smaller buffer is not worth a mapping
_MAX_VECTOR = 512  # parts in one system call; the limit of POSIX systems is 1024 or so

_new = tuple.__new__  # a named tuple's own constructor costs three times as much

Wait = Callable[[int], object]
"""Called with POLLIN or POLLOUT; returns when it is time to try again, or raises to give up."""


class Message(NamedTuple):
    """A message that `Inlet.receive` returns.

    Attributes:
        place, code: two numbers, whose meaning is the caller's.
        began, ended: when the task ran, in seconds of `time.monotonic`, which is one clock
            for all processes of a machine.
    """

    place: int
    code: int
    body: bytearray
    parts: Sequence[Part]
    began: float
    ended: float


class Outlet:
    """The sending end of a connection; used by one thread.

    *wait* is called when the descriptor, which does not block, takes no more.  Without it,
    the rest is there until `flush` is called.

    Attributes:
        rest: what the descriptor did not take yet.
    """

    def __init__(self, descriptor: int, wait: Wait | None, arena: Arena | None) -> None:
        self._descriptor = descriptor
        self._wait = wait
        self._arena = arena
        self.rest: list[Part] = []

    def send(
        self,
        place: int,
        code: int,
        body: bytes,
        parts: Sequence[Part] = (),
        began: float = 0.0,
        ended: float = 0.0,
    ) -> None:
        """Send a message.

        Raises:
            BrokenPipeError, ConnectionResetError: the other end is closed.
        """
        head = _HEAD.pack(place, len(body), code, len(parts), began, ended)
        if not parts and len(body) < _COPIED_BYTES and not self.rest:
            data = head + body
            try:
                sent = os.write(self._descriptor, data)
            except BlockingIOError:
                sent = 0
            if sent < len(data):
                self.rest.append(memoryview(data)[sent:])
                self.flush()
            return
        places = []
        inline: list[Part] = []
        for part in parts:
            size = len(part)
            offset = None
            if size >= _SHARED_BYTES and self._arena is not None:
                offset = self._arena.put(memoryview(part))
            if offset is None:
                inline.append(part)
            places.append(_PART.pack(_INLINE if offset is None else offset, size))
        if self._arena is not None and parts:
            # The other end soon shares more memory, so this goes along now.
            places += [_PART.pack(_FREED - offset, size) for offset, size in self._arena.freed()]
            head = _HEAD.pack(place, len(body), code, len(places), began, ended)
        self.rest += (b"".join((head, *places)), body, *inline)
        self.flush()

    def flush(self) -> None:
        """Write the rest, as far as the descriptor takes it or there is a way to wait for that."""
        rest = self.rest
        while rest:
            try:
                sent = os.writev(self._descriptor, rest[:_MAX_VECTOR])
            except BlockingIOError:
                if self._wait is None:
                    return
                self._wait(POLLOUT)
                continue
            done = 0
            while done < len(rest) and sent >= len(rest[done]):
                sent -= len(rest[done])
                done += 1
            del rest[:done]
            if sent:
                rest[0] = memoryview(rest[0])[sent:]


class Inlet:
    """The receiving end of a connection; used by one thread.

    *wait* is called in the middle of a message when the descriptor, which does not
    block, has nothing.
    """

    def __init__(self, descriptor: int, wait: Wait, arena: Arena | None) -> None:
        self._descriptor = descriptor
        self._wait = wait
        self._arena = arena
        self._buffer = bytearray(64 * 1024)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0

    def receive(self) -> list[Message]:
        """Return the messages that are there, with the rest of one that has begun to arrive.

        Raises:
            EOFError: there is none, and the other end is closed.
        """
        messages: list[Message] = []
        emptied = False  # a descriptor that gave less than there was room for has no more
        try:
            while True:
                self._take_small(messages)
                if self._start < self._end:
                    messages.append(self._next())
                    emptied = False
                elif emptied or not self._fill(block=False):
                    return messages
                else:
                    emptied = self._end < len(self._buffer)
        except EOFError:
            if messages:
                return messages
            raise

    def _take_small(self, messages: list[Message]) -> None:
        """Take messages from the front of the buffer that are complete and have no parts."""
        buffer = self._buffer
        start, end = self._start, self._end
        while end - start >= _HEAD.size:
            place, size, code, count, began, ended = _HEAD.unpack_from(buffer, start)
            body = start + _HEAD.size
            if count or body + size > end:
                break
            start = body + size
            messages.append(_new(Message, (place, code, buffer[body:start], (), began, ended)))
        self._start = start

    def receive_one(self) -> Message:
        """Return the next message, however long it takes.

        Raises:
            EOFError: the other end is closed.
        """
        return self._next()

    def _next(self) -> Message:
        while self._end - self._start < _HEAD.size:
            self._fill(block=True)
        place, size, code, count, began, ended = _HEAD.unpack_from(self._buffer, self._start)
        self._start += _HEAD.size
        if not count:
            return Message(place, code, self._take(size), (), began, ended)
        listed = self._take(count * _PART.size)
        body = self._take(size)
        parts: list[Part] = []
        for offset, length in _PART.iter_unpack(listed):
            if offset == _INLINE:
                parts.append(self._take(length))
                continue
            assert self._arena is not None
            if offset <= _FREED:
                self._arena.reuse(_FREED - offset, length)
            else:
                parts.append(self._arena.get(offset, length))
        return Message(place, code, body, parts, began, ended)

    def _fill(self, *, block: bool) -> bool:
        """Read more into the buffer; return False if there is nothing and *block* is false."""
        if self._start == self._end:
            self._start = self._end = 0
        elif self._end == len(self._buffer):
            left = self._end - self._start
            self._view[:left] = self._view[self._start : self._end]
            self._start, self._end = 0, left
        count = self._read(self._view[self._end :], block=block)
        self._end += count
        return count > 0

    def _read(self, room: memoryview, *, block: bool) -> int:
        while True:
            try:
                count = os.readv(self._descriptor, [room])
            except BlockingIOError:
                if not block:
                    return 0
                self._wait(POLLIN)
                continue
            except ConnectionResetError:
                count = 0
            if not count:
                raise EOFError("the other end is closed")
            return count

    def _take(self, size: int) -> bytearray:
        stop = self._start + size
        if stop <= self._end:
            taken = self._buffer[self._start : stop]
            self._start = stop
            return taken
        here = self._end - self._start
        taken = bytearray(size)
        with memoryview(taken) as view:
            view[:here] = self._view[self._start : self._end]
            self._start = self._end
            while here < size:
                here += self._read(view[here:], block=True)
        return taken
