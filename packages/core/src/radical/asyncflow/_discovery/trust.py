"""Judge whether a file of settings is this user's own word.

A file that chooses backends runs programs.  So it counts only if nobody but this user and
root could have written it, or put it, or a folder or link on the way to it, into its place.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

__all__ = ["reason_for_distrust"]

MOST_LINKS = 40
"""Symbolic links that are followed on the way to a file, as many as the kernel follows."""

ROOT = 0


def reason_for_distrust(path: Path) -> str | None:
    """Return why *path*, which is absolute, may not be obeyed; None if it may.

    Raises:
        OSError: something on the way to it cannot be looked at.
    """
    for step, status in _steps(path):
        what = "it" if step == path else str(step)
        if stat.S_ISDIR(status.st_mode):
            if not (_is_ours(status) or _has_unknown_owner(status)):
                return f"the folder {step} belongs to another user (uid {status.st_uid})"
            if _others_may_write(status) and not status.st_mode & stat.S_ISVTX:
                return f"others may write into the folder {step}"
            continue
        if not _is_ours(status):
            return f"{what} belongs to another user (uid {status.st_uid})"
        if not stat.S_ISLNK(status.st_mode) and _others_may_write(status):
            return f"others may write {what}"
        folder = step.parent.stat()
        if folder.st_mode & stat.S_IWOTH and folder.st_uid != os.geteuid():
            return f"anyone may put a file into its folder, {step.parent}"
    return None


def _steps(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield every folder and link on the way to *path*, and what it leads to, with its status."""
    here = Path(path.anchor)
    yield here, here.lstat()
    rest = list(reversed(path.parts[1:]))
    links = 0
    while rest:
        part = rest.pop()
        if part == os.pardir:
            here = here.parent
            continue
        step = here / part
        status = step.lstat()
        yield step, status
        if not stat.S_ISLNK(status.st_mode):
            here = step
            continue
        links += 1
        if links > MOST_LINKS:
            raise OSError(f"{path} leads through too many links")
        target = step.readlink()
        if target.is_absolute():
            here = Path(target.anchor)
        rest += reversed([part for part in target.parts if part != target.anchor])


def _is_ours(status: os.stat_result) -> bool:
    return status.st_uid in (ROOT, os.geteuid())


def _has_unknown_owner(status: os.stat_result) -> bool:
    """Tell whether the owner has no number here, as root has none in many containers.

    A container that maps few user ids shows all others as one.
    """
    try:
        mapped = Path("/proc/self/uid_map").read_text(encoding="ascii").split()
        unknown = int(Path("/proc/sys/fs/overflowuid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return False
    whole = len(mapped) == 3 and int(mapped[2]) >= 0xFFFFFFFF
    return not whole and status.st_uid == unknown


def _others_may_write(status: os.stat_result) -> bool:
    if status.st_mode & stat.S_IWOTH:
        return True
    return bool(status.st_mode & stat.S_IWGRP) and not _is_private_group(status.st_gid)


def _is_private_group(gid: int) -> bool:
    """Tell whether the group is this user's alone, as many systems give each user one."""
    try:
        user = pwd.getpwuid(os.geteuid())
        group = grp.getgrgid(gid)
    except KeyError:
        return False
    return (
        gid == user.pw_gid and group.gr_name == user.pw_name and {*group.gr_mem} <= {user.pw_name}
    )
