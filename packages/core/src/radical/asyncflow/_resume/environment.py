"""The environment of a run: its program, packages, commit, folder, host and user.

To find it out takes some ten milliseconds and, in a repository, a process of git.  So a thread
does it, while the run goes on.
"""

from __future__ import annotations

import asyncio
import getpass
import logging
import os
import platform
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from ..aside import in_thread
from .distributions import metadata_folders

__all__ = ["Surroundings", "environment", "git_state", "imported_packages"]

log = logging.getLogger("radical.asyncflow")

GIT_LIMIT_S = 1.0
"""The most seconds that git may take; after them it is not known whether files have changed."""

_MOST_RECORD_BYTES = 1 << 16
_MOST_WORD = 1000


class Surroundings:
    """The search for the environment of one run, in a thread.

    Args:
        on_found: called in *loop* with the environment.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_found: Callable[[Mapping[str, Any]], None]
    ) -> None:
        self._loop = loop
        self._on_found = on_found
        self._thread: threading.Thread | None = None
        self._found: dict[str, Any] = {}

    def begin(self, command: Sequence[str]) -> None:
        """Begin to search; *command* is what has begun the program."""
        try:
            folder = os.getcwd()  # noqa: PTH109
        except OSError:  # it was deleted
            folder = ""
        self._thread = threading.Thread(
            target=self._search, args=(command, folder), name="asyncflow-environment", daemon=True
        )
        self._thread.start()

    def _search(self, command: Sequence[str], folder: str) -> None:
        try:
            self._found = environment(command, folder)
        except Exception:  # what is found is of use, and the run needs none of it
            log.warning("the environment of the run is not recorded", exc_info=True)
            return
        with suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(self._on_found, self._found)

    async def end(self) -> None:
        """Wait until it is found, and look once more for what was imported meanwhile."""
        thread = self._thread
        if thread is None:
            return
        if thread.is_alive():
            await in_thread(thread.join)
        else:
            thread.join()
        found = self._found
        if found and (packages := imported_packages()) != found["packages"]:
            self._on_found({**found, "packages": packages})


def environment(command: Sequence[str], folder: str) -> dict[str, Any]:
    """Return the environment of this program, which was begun by *command* in *folder*.

    What cannot be found out is not there.
    """
    system = os.uname()
    found: dict[str, Any] = {
        "command": [
            word if len(word) <= _MOST_WORD else f"{word[:_MOST_WORD]}…" for word in command
        ],
        "folder": folder,
        "host": socket.gethostname(),
        "platform": f"{system.sysname} {system.release} {system.machine}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "executable": sys.executable,
        "packages": imported_packages(),
    }
    try:
        found["user"] = getpass.getuser()
    except (KeyError, OSError):  # the user has no name here
        found["user"] = str(os.getuid())
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    place = os.path.dirname(os.path.abspath(main)) if isinstance(main, str) else folder  # noqa: PTH100, PTH120
    if git := git_state(place):
        found["git"] = git
    return found


def imported_packages() -> dict[str, str]:
    """Return the versions of the installed distributions of which something is imported."""
    tops = {name.partition(".")[0] for name in list(sys.modules)}
    found = {}
    for info in metadata_folders():
        name, _, version = info.rpartition("/")[2].rpartition(".")[0].partition("-")
        name = re.sub(r"[-_.]+", "-", name).lower()
        if name not in found and not tops.isdisjoint(_modules(info, name)):
            found[name] = version.partition("-py")[0]
    return dict(sorted(found.items()))


@cache
def _modules(info: str, name: str) -> frozenset[str]:
    """Return the names of the modules that the distribution with the metadata *info* brings."""
    like = name.replace("-", "_")
    found = {like}
    try:
        with open(f"{info}/top_level.txt", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return frozenset((like, *file.read().split()))
    except OSError:
        pass
    try:
        with open(f"{info}/RECORD", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            lines = file.read(_MOST_RECORD_BYTES).splitlines()
    except OSError:
        return frozenset(found)
    for line in lines:
        top, slash, _ = line.partition(",")[0].partition("/")
        if not slash:
            top = top.removesuffix(".py")
        if top.isidentifier():
            found.add(top)
    return frozenset(found)


def git_state(folder: str) -> dict[str, Any] | None:
    """Return commit, branch and dirtiness of the repository of *folder*; None without one.

    Dirty is a repository in which a file that git knows has changed since the commit.  It is
    None if that cannot be known.
    """
    root = next(
        (place for place in (Path(folder), *Path(folder).parents) if (place / ".git").exists()),
        None,
    )
    if root is None:
        return None
    # No setting of the repository may run a program, and nothing is written.
    command = ["git", "-c", "core.fsmonitor=false", "--no-optional-locks", "-C", str(root)]
    command += ["status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_LIMIT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return {"folder": str(root), **_head(root), "dirty": None}
    state: dict[str, Any] = {"folder": str(root), "commit": "", "branch": "", "dirty": False}
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        if line.startswith("# branch.oid "):
            state["commit"] = line.split(" ")[2].replace("(initial)", "")
        elif line.startswith("# branch.head "):
            state["branch"] = line.split(" ", 2)[2].replace("(detached)", "")
        elif not line.startswith("#"):
            state["dirty"] = True
    return state


def _head(root: Path) -> Mapping[str, str]:
    """Return commit and branch as the files of the repository say, as far as they do."""
    git = root / ".git"
    try:
        head = (git / "HEAD").read_text("utf-8").strip()
        if not head.startswith("ref: "):
            return {"commit": head, "branch": ""}
        reference = head.removeprefix("ref: ")
        branch = reference.removeprefix("refs/heads/")
        file = git / reference
        if file.exists():
            return {"commit": file.read_text("utf-8").strip(), "branch": branch}
        for line in (git / "packed-refs").read_text("utf-8").splitlines():
            commit, _, name = line.partition(" ")
            if name == reference:
                return {"commit": commit, "branch": branch}
    except (OSError, UnicodeDecodeError):  # a worktree, whose .git is a file
        return {"commit": "", "branch": ""}
    return {"commit": "", "branch": branch}
