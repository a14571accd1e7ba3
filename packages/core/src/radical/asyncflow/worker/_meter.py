"""A meter of what functions use, read in the process or thread that runs them.

The CPU time costs half a microsecond at each end.  Memory and bytes cost some 8 µs, because the
kernel tells them in files.  So they are measured only of functions that are not known to be short.
"""

from __future__ import annotations

import os
import re
import resource
import sys
from collections.abc import Callable, Iterable
from time import perf_counter, process_time, thread_time

from .._public import public
from ..model import TaskUsage

__all__ = ["Meter", "bytes_passed", "is_of_child", "peak_of", "sum_of_ranks", "usage_of"]

LONG_S = 0.002
"""The seconds that a function takes from which on memory and bytes are measured."""

_CHILD_S = 0.0003  # nothing that takes less can have started a process and waited for it
_FADE = 0.8  # of what is known of a function, at each further call
_MOST_KNOWN = 1000  # functions
_RESET_PEAK = b"5"  # what /proc/self/clear_refs takes; see proc(5)
_PEAK = re.compile(rb"^VmHWM:\s+(\d+) kB", re.MULTILINE)
_BYTES = re.compile(rb"rchar: (\d+)\nwchar: (\d+)\n")

_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024

_most = 0  # bytes that this process was seen to have: asking costs some 10 µs

_new = tuple.__new__  # a named tuple's own constructor costs three times as much


@public("radical.asyncflow.worker")
class Meter:
    """Measures attempts at functions, one after the other: one meter for each thread.

    It knows the CPU time: of the process with the child processes that the function waited for;
    or of the thread alone, without the threads and processes that the function starts.

    On Linux it also knows the bytes, in the same way, and the peak memory of a process that runs
    one task at a time.  That is the memory of the whole process, also what it had before the
    task.  These figures are None for a function that is known to take less than 2 ms.
    """

    def __init__(self, *, whole_process: bool, alone: bool | None = None) -> None:
        """Measure the process if *whole_process* is true, else the thread that calls.

        Args:
            alone: whether the process runs one task at a time; by default *whole_process*.
        """
        self._alone = whole_process if alone is None else alone
        self._clock: Callable[[], float] = process_time if whole_process else thread_time
        self._io = "/proc/self/io" if whole_process else "/proc/thread-self/io"
        self._known: dict[int, float] = {}
        self._key = 0
        self._bytes: tuple[int, int] | None = None
        self._peaks = False
        self._children = _children_seconds() if self._alone else 0.0
        self._began = self._cpu = 0.0

    def begin(self, key: int) -> None:
        """Begin to measure a call of the function that *key* stands for."""
        self._key = key
        self._bytes = None
        self._peaks = False
        if self._known.get(key, LONG_S) >= LONG_S:
            self._peaks = self._alone and _reset_peak()
            self._bytes = bytes_passed(self._io, own=True)
        self._began = perf_counter()
        self._cpu = self._clock()

    def end(self) -> TaskUsage:
        """Return what was used since `begin`, which was called in the same thread."""
        cpu = self._clock() - self._cpu
        took = perf_counter() - self._began
        read = written = peak = None
        before = self._bytes
        if before is not None:
            after = bytes_passed(self._io)
            if after is not None:
                read, written = after[0] - before[0], after[1] - before[1]
        if self._peaks:
            peak = _peak()
        if took >= _CHILD_S and self._alone:
            children = _children_seconds()
            cpu += children - self._children
            self._children = children
        self._learn(took)
        return _new(TaskUsage, (cpu, peak, read, written))

    def _learn(self, took: float) -> None:
        known, key = self._known, self._key
        expected = known.get(key)
        if expected is None and len(known) >= _MOST_KNOWN:
            del known[next(iter(known))]
        known[key] = took if expected is None else max(took, expected * _FADE)


def usage_of(ended: resource.struct_rusage, passed: tuple[int, int] | None) -> TaskUsage:
    """Return what a child process used that has ended, and has *passed* so many bytes.

    The kernel counts the memory of the program, from which the child was started, to that of the
    child.  So its own is known only if it had more than this program ever had.
    """
    peak = peak_of(ended)
    known = peak if is_of_child(peak) else None
    return TaskUsage(ended.ru_utime + ended.ru_stime, known, *(passed or (None, None)))


def sum_of_ranks(usages: Iterable[TaskUsage], *, peaks: bool = True) -> TaskUsage:
    """Return what ranks used together: the memory is that of the largest.

    A figure is None if one of the ranks does not tell it.

    Args:
        peaks: False if a rank that does not tell its memory had less than each that does.
    """
    cpu, peak, read, written = zip(*usages, strict=True)
    known = [size for size in peak if size is not None]
    return TaskUsage(
        None if None in cpu else sum(cpu),
        None if not known or (peaks and None in peak) else max(known),
        None if None in read else sum(read),
        None if None in written else sum(written),
    )


@public("radical.asyncflow.worker")
def peak_of(usage: resource.struct_rusage) -> int:
    """Return the peak memory in *usage*, in bytes: each system has a unit of its own."""
    return usage.ru_maxrss * _MAXRSS_UNIT


def is_of_child(peak: int) -> bool:
    """Tell whether a child had the *peak* of memory, in bytes, that the kernel counts to it.

    A child begins with the memory of the program that starts it, and so do the counts of the
    kernel.  A program's own ``ru_maxrss`` has begun in the same way, with the memory of whoever
    started it, so it is no measure: it may be far above what this program ever had.
    """
    global _most
    if peak <= _most:
        return False
    own = _peak()
    if own is None:
        own = peak_of(resource.getrusage(resource.RUSAGE_SELF))
    _most = max(_most, own)
    return peak > own


def _children_seconds() -> float:
    """Return the CPU seconds of the child processes that were waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _reset_peak() -> bool:
    """Let the peak memory of this process count from now on, and tell whether it does."""
    try:
        descriptor = os.open("/proc/self/clear_refs", os.O_WRONLY)
    except OSError:
        return False
    try:
        os.write(descriptor, _RESET_PEAK)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _peak() -> int | None:
    """Return the peak memory of this process in bytes; None if the system does not tell."""
    found = _PEAK.search(_content("/proc/self/status"))
    return int(found[1]) * 1024 if found else None


def bytes_passed(path: str, *, own: bool = False) -> tuple[int, int] | None:
    """Return the bytes that were read and written; with *own* also those of this question."""
    content = _content(path)
    found = _BYTES.match(content)
    return (int(found[1]) + own * len(content), int(found[2])) if found else None


def _content(path: str) -> bytes:
    """Return the content of a small file of ``/proc``; nothing if it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 4096)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
