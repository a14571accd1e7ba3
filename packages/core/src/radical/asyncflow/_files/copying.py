"""Copy a file or folder, from this machine or by fsspec, so that the copy appears whole.

Every function here blocks, and runs in a thread that may be given up: between any two blocks
of data it calls the *check* that it was given.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

from .._text import closest, safe_str
from ..errors import FileError
from .sources import check_name, is_url, show

__all__ = ["Check", "StoppedError", "copy", "duplicate", "remote_content", "remove"]

Check = Callable[[], None]
"""A function that raises `StoppedError` once nobody waits for the work that calls it."""

_BLOCK_BYTES = 1 << 20  # bytes read at once
_KERNEL_COPY_BYTES = 1 << 26  # bytes that the kernel copies, or shares, in one call


class StoppedError(Exception):
    """The end of work that nobody waits for any more."""


def copy(
    check: Check, name: str, source: str, part: Path, target: Path, *, link: bool = False
) -> None:
    """Copy *source*, the input *name*, to *part* (or link it), and rename that to *target*.

    Raises:
        FileError: the source is missing or cannot be copied; no part of a copy is left.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if link and is_url(source):
                raise FileError(f"input {name!r}: a URL cannot be linked: {show(source)}")
            if is_url(source):
                _download(check, source, part)
            elif link:
                mode = os.stat(source).st_mode  # noqa: PTH116 - it must be there
                if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                    raise FileError(f"{source!r} is neither a file nor a folder")
                part.symlink_to(source)
            else:
                duplicate(check, source, part, _identities(target.parent))
            check()
            if part.is_dir() or target.is_dir():
                remove(target)
            part.replace(target)
        finally:
            remove(part)
    except (FileError, StoppedError):
        raise
    except Exception as error:
        raise _failure(name, source, error) from error


def remove(path: Path) -> None:
    """Remove a file, or a folder with everything in it; it may be gone already.

    A task may have made folders that not even their owner can change.
    """
    if path.is_dir() and not path.is_symlink():
        try:
            shutil.rmtree(path)
        except PermissionError:
            path.chmod(stat.S_IRWXU)
            for folder, names, _ in os.walk(path):  # it enters a folder after this changed it
                for name in names:
                    below = Path(folder, name)
                    if not below.is_symlink():
                        below.chmod(stat.S_IRWXU)
            shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def duplicate(
    check: Check, source: str, part: Path, above: frozenset[tuple[int, int]] = frozenset()
) -> None:
    """Copy a file or folder to *part*.

    Raises:
        FileError: it leads back to one of the folders *above*, or is neither of both: to read a
            named pipe or a device could wait for ever.
    """
    facts = os.stat(source)  # noqa: PTH116
    if not stat.S_ISDIR(facts.st_mode):
        if not stat.S_ISREG(facts.st_mode):
            raise FileError(f"{source!r} is neither a file nor a folder")
        with open(source, "rb", buffering=0) as reader:  # noqa: PTH123
            check()
            with part.open("xb") as writer:
                if hasattr(os, "copy_file_range"):
                    # This shares blocks where the file system can.  The loop below copies the
                    # rest, or raises the reason why it cannot be copied.
                    with contextlib.suppress(OSError):
                        while os.copy_file_range(
                            reader.fileno(), writer.fileno(), _KERNEL_COPY_BYTES
                        ):
                            check()
                _copy_blocks(check, reader, writer)
        _copy_attributes(source, part, stat.S_IWUSR)
        return
    here = facts.st_dev, facts.st_ino
    if here in above:
        raise FileError(
            f"the folder {source!r} leads back to itself or to the task's own folder, "
            "so it cannot be copied there"
        )
    part.mkdir()
    with os.scandir(source) as entries:
        for entry in list(entries):
            check()
            if not entry.is_dir() and not entry.is_file():
                raise FileError(f"{entry.path!r} is neither a file nor a folder")
            duplicate(check, entry.path, part / entry.name, above | {here})
    _copy_attributes(source, part, stat.S_IRWXU)


def _copy_attributes(source: str, part: Path, owner: int) -> None:
    """Give the copy the times and permissions of the original, and also *owner*'s bits."""
    shutil.copystat(source, part)
    part.chmod(stat.S_IMODE(part.stat().st_mode) & 0o777 | owner)


