"""Know the things outside of the program that results depend on, such as files and variables.

A `Fact` is the state of one such thing.  The facts of a result stand in the journal beside it,
and it is reused only while all of them hold.  A state that cannot be known never holds.
"""

from __future__ import annotations

import dataclasses
import glob
import os
import shutil
import stat
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from ..model import Env

__all__ = [
    "FROM_TASK",
    "MISSING",
    "Fact",
    "Unread",
    "broken",
    "declared",
    "digest_of",
    "ended",
    "noted",
    "paths_in",
    "resolved_program",
    "state_of",
    "thing",
    "unknowable",
    "uses_among",
    "with_outputs",
]

MISSING = "missing"
FROM_TASK = "uses:from"
"""The kind of the fact about an input whose path is the result of another task."""
UNKNOWN = "?"
"""The beginning of a state that cannot be known; the rest is the reason."""

SMALL_BYTES = 1 << 14
"""The size up to which a file is read even where reading may hold the loop."""
MAX_FOLDER_FILES = 10_000
MAX_FOLDER_BYTES = 1 << 31
_MAX_KNOWN = 100_000
_SETTLED_NS = 2_000_000_000
"""A file that was changed less long ago may change again without another time."""
_BLOCK_BYTES = 1 << 20

Content = Callable[[Any], bytes]


class Fact(NamedTuple):
    """The state of something outside.

    Attributes:
        kind: ``file`` (also a folder, by content), ``glob`` (the files of a pattern), ``image``
            (of a container, by size and time),
            ``output`` and ``begin`` (a file that gets the output, and one that may grow
            afterwards), ``program`` (on PATH), ``result`` (a file whose path is in the result)
            or ``declared`` (an output of the task).  With ``uses:`` before it, it is something
            that a task declares; it then may also be ``env`` or ``value``, or `FROM_TASK`.
        name: the path, the name, or the number in the declaration.
        state: `MISSING`, a hash, or a reason why it cannot be known.
    """

    kind: str
    name: str
    state: str


class Unread(Exception):  # noqa: N818 - an answer, not an error
    """The answer for a file that would have to be read, where that must not be done."""


