"""The work of a worker beside its tasks, and what travels behind their results."""

from __future__ import annotations

import struct
from typing import NamedTuple

from radical.asyncflow.model import TaskUsage
from radical.asyncflow.worker import LogSetup

__all__ = ["KEEPS_NOTHING", "Keeps", "pack_usage", "usage_behind"]

_USAGE = struct.Struct("<dqqq")
_UNKNOWN = -1

_new = tuple.__new__  # a named tuple's own constructor costs three times as much


class Keeps(NamedTuple):
    """The work of a worker beside its tasks.

    Attributes:
        logs: how `logging` is set up in the program, which gets their records; None to keep
            them here.
        output, usage: it tells what they print and log, and what they use.
    """

    logs: LogSetup | None = None
    output: bool = False
    usage: bool = False


KEEPS_NOTHING = Keeps()


def pack_usage(usage: TaskUsage) -> bytes:
    """Return *usage* as bytes that may follow a pickle."""
    cpu, peak, read, written = usage
    return _USAGE.pack(
        _UNKNOWN if cpu is None else cpu,
        _UNKNOWN if peak is None else peak,
        _UNKNOWN if read is None else read,
        _UNKNOWN if written is None else written,
    )


def usage_behind(body: bytearray) -> TaskUsage:
    """Return what `pack_usage` put behind a pickle."""
    cpu, peak, read, written = _USAGE.unpack_from(body, len(body) - _USAGE.size)
    return _new(
        TaskUsage,
        (
            None if cpu < 0 else cpu,
            None if peak < 0 else peak,
            None if read < 0 else read,
            None if written < 0 else written,
        ),
    )
