"""Messages over a socket, and values as the parts of a message.

A message is two small numbers, two times and any number of parts.  Part 0 is a pickle; the
others are its large buffers, sent from where they lie and received into memory that
nobody else has, so that an array arrives writable and was copied by the kernel alone.
Both ends of a worker's socket, parent and child, use this module.
"""

from __future__ import annotations

import pickle
import socket
import struct
from collections.abc import Callable, Sequence
from select import POLLIN, POLLOUT
from typing import Any, NamedTuple

import cloudpickle  # type: ignore[import-untyped]

__all__ = ["FAILURE", "UNSENT", "VALUE", "Channel", "Message", "Part", "dump", "plain"]

VALUE, FAILURE, UNSENT = range(3)
"""What a result's parts hold: the value, a `Failure`, why neither could be sent."""

Part = bytes | bytearray | memoryview

_HEAD = struct.Struct("<HHIdd")
_SMALL = 32 * 1024  # bytes; below it one copy is cheaper than a vectored call
_APART = 16 * 1024  # bytes; a smaller buffer stays inside of its pickle
_PARTS = 1000  # most parts of a message
_VECTOR = 512  # most parts of one system call; the limit of POSIX systems is 1024 or so
_ATOMS = frozenset({int, float, complex, bool, str, bytes, type(None)})


class Message(NamedTuple):
    """What `Channel.receive` returns; the meaning of the numbers is the caller's.

    Attributes:
        began, ended: of a task, in seconds of `time.monotonic`, which is one clock for
            all processes of a machine.
    """

    place: int
    code: int
    parts: list[Part]
    began: float = 0.0
    ended: float = 0.0


class Channel:
    """One end of a stream socket; used by one thread.

    *wait* is called with POLLIN or POLLOUT when the socket is not ready; it returns
    when a new try is due, or raises to give up.
    """

    def __init__(self, sock: socket.socket, wait: Callable[[int], object]) -> None:
        self._sock = sock
        self._wait = wait
        self._buffer = bytearray(64 * 1024)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0

    def send(
        self,
        place: int,
        code: int,
        parts: Sequence[Part],
        began: float = 0.0,
        ended: float = 0.0,
    ) -> None:
        lengths = [len(part) for part in parts]
        form = f"<HHIdd{len(parts)}Q"
        head = struct.pack(form, place, code, len(parts), began, ended, *lengths)
        if sum(lengths) < _SMALL:
            rest: list[Part] = [b"".join((head, *parts))]
        else:
            rest = [head, *parts]
        while rest:
            try:
                sent = self._sock.sendmsg(rest[:_VECTOR], (), socket.MSG_DONTWAIT)
            except BlockingIOError:
                self._wait(POLLOUT)
                continue
            done = 0
            while done < len(rest) and sent >= len(rest[done]):
                sent -= len(rest[done])
                done += 1
            del rest[:done]
            if sent:
                rest[0] = memoryview(rest[0])[sent:]

    def receive(self, *, block: bool = True) -> Message | None:
        """The next message; None if *block* is false and none has begun to arrive.

        Raises:
            EOFError: the other end is closed.
        """
        if not self._fill(_HEAD.size, block):
            return None
        place, code, count, began, ended = _HEAD.unpack_from(self._buffer, self._start)
        self._start += _HEAD.size
        self._fill(8 * count, True)
        lengths = struct.unpack_from(f"<{count}Q", self._buffer, self._start)
        self._start += 8 * count
        return Message(place, code, [self._part(length) for length in lengths], began, ended)

    def _fill(self, size: int, block: bool) -> bool:
        """Have *size* bytes in the buffer, which must not be more than it can hold."""
        while self._end - self._start < size:
            if self._start == self._end:
                self._start = self._end = 0
            elif len(self._buffer) - self._start < size:
                left = self._end - self._start
                self._view[:left] = self._view[self._start : self._end]
                self._start, self._end = 0, left
            count = self._read(self._view[self._end :], block or self._start < self._end)
            if not count:
                return False
            self._end += count
        return True

    def _read(self, room: memoryview, block: bool) -> int:
        while True:
            try:
                count = self._sock.recv_into(room, 0, socket.MSG_DONTWAIT)
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

    def _part(self, size: int) -> bytearray:
        here = min(size, self._end - self._start)
        part = bytearray(size)
        with memoryview(part) as view:
            view[:here] = self._view[self._start : self._start + here]
            self._start += here
            while here < size:
                here += self._read(view[here:], True)
        return part


def dump(value: Any, parts: list[Part], *, by_value: bool) -> bytes:
    """*value* as a pickle, its large buffers appended to *parts*.

    Args:
        by_value: use cloudpickle at once, because the plain pickler could name a
            thing that only this process has.

    Raises:
        BaseException: whatever the value's own methods raise.
    """

    def keep_inside(buffer: pickle.PickleBuffer) -> bool:
        if len(parts) >= _PARTS:
            return True
        view = buffer.raw()
        if view.nbytes < _APART:
            return True
        parts.append(view)
        return False

    begun = len(parts)
    if not by_value:
        try:
            return pickle.dumps(value, 5, buffer_callback=keep_inside)
        except Exception:  # cloudpickle can do more, and says better what it cannot
            del parts[begun:]
    pickled: bytes = cloudpickle.dumps(value, protocol=5, buffer_callback=keep_inside)
    return pickled


def plain(value: Any, depth: int = 2) -> bool:
    """Whether the plain pickler can take *value*, and no two tasks could share a part of it.

    True of numbers, texts and the like, and of small containers of them.
    """
    kind = type(value)
    if kind in _ATOMS:
        return True
    if depth and kind in (tuple, list, dict) and len(value) <= 8:
        if kind is dict:
            return all(plain(key, 0) and plain(item, depth - 1) for key, item in value.items())
        return all(plain(item, depth - 1) for item in value)
    return False