class _Digests:
    """The hashes of files that this process has read."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], str] = {}

    def of(
        self, path: str, facts: os.stat_result, size: int, read: bool, *, growing: bool = False
    ) -> str:
        """Return the hash of the first *size* bytes of *path*, whose state is *facts*.

        With *growing* others may append to the file meanwhile.

        Raises:
            Unread: it is not known, *read* is False, and it is not small.
            OSError: it cannot be read.
        """
        key = _identity(facts, size)
        known = self._known.get(key)
        if known is not None:
            return known
        if not read and size > SMALL_BYTES:
            raise Unread
        digest, left = blake2b(digest_size=16), size
        with open(path, "rb") as file:  # noqa: PTH123
            while left and (block := file.read(min(left, _BLOCK_BYTES))):
                digest.update(block)
                left -= len(block)
            after = os.fstat(file.fileno())
        if _identity(after, size) != key:
            # Others may append to a log while its beginning is read: that stays as it is.
            whole = growing and not left and after.st_size >= size
            return digest.hexdigest() if whole else f"{UNKNOWN}is being written"
        if time.time_ns() - max(facts.st_mtime_ns, facts.st_ctime_ns) > _SETTLED_NS:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[key] = digest.hexdigest()
        return digest.hexdigest()


def _identity(facts: os.stat_result, size: int) -> tuple[int, ...]:
    times = facts.st_mtime_ns, facts.st_ctime_ns
    return facts.st_dev, facts.st_ino, facts.st_size, *times, size


_digests = _Digests()


def state_of(kind: str, name: str, *, read: bool = True) -> str:
    """Return the state of a file, a pattern or a program.

    Raises:
        Unread: a file has to be read, and *read* is False.
    """
    try:
        match kind.removeprefix("uses:"):
            case "program":
                return _program_state(name)
            case "glob":
                return _glob_state(name, read)
            case "image":
                return _image_state(name)
            case "env":
                return _env_state(name)
            case _:
                return _file_state(name, read, kind == "begin")
    except (FileNotFoundError, NotADirectoryError):
        return MISSING
    except (OSError, ValueError) as error:
        return f"{UNKNOWN}cannot be read: {getattr(error, 'strerror', None) or error}"


def _file_state(path: str, read: bool, begin: bool = False) -> str:
    facts = os.stat(path)  # noqa: PTH116
    if stat.S_ISDIR(facts.st_mode):
        return _folder_state(path, read)
    if not stat.S_ISREG(facts.st_mode) or os.path.abspath(path).startswith(("/proc/", "/sys/")):  # noqa: PTH100
        return f"{UNKNOWN}is no file with a content of its own"
    digest = _digests.of(path, facts, facts.st_size, read, growing=begin)
    return f"{facts.st_size}:{digest}" if begin and digest[0] != UNKNOWN else digest


def _folder_state(top: str, read: bool) -> str:
    """Return the hash of all names and contents below the folder *top*."""
    if not read:
        raise Unread
    total, count, size = blake2b(b"folder", digest_size=16), 0, 0
    for folder, subfolders, files in os.walk(top, onerror=_raise):
        subfolders[:] = sorted(name for name in subfolders if name != "__pycache__")
        total.update(os.fsencode(os.path.relpath(folder, top)) + b"\0/")
        for name in [*sorted(files), *subfolders]:
            path = os.path.join(folder, name)  # noqa: PTH118
            if os.path.islink(path):  # noqa: PTH114
                total.update(os.fsencode(name) + b"\0>" + os.fsencode(os.readlink(path)) + b"\0")  # noqa: PTH115
                if name in subfolders or not os.path.exists(path):  # noqa: PTH110
                    continue
            if name in subfolders:
                continue
            facts = os.stat(path)  # noqa: PTH116
            count, size = count + 1, size + facts.st_size
            if count > MAX_FOLDER_FILES or size > MAX_FOLDER_BYTES:
                return f"{UNKNOWN}is a folder with too much in it to be compared"
            state = _file_state(path, read) if stat.S_ISREG(facts.st_mode) else UNKNOWN
            if state.startswith(UNKNOWN):
                return f"{UNKNOWN}has {name} in it, which {state[1:] or 'is no file'}"
            total.update(os.fsencode(name) + b"\0" + state.encode())
    return total.hexdigest()


def _raise(error: OSError) -> None:
    raise error


def _image_state(path: str) -> str:
    """Return the state of the image of a container, which is too large to be read for each task."""
    facts = os.stat(os.path.expanduser(path))  # noqa: PTH111, PTH116
    if stat.S_ISDIR(facts.st_mode):
        return "folder"
    return f"{facts.st_size}:{facts.st_mtime_ns}"


def _glob_state(pattern: str, read: bool) -> str:
    names = sorted(glob.glob(pattern))  # noqa: PTH207 - as the shell has it
    if not names:
        return MISSING
    if len(names) > MAX_FOLDER_FILES:
        return f"{UNKNOWN}means too many files to be compared"
    total = blake2b(digest_size=16)
    for name in names:
        state = _file_state(name, read)
        if state.startswith(UNKNOWN):
            return f"{UNKNOWN}means {name}, which {state[1:]}"
        total.update(os.fsencode(name) + b"\0" + state.encode() + b"\0")
    return total.hexdigest()


def _program_state(name: str) -> str:
    path = resolved_program(name)
    if path is None:
        return MISSING
    facts = os.stat(path)  # noqa: PTH116
    return f"{path}:{facts.st_size}:{facts.st_mtime_ns}"


def resolved_program(name: str, path: str | None = None) -> str | None:
    """Return the path of the program *name*, found on *path*; by default on PATH."""
    return _which(name, os.environ.get("PATH", os.defpath) if path is None else path)


@lru_cache(maxsize=1 << 14)
def _which(name: str, path: str) -> str | None:
    return shutil.which(name, path=path)


def _env_state(name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        return MISSING
    return blake2b(value.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def declared(uses: Iterable[Any], content: Content, *, read: bool = True) -> tuple[Fact, ...]:
    """Return the facts of what a task *uses*, as its option declares it.

    Args:
        content: returns the hash of a value.

    Raises:
        Unread: a file has to be read, and *read* is False.
        Unidentified: *content* raised it for a value.
    """
    facts = []
    for number, item in enumerate(uses, 1):
        if isinstance(item, str):
            facts.append(Fact("uses:file", item, state_of("file", item, read=read)))
        elif isinstance(item, Env):
            facts.append(Fact("uses:env", item.name, _env_state(item.name)))
        else:
            facts.append(Fact("uses:value", str(number), content(item).hex()))
    return tuple(facts)


def uses_among(facts: Iterable[Fact]) -> tuple[Fact, ...]:
    """Return those of *facts* that a task declares with ``uses``."""
    return tuple(fact for fact in facts if fact.kind.startswith("uses:"))


def broken(recorded: Sequence[Fact], now: Sequence[Fact], *, read: bool = True) -> str | None:
    """Return what of the *recorded* facts does not hold any more, as text; None if all hold.

    Args:
        now: facts among which is what the task declares that it uses, as it is now.

    Raises:
        Unread: a file has to be read, and *read* is False.
    """
    before, after = uses_among(recorded), uses_among(now)
    if [fact[:2] for fact in before] != [fact[:2] for fact in after]:
        return "what it declares with uses= has changed"
    for old, new in zip(before, after, strict=True):
        if old.kind == FROM_TASK and new.state == MISSING:
            continue  # it was cleared away, but not changed
        if old.state != new.state or new.state.startswith(UNKNOWN):
            return _difference(old, new.state)
    for fact in recorded:
        if fact.kind.startswith("uses:") or fact.kind == "declared":
            continue
        state = _begin(fact, read) if fact.kind == "begin" else None
        if state is None:
            state = state_of(fact.kind, fact.name, read=read)
        if state != fact.state or state.startswith(UNKNOWN):
            return _difference(fact, state)
    return None


def _begin(fact: Fact, read: bool) -> str | None:
    """Return the state that *fact*'s file had when it was as long as then; None if it never was."""
    length = fact.state.partition(":")[0]
    try:
        facts = os.stat(fact.name)  # noqa: PTH116
        if not length.isdigit() or facts.st_size < int(length) or not stat.S_ISREG(facts.st_mode):
            return None
        return f"{length}:{_digests.of(fact.name, facts, int(length), read, growing=True)}"
    except OSError:
        return None


