"""Messages on a stream socket: some parts, with their lengths in front."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from ._pickling import Buffer

__all__ = ["FrameParser", "frame", "send_frame"]

_COUNT = struct.Struct("<I")
_SMALL_BYTES = 64 * 1024  # that are copied together, for one call of the system


class FrameParser:
    """A parser of what comes, in pieces of any size."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[list[bytearray]]:
        """Return the messages that are complete now, each as its parts."""
        held = self._held
        held += data
        frames: list[list[bytearray]] = []
        start = 0
        while len(held) >= start + 4:
            (count,) = _COUNT.unpack_from(held, start)
            at = start + 4 + 8 * count
            if len(held) < at:
                break
            sizes = struct.unpack_from(f"<{count}Q", held, start + 4)
            if len(held) < at + sum(sizes):
                break
            parts = []
            for size in sizes:
                parts.append(held[at : at + size])
                at += size
            frames.append(parts)
            start = at
        if start:
            del held[:start]
        return frames


def frame(parts: Sequence[Buffer]) -> list[Buffer]:
    """Return what to send for a message of these *parts*, in as few pieces as are worth it.

    Small parts are copied together; a large one stays a piece of its own.
    """
    sizes = [part.nbytes if isinstance(part, memoryview) else len(part) for part in parts]
    head = struct.pack(f"<I{len(sizes)}Q", len(sizes), *sizes)
    if sum(sizes) <= _SMALL_BYTES:
        return [b"".join((head, *parts))]
    pieces: list[Buffer] = []
    together: list[Buffer] = [head]
    for part, size in zip(parts, sizes, strict=True):
        if size <= _SMALL_BYTES:
            together.append(part)
            continue
        pieces += (b"".join(together), memoryview(part).cast("B"))
        together = []
    if together:
        pieces.append(b"".join(together))
    return pieces


def send_frame(send_all: object, parts: Sequence[Buffer]) -> None:
    """Send a message by *send_all*, which blocks until everything is sent."""
    assert callable(send_all)
    for piece in frame(parts):
        send_all(piece)
