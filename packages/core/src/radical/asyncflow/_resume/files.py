"""Files as the journal knows them: the content of inputs, and outputs that can be restored."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterable, Mapping
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


def describe(outputs: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Return what the journal records of *outputs*, the places by name; this blocks."""
    return [
        {"name": name, "path": str(path), "digest": digest(str(path)).hex()}
        for name, path in outputs.items()
    ]


def restore(
    files: Iterable[Mapping[str, Any]], place: Callable[[str], Path]
) -> dict[str, tuple[str, Path]]:
    """See to it that the *files* that `describe` described are at their places; this blocks.

    If the program was started in another folder than before, a relative name leads to another
    place.  What is missing or different there is copied from the former place.

    Args:
        place: returns the place of an output by its name.

    Returns:
        The former path and the place of each file, by its name.

    Raises:
        Unidentified: a file is gone, or its content has changed.
    """
    places = {}
    for file in files:
        path, target = Path(file["path"]), place(file["name"])
        places[file["name"]] = str(path), target
        if target != path and target.exists() and digest(str(target)).hex() == file["digest"]:
            continue
        if not path.exists():
            raise Unidentified(f"its output file {path} is gone")
        if digest(str(path)).hex() != file["digest"]:
            raise Unidentified(f"its output file {path} has changed since")
        if target != path:
            part = target.with_name(f".{secrets.token_hex(8)}.part")
            copy(lambda: None, file["name"], str(path), part, target)
    return places