def _difference(fact: Fact, state: str) -> str:
    """Return what happened to the thing of *fact*, which has another *state* now."""
    if fact.kind == "result":
        return f"{thing(fact)} {_happened(fact.state, state, 'has changed since')}"
    return f"{thing(fact)} {_happened(fact.state, state, 'has changed')}"


def thing(fact: Fact) -> str:
    """Return how messages call the thing of *fact*."""
    match fact.kind:
        case "uses:file":
            return f"{fact.name}, which it uses,"
        case "uses:from":
            return f"input {fact.name}, whose path is the result of a task,"
        case "uses:env":
            return f"the variable {fact.name}, which it uses,"
        case "uses:value":
            return f"value {fact.name} of what it uses"
        case "program":
            return f"the program {fact.name}, which its command names,"
        case "image":
            return f"the image {fact.name} of its container"
        case "result":
            return f"its output file {fact.name}"
        case _:
            return f"{fact.name}, which its command names,"


def _happened(before: str, now: str, changed: str) -> str:
    if now.startswith(UNKNOWN):
        return now[1:]
    if now == MISSING:
        return "is gone"
    return "was not there before" if before == MISSING else changed


def noted(kinds_and_names: Iterable[tuple[str, str]], *, read: bool = True) -> tuple[Fact, ...]:
    """Return the facts of what a command names, before it begins.

    A file that only receives its output (``begin``, ``output``) counts as missing.

    Raises:
        Unread: a file has to be read, and *read* is False.
    """
    return tuple(
        Fact(kind, name, MISSING if kind in _TARGETS else state_of(kind, name, read=read))
        for kind, name in kinds_and_names
    )


def ended(before: Iterable[Fact]) -> tuple[tuple[Fact, ...], str | None]:
    """Return the facts of *before* as they are after the command, and what speaks against them.

    A file that was not there before was written by the command.  But where another one has
    changed, nobody can say which state of it the command has read.
    """
    facts = []
    for fact in before:
        state = state_of(fact.kind, fact.name)
        if fact.state not in (state, MISSING):
            return (), f"{thing(fact)} changed while it ran"
        folder = os.path.dirname(fact.name)  # noqa: PTH120
        if state != MISSING or not folder or os.path.isdir(folder):  # noqa: PTH112
            facts.append(Fact(fact.kind, fact.name, state))
    return tuple(facts), unknowable(facts)


_TARGETS = frozenset({"begin", "output"})


def unknowable(facts: Iterable[Fact]) -> str | None:
    """Return why a result that depends on *facts* cannot be compared later; None if it can."""
    for fact in facts:
        if fact.state.startswith(UNKNOWN):
            return f"{thing(fact)} {fact.state[1:]}"
    return None


def digest_of(facts: Iterable[Fact]) -> bytes:
    """Return a hash of *facts*, by which results that are made from them are told apart."""
    return blake2b(repr([tuple(fact) for fact in facts]).encode(), digest_size=16).digest()


def with_outputs(facts: Sequence[Fact], files: Iterable[Mapping[str, Any]]) -> tuple[Fact, ...]:
    """Return *facts* and the contents of the output *files*, as `describe` describes them."""
    return *facts, *(Fact("declared", file["name"], file["digest"]) for file in files)


_NO_PATHS = frozenset({type(None), bool, int, float, complex, str, bytes, range})


def paths_in(value: Any) -> list[str]:
    """Return the paths that *value* is, or holds in its collections and dataclasses."""
    found: dict[str, None] = {}
    seen: set[int] = set()
    rest: list[Any] = [(value,)]
    while rest:
        items = rest.pop()
        if _NO_PATHS.issuperset(map(type, items)):
            continue
        for item in items:
            if isinstance(item, Path):
                found[str(item)] = None
            elif type(item) in _NO_PATHS or id(item) in seen:
                continue
            elif isinstance(item, dict):
                rest += [list(item), list(item.values())]
            elif isinstance(item, list | tuple | set | frozenset | deque):
                rest.append(item)
            elif dataclasses.is_dataclass(item) and not isinstance(item, type):
                fields = dataclasses.fields(item)
                rest.append([getattr(item, field.name, None) for field in fields])
            seen.add(id(item))
    return list(found)
