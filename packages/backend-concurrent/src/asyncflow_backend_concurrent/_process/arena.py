"""Memory that a worker and its parent share, for large buffers on their way.

It is a file that has no name and lives in memory, so nothing of it is left once both
processes are gone, however they ended.  Each end writes to a half of its own.  The other
end maps what it is told of and gives the pages back when the last object that uses the
mapping is gone: a few pages to be written again, which saves the system finding and
clearing others, and the rest to the system.  The mapping is private: what one side changes
in its array the other never sees.  A fork would see changes of the file, though, so
pages that were mapped before a fork are given back only with the whole file.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import pickle
import threading
import weakref

__all__ = ["Arena", "make_arena"]

_HALF = 1 << 42
_SPARE_BYTES = 16 * 1024 * 1024  # kept at each end to be written again
_END = (1 << 63) - 1 - mmap.PAGESIZE  # the largest file, rounded to a page
_PUNCH = 1 | 2  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
_MADV_REMOVE = 9
_FAILED = ctypes.c_void_p(-1).value


class Arena:
    """One end of the shared memory; for one thread, but memory is freed from any."""

    def __init__(self, descriptor: int, *, upper: bool) -> None:
        """Take over *descriptor*; the two ends differ in *upper*."""
        self._descriptor = descriptor
        self._next = _HALF if upper else 0
        self._pid = os.getpid()
        self._forks = _forks
        self._spare: dict[int, list[int]] = {}  # offsets to be written again, by size
        self._spared = 0  # bytes of those
        # Guards what follows.  The collector may free memory while this thread holds it.
        self._lock = threading.RLock()
        self._held: dict[int, int] = {}  # what is mapped here: offsets and sizes
        self._handles: dict[int, int] = {}  # mappings to give pages back by, once it is retired
        self._freed: list[tuple[int, int]] = []  # what the other end may write again
        self._freeing = 0  # bytes of those

    def fileno(self) -> int:
        """Return the descriptor of the file."""
        return self._descriptor

    def put(self, buffer: memoryview) -> int | None:
        """Copy *buffer* and return the offset for the other end; None if there is no room."""
        size = buffer.nbytes
        room = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        spare = self._spare.get(room)
        if spare:
            offset = spare.pop()
            self._spared -= room
        else:
            offset = self._next
            self._next += room
        done = 0
        try:
            while done < size:
                done += os.pwrite(self._descriptor, buffer[done:], offset + done)
        except OSError:  # the memory of the machine or of a container, or a limit of file sizes
            self._punch(offset, room)
            return None
        return offset

    def freed(self) -> list[tuple[int, int]]:
        """Return offsets and sizes that the other end should `reuse`."""
        if not self._freed:
            return []
        with self._lock:
            freed, self._freed = self._freed, []
            self._freeing = 0
            return freed

    def reuse(self, offset: int, size: int) -> None:
        """Note that the other end no longer uses what this end put there."""
        room = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        if self._spared + room > _SPARE_BYTES:
            self._punch(offset, room)
        else:
            self._spared += room
            self._spare.setdefault(room, []).append(offset)

    def get(self, offset: int, size: int) -> memoryview | bytearray:
        """Return what the other end put there, writable; only once for each offset."""
        address = _map(self._descriptor, offset, size, mmap.MAP_PRIVATE)
        if address is None:
            copy = bytearray(size)
            with memoryview(copy) as view:
                done = 0
                while done < size:
                    done += os.preadv(self._descriptor, [view[done:]], offset + done)
            self._punch(offset, size)
            return copy
        self._held[offset] = size
        memory = (ctypes.c_char * size).from_address(address)
        # Every object that uses the memory keeps this one alive, and so the mapping.
        weakref.finalize(memory, self._free, offset, address, size, _forks).atexit = False
        return pickle.PickleBuffer(memory).raw()

    def retire(self) -> None:
        """Give back all but what is mapped here, and the descriptor: the other end is gone."""
        with self._lock:
            edge = 0
            for offset, size in sorted(self._held.items()):
                if offset not in self._held:  # the collector came in between
                    continue
                if self._forks == _forks:
                    self._punch(edge, offset - edge)
                edge = offset + size
                # Pages can be given back through a shared mapping, too.
                handle = _map(self._descriptor, offset, size, mmap.MAP_SHARED)
                if handle is not None:
                    self._handles[offset] = handle
            if self._forks == _forks:
                self._punch(edge, _END - edge)
            os.close(self._descriptor)
            self._descriptor = -1

    def _free(self, offset: int, address: int, size: int, forks: int) -> None:
        _libc.munmap(address, size)
        if os.getpid() != self._pid:
            return  # in a fork, to which the file does not belong
        with self._lock:
            del self._held[offset]
            handle = self._handles.pop(offset, None)
            if handle is not None:
                if forks == _forks:
                    _libc.madvise(handle, size, _MADV_REMOVE)
                _libc.munmap(handle, size)
            elif forks == _forks and self._descriptor >= 0:
                if self._freeing + size <= _SPARE_BYTES:
                    self._freeing += size
                    self._freed.append((offset, size))
                else:
                    self._punch(offset, size)

    def _punch(self, offset: int, size: int) -> None:
        if size > 0:
            _libc.fallocate(self._descriptor, _PUNCH, offset, size)


def make_arena() -> Arena | None:
    """Make the parent's end of a new arena; return None where the system has no such files."""
    if not hasattr(os, "memfd_create"):
        return None
    try:
        descriptor = os.memfd_create("asyncflow-worker", os.MFD_CLOEXEC)
    except OSError:
        return None
    return Arena(descriptor, upper=False)


def _map(descriptor: int, offset: int, size: int, kind: int) -> int | None:
    """Make a mapping and return its address; None if there are too many."""
    access = mmap.PROT_READ | mmap.PROT_WRITE
    address: int = _libc.mmap(None, size, access, kind, descriptor, offset)
    return None if address == _FAILED else address


_forks = 0


def _count_fork() -> None:
    global _forks
    _forks += 1


os.register_at_fork(before=_count_fork)

_libc = ctypes.CDLL(None)
if hasattr(os, "memfd_create"):
    _libc.mmap.restype = ctypes.c_void_p
    _libc.mmap.argtypes = (
        *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int),
        ctypes.c_int64,
    )
    _libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    _libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    _libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