def remote_content(source: str) -> Iterator[bytes]:
    """Yield bytes that are the same as long as what the URL *source* names is the same.

    That is the checksum of a server that gives one for the content, and else the content.
    """
    system, path = _open_system(source)
    mark = _checksum(system, path)
    if mark is not None:
        yield mark
        return
    try:
        reader = system.open(path, "rb")
    except (FileNotFoundError, IsADirectoryError):
        if source.startswith(("http:", "https:")) or not system.isdir(path):
            raise
    else:
        yield b"file"
        with reader:
            while block := reader.read(_BLOCK_BYTES):
                yield block
        return
    yield b"folder"
    root = path.rstrip("/") + "/"
    for name in sorted(system.find(path)):
        digest = blake2b(digest_size=16)
        with system.open(name, "rb") as reader:
            while block := reader.read(_BLOCK_BYTES):
                digest.update(block)
        yield name.removeprefix(root).encode("utf-8", "surrogateescape") + b"\0" + digest.digest()


def _checksum(system: Any, path: str) -> bytes | None:
    """Return what a server says about the content of *path*; None if it says nothing certain."""
    try:
        system.invalidate_cache(path)  # it may know it from a listing of an hour ago
        facts = system.info(path)
    except Exception:
        return None  # opening it will say what is wrong
    if not isinstance(facts, Mapping):
        return None
    for name in ("ETag", "etag", "md5Hash", "content_md5", "Content-MD5"):
        value = facts.get(name)
        # Web servers make a weak tag for content that is only about the same.
        if isinstance(value, str) and value and not value.startswith("W/"):
            return repr((name, value, facts.get("size"))).encode("utf-8", "surrogateescape")
    return None


def _open_system(source: str) -> tuple[Any, str]:
    """Return the file system of the URL *source*, and the path in it."""
    core = importlib.import_module("fsspec.core")
    # A file system that was opened earlier in this program may remember an archive as it was.
    options = {"skip_instance_cache": True} if "::" in source else {}
    system, path = core.url_to_fs(source, **options)
    return system, path


def _download(check: Check, source: str, part: Path) -> None:
    system, path = _open_system(source)
    try:
        reader = system.open(path, "rb")
    except (FileNotFoundError, IsADirectoryError):
        # Web servers have no folders: what looks like a folder is a page of links.
        if source.startswith(("http:", "https:")) or not system.isdir(path):
            raise
    else:
        with reader:
            check()
            with part.open("xb") as writer:
                _copy_blocks(check, reader, writer)
        return
    part.mkdir()
    root = path.rstrip("/") + "/"
    for name in system.find(path):
        check()
        # The server chooses the names: none of them may lead out of the folder.
        copy = part / check_name(name.removeprefix(root))
        copy.parent.mkdir(parents=True, exist_ok=True)
        with system.open(name, "rb") as reader, copy.open("xb") as writer:
            _copy_blocks(check, reader, writer)


def _copy_blocks(check: Check, reader: IO[bytes], writer: IO[bytes]) -> None:
    while block := reader.read(_BLOCK_BYTES):
        check()
        writer.write(block)


def _identities(folder: Path) -> frozenset[tuple[int, int]]:
    facts = [parent.stat() for parent in (folder, *folder.parents)]
    return frozenset((one.st_dev, one.st_ino) for one in facts)


def _failure(name: str, source: str, error: Exception) -> FileError:
    if isinstance(error, FileNotFoundError) and (is_url(source) or not os.path.lexists(source)):
        hint = "" if is_url(source) else _suggestion(Path(source))
        return FileError(f"input {name!r}: no such file or folder: {show(source)}{hint}")
    reason = safe_str(error).replace(source, show(source))
    return FileError(f"input {name!r} cannot be staged from {show(source)}: {reason}")


def _suggestion(path: Path) -> str:
    try:
        with os.scandir(path.parent) as entries:
            return closest(path.name, [entry.name for entry in itertools.islice(entries, 1000)])
    except OSError:
        return f" (there is no readable folder {str(path.parent)!r})"
