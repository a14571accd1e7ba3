"""Find the output of a task that an input beside the task's future names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any, Protocol

from ..errors import ConfigurationError
from .declared import InputFile

__all__ = ["find_output"]


class _Task(Protocol):
    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str: ...


def find_output(
    item: InputFile, made: Iterable[tuple[Any, Iterable[str]]]
) -> tuple[Any, str] | None:
    """Return the task, and the name of its output, that *item* names; None if it names none.

    The whole name of an output counts more than its end, such as ``x`` for ``results/x``.

    Args:
        made: the tasks beside *item*, each with the names of its outputs.

    Raises:
        ConfigurationError: several outputs have that name; or it is the end of one, and the path
            of a file that is there.
    """
    name = item._given
    if name is None or not isinstance(item.source, str):
        return None
    whole: list[tuple[_Task, str]] = []
    ends: list[tuple[_Task, str]] = []
    for task, outputs in made:
        for output in outputs:
            if output == name or fnmatchcase(name, output):
                whole.append((task, name))
            elif _ends_with(output, name):
                ends.append((task, output))
    found = whole or ends
    if not found:
        return None
    if len(found) > 1:
        texts = ", ".join(f"{output!r} of {task.id} {task.name!r}" for task, output in found)
        raise ConfigurationError(
            f"the input {name!r} may be each of these outputs: {texts}; say which: "
            f"InputFile(future, {name!r})"
        )
    task, output = found[0]
    if not whole and os.path.lexists(item.source):
        raise ConfigurationError(
            f"the input {name!r} may be the output {output!r} of {task.id} {task.name!r}, or the "
            f"file of that name that is there; say which: InputFile(future, {name!r}) or "
            f"InputFile('./{name}')"
        )
    return found[0]


def _ends_with(output: str, name: str) -> bool:
    parts = PurePosixPath(name).parts
    return PurePosixPath(output).parts[-len(parts) :] == parts
