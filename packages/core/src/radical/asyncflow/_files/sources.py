"""Read what users write as the source or the name of a file: paths, URLs, names.

No function here opens a file; each raises `ConfigurationError` for bad input.
"""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path, PurePath, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from ..errors import ConfigurationError

__all__ = [
    "URL_TIMEOUT_S",
    "check_name",
    "check_targets",
    "is_url",
    "locate",
    "name_of",
    "output_name",
    "relative_name",
    "show",
]

URL_TIMEOUT_S = 300.0
"""Seconds that reading a URL may take if the input sets no timeout."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(://|::.*://)", re.DOTALL)
"""A URL, or a chain of them such as ``zip://inner.csv::https://host/all.zip``."""


def locate(source: object) -> str:
    """Return *source* as an absolute path, or as a URL that fsspec reads."""
    try:
        text = os.fspath(source)  # type: ignore[call-overload]
    except TypeError:
        text = None
    if not isinstance(text, str) or not text or "\0" in text:
        raise ConfigurationError(
            f"an input file's source must be a path, a URL or the future of a task, not {source!r}"
        )
    if isinstance(source, PurePath) or not is_url(text):
        return os.path.abspath(text)  # noqa: PTH100 - keeps links, unlike Path.resolve
    try:
        for part in text.split("::"):
            urlsplit(part)
    except ValueError as error:
        raise ConfigurationError(f"{show(text)} is no valid URL: {error}") from None
    if text.lower().startswith("file://"):
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise ConfigurationError(
                f"{text!r} names a file of another machine; write a local file as file:///path"
            )
        return os.path.abspath(unquote(parts.path))  # noqa: PTH100
    if importlib.util.find_spec("fsspec") is None:
        raise ConfigurationError(
            f"staging {show(text)} needs fsspec: pip install 'radical.asyncflow[files]'"
        )
    return text


def relative_name(source: object) -> str | None:
    """Return *source* in its shortest form if it is a relative path that may also be a name.

    ``./x`` and ``../x`` are paths and nothing else, and so is every absolute one.
    """
    text = os.fspath(source)  # type: ignore[call-overload]
    if is_url(text) or text.startswith(("/", "./", "../")):
        return None
    name = os.path.normpath(text)
    return None if name.startswith("..") or name == "." else name


def is_url(source: str) -> bool:
    """Tell whether *source* is a URL; ``std::map.log`` and ``12:30.log`` are names of files."""
    return _URL.match(source) is not None


def name_of(source: str) -> str:
    """Return the name of a copy of *source* if the user gave none."""
    if is_url(source):
        # In a chain such as "zip://inner.csv::https://host/all.zip" the first part is the file.
        parts = urlsplit(next(part for part in source.split("::") if "://" in part))
        last = unquote(parts.path.rstrip("/").rpartition("/")[2]) or parts.netloc
    else:
        last = Path(source).name
    try:
        return check_name(last)
    except ConfigurationError:
        raise ConfigurationError(
            f"no file name can be derived from {show(source)}; give one: InputFile(source, 'name')"
        ) from None


def check_name(name: object) -> str:
    """Return *name* in its shortest form, if it stays below the folder it is relative to."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise ConfigurationError(f"a file's name must be a string that is not empty, not {name!r}")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ConfigurationError(
            f"a file's name must stay in the task's folder: write a relative path without '..', "
            f"not {name!r}"
        )
    return str(path)


def output_name(name: object) -> str:
    """Return the path that *name* gives an output, in its shortest form."""
    try:
        text = os.fspath(name)  # type: ignore[call-overload]
    except TypeError:
        text = None
    if not isinstance(text, str) or not text or "\0" in text:
        raise ConfigurationError(f"an output's name must be the path of a file, not {name!r}")
    path = os.path.normpath(text)
    if path in (".", "/", "//") or os.path.basename(path) == "..":  # noqa: PTH119
        raise ConfigurationError(
            f"an output's name must be that of a file or folder to write, not {name!r}"
        )
    outside = path.startswith(("/", "../"))
    if outside and any(letter in os.path.dirname(path) for letter in "*?"):  # noqa: PTH120
        raise ConfigurationError(
            "in a path that is absolute or begins with '..', only the last part may be a "
            f"pattern, not {name!r}"
        )
    return path


def check_targets(inputs: Any) -> None:
    """Raise ConfigurationError for ``(name, source)`` pairs that cannot share one folder."""
    sources: dict[str, Any] = {}
    for name, source in inputs:
        if sources.setdefault(name, source) != source:
            raise ConfigurationError(
                f"two inputs of one task have the name {name!r}; give one of them another name: "
                "InputFile(source, 'name')"
            )
    for name in sources:
        for parent in map(str, PurePosixPath(name).parents):
            if parent in sources:
                raise ConfigurationError(
                    f"the input {name!r} lies inside another input of the task, {parent!r}"
                )


def show(source: str) -> str:
    """Return *source* as messages may quote it: a URL loses its password and its query."""
    if is_url(source):
        source = re.sub(r"//[^/@]*@", "//...@", source)
        source = re.sub(r"\?.*", "?...", source)
    return repr(source)
