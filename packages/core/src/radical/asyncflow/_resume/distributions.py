"""Tell where code comes from: Python itself, an installed distribution, or the user's own files.

What is installed counts by its name and the version of its distribution.  All else, such as a
module beside the script, on PYTHONPATH or in an editable install, is the user's own and counts
by what it says.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import sysconfig
import types
from collections.abc import Collection, Iterator
from functools import cache, lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from ..version import __version__

__all__ = [
    "HEAP_TYPE",
    "Home",
    "home_of_file",
    "home_of_module",
    "installed_name",
    "metadata_folders",
    "version_of",
]


class Home(NamedTuple):
    """A distribution: its name and its version."""

    name: str
    version: str


PYTHON = Home("python", f"{platform.python_implementation()} {platform.python_version()}")
ENGINE = Home("radical.asyncflow", __version__)
ENGINE_FOLDER = os.path.realpath(Path(__file__).parents[1]) + os.sep
STANDARD = tuple(
    {os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "platstdlib")}
)
"""The folders of the standard library."""
SITES = ("site-packages", "dist-packages")

HEAP_TYPE = 1 << 9
"""The flag of a type that was made at run time; others are part of some C code."""


def version_of(home: Home, ignored: Collection[str] | bool) -> str:
    """Return the version of *home*, or "" if it is among those that are *ignored*."""
    if ignored is True or (ignored and home.name in ignored):
        return ""
    return home.version


def installed_name(value: Any) -> tuple[Home, str] | None:
    """Return the distribution of *value* and its name there; None if it is the user's own.

    *value* is a module, a class, a function, or whatever else can be found by its name.
    """
    name: Any
    if isinstance(value, types.ModuleType):
        name = value.__name__
        home = home_of_module(name) if sys.modules.get(name) is value else None
        return None if home is None else (home, name)
    if isinstance(value, types.FunctionType):
        home = home_of_file(value.__code__.co_filename)
        return _found(home, value, value.__module__, value.__qualname__)
    if isinstance(value, type):
        home = home_of_module(value.__module__)
        if home is not None and not value.__flags__ & HEAP_TYPE:
            return home, f"{value.__module__}.{value.__qualname__}"
        return _found(home, value, value.__module__, value.__qualname__)
    owner: Any = getattr(value, "__objclass__", None)
    if isinstance(owner, type):
        found = installed_name(owner)
        return None if found is None else (found[0], f"{found[1]}.{value.__name__}")
    owner = getattr(value, "__self__", None)
    if isinstance(owner, types.ModuleType):
        home = home_of_module(owner.__name__)
        return None if home is None else (home, f"{owner.__name__}.{value.__name__}")
    module: Any = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if owner is not None and not isinstance(owner, type):  # such as random.random
        module, name = type(owner).__module__, getattr(value, "__name__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    return _found(home_of_module(module), value, module, name)


def _found(home: Home | None, value: Any, module: str | None, name: str) -> tuple[Home, str] | None:
    """Return where *value* is if it is what that name means; another object may bear it too."""
    if home is None or module is None or home_of_module(module) is None:
        return None  # what a decorator made bears the name of what it decorates
    found: Any = sys.modules.get(module)
    try:
        for part in name.split("."):
            found = getattr(found, part)
    except Exception:  # a module's own __getattr__
        return None
    return (home, f"{module}.{name}") if found is value else None


def home_of_module(name: str) -> Home | None:
    """Return the distribution that the module *name* is part of; None if it is the user's own."""
    if name == "__main__":
        return None
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    file = getattr(module, "__file__", None) or getattr(spec, "origin", None)
    if file in ("built-in", "frozen") or (file is None and name in sys.builtin_module_names):
        return PYTHON
    return home_of_file(file) if isinstance(file, str) else None


@cache
def home_of_file(path: str) -> Home | None:
    """Return the distribution that the file *path* is part of; None if it is the user's own."""
    if path.startswith("<frozen "):
        return PYTHON
    if not os.path.isabs(path):  # noqa: PTH117 - it may be no path at all
        return None
    real = os.path.realpath(path)
    if real.startswith(ENGINE_FOLDER):
        return ENGINE
    for folder in STANDARD:
        if real.startswith(folder) and real[len(folder) :].split(os.sep, 1)[0] not in SITES:
            return PYTHON
    for root in _roots():
        if real.startswith(root + os.sep):
            relative = real[len(root) + 1 :].replace(os.sep, "/")
            for info in _infos(root, relative.partition("/")[0].partition(".")[0]):
                if _lists(info, relative):
                    return _home_of(info)
    return None


def _roots() -> list[str]:
    """Return the folders that modules are imported from, the innermost first."""
    roots = {os.path.realpath(entry) for entry in sys.path if isinstance(entry, str) and entry}
    roots.update(os.path.realpath(sysconfig.get_path(name)) for name in ("purelib", "platlib"))
    return sorted(roots, key=len, reverse=True)


def metadata_folders() -> Iterator[str]:
    """Yield the folders with the metadata of distributions, the innermost first."""
    for root in _roots():
        for name in _metadata(root):
            yield f"{root}/{name}"


def _infos(root: str, top: str) -> Iterator[str]:
    """Yield the metadata folders in *root*, those first whose name is like that of *top*."""
    like = re.sub(r"[-_.]+", "_", top).lower()
    names = _metadata(root)
    first = [name for name in names if re.split(r"-", name)[0].replace(".", "_").lower() == like]
    for name in (*first, *(other for other in names if other not in first)):
        yield f"{root}/{name}"


@cache
def _metadata(root: str) -> tuple[str, ...]:
    # A source tree may have an .egg-info too, which says nothing about what is installed.
    site = os.path.basename(root) in SITES  # noqa: PTH119 - it is a text here
    kinds = (".dist-info", ".egg-info") if site else (".dist-info",)
    try:
        return tuple(sorted(name for name in os.listdir(root) if name.endswith(kinds)))  # noqa: PTH208
    except OSError:
        return ()


def _lists(info: str, relative: str) -> bool:
    """Tell whether the distribution with the metadata in *info* has the file *relative*."""
    if info.endswith(".dist-info"):
        record = _text(f"{info}/RECORD")
        return f"\n{relative}," in record or f'\n"{relative}",' in record
    top = relative.partition("/")[0].removesuffix(".py")
    return f"\n{top}\n" in _text(f"{info}/top_level.txt")


@lru_cache(maxsize=1024)
def _text(path: str) -> str:
    try:
        return "\n" + Path(path).read_text(encoding="utf-8", errors="replace") + "\n"
    except OSError:
        return ""


@cache
def _home_of(info: str) -> Home:
    folder = info.rpartition("/")[2]
    stem, _, after = folder.rpartition(".")[0].partition("-")
    fields = _text(f"{info}/METADATA") or _text(f"{info}/PKG-INFO") or _text(info)
    found = re.search(r"\nName: *(\S+)", fields)
    number = re.search(r"\nVersion: *(\S+)", fields)
    name = str(found[1]) if found else stem
    version = str(number[1]) if number else after
    if _is_local(info):  # such a one is installed again under the same version
        lines = _text(f"{info}/RECORD").splitlines()
        kept = sorted(line for line in lines if ".dist-info/" not in line and ".pyc" not in line)
        version += "+" + blake2b("\n".join(kept).encode(), digest_size=8).hexdigest()
    return Home(re.sub(r"[-_.]+", "-", name).lower(), version)


def _is_local(info: str) -> bool:
    """Tell whether a distribution was installed from a folder or a repository, not an index."""
    try:
        return isinstance(json.loads(_text(f"{info}/direct_url.json") or "null"), dict)
    except ValueError:
        return True
