"""Files as the journal knows them: the content of inputs, and outputs that can be restored."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from .._files.copying import copy, remote_content
from .._files.sources import is_url, show
from .._text import safe_str
from .identity import Unidentified

__all__ = ["describe", "digest", "restore"]

_BLOCK_BYTES = 1 << 20
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def digest(source: str) -> bytes:
    """Return the hash of the content of a file, a folder or what a URL names; this blocks.

    Raises:
        Unidentified: it cannot be read.
    """
    total = blake2b(digest_size=16)
    if is_url(source):
        try:
            for part in remote_content(source):
                total.update(part)
        except Exception as error:  # of any file system that fsspec knows
            reason = safe_str(error).replace(source, show(source))
            raise Unidentified(f"the input {show(source)} cannot be read: {reason}") from error
        return total.digest()
    top = Path(source)
    try:
        if top.is_dir():
            for folder, subfolders, files in os.walk(top, followlinks=True):
                subfolders.sort()
                for name in sorted(files):
                    path = Path(folder, name)
                    total.update(os.fsencode(path.relative_to(top)) + b"\0")
                    total.update(_read(path))
        else:
            total.update(_read(top))
    except OSError as error:
        raise Unidentified(f"the input {source} cannot be read: {error}") from error
    return total.digest()


def _read(path: Path) -> bytes:
    one = blake2b(digest_size=16)
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        # To open a named pipe would wait for its other end, for good.
        kind = _KINDS.get(stat.S_IFMT(mode), "no file")
        raise Unidentified(f"{path} is {kind}, which has no content that could be compared")
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            one.update(block)
    return one.digest()


def describe(names: Iterable[str], folder: Path) -> list[dict[str, Any]]:
    """Return what the journal records of the outputs *names* in *folder*; this blocks."""
    return [
        {"name": name, "path": str(folder / name), "digest": digest(str(folder / name)).hex()}
        for name in names
    ]


def restore(files: Iterable[Mapping[str, Any]], folder: Path) -> None:
    """Copy the *files* that `describe` described into *folder*, unless they are there; blocks.

    Raises:
        Unidentified: a file is gone, or its content has changed.
    """
    for file in files:
        path = Path(file["path"])
        if not path.exists():
            raise Unidentified(f"its output file {path} is gone")
        if digest(str(path)).hex() != file["digest"]:
            raise Unidentified(f"its output file {path} has changed since")
        target = folder / file["name"]
        if target != path:
            part = target.with_name(target.name + ".part")
            copy(lambda: None, file["name"], str(path), part, target)
