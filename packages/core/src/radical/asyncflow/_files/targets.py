"""The places of output files, and the unfinished task that each of them belongs to."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import ConfigurationError
from .declared import OutputFile

__all__ = ["Targets"]


class Targets:
    """The places that the outputs of one run's unfinished tasks will have.

    Attributes:
        start: the folder that the program was started in, which is that of relative names; None
            if it was deleted.
        held: the places of each unfinished task that declared outputs.
    """

    def __init__(self) -> None:
        try:
            self.start: str | None = os.getcwd()  # noqa: PTH109
        except OSError:
            self.start = None
        self.held: dict[Any, list[str]] = {}
        self._holders: dict[str, Any] = {}
        self._around: Counter[str] = Counter()  # the folders around the places

    def path(self, name: str) -> Path:
        """Return the place of the output *name*.

        Raises:
            ConfigurationError: the name is relative, and the folder of the program was deleted.
        """
        if self.start is None and not name.startswith("/"):
            raise ConfigurationError(
                f"the output {name!r} has no place, because the folder that the program was "
                "started in was deleted; write an absolute path"
            )
        return Path(os.path.normpath(os.path.join(self.start or "/", name)))  # noqa: PTH118

    def claim(self, task: Any, outputs: Iterable[OutputFile]) -> None:
        """Let the places of *outputs* belong to *task* until it has ended.

        Raises:
            ConfigurationError: another unfinished task has one of them, or something around
                or inside of it; *task* then gets none of them.
        """
        keys = []
        for output in outputs:
            path = self.path(output.name)
            holder = self.other_holder(task, path)
            if holder is not None:
                raise ConfigurationError(
                    f"two unfinished tasks cannot have one output: {str(path)!r} belongs to "
                    f"{holder.id} {holder.name!r}; await that task first, or choose another name"
                )
            keys.append(_key(path))
        held = self.held.setdefault(task, [])
        for key in keys:
            if key not in self._holders:
                self._holders[key] = task
                self._around.update(map(str, PurePosixPath(key).parents))
                held.append(key)

    def other_holder(self, task: Any, path: Path) -> Any:
        """Return the unfinished task other than *task* whose output is *path*, or overlaps it."""
        key = _key(path)
        for above in (key, *map(str, PurePosixPath(key).parents)):
            holder = self._holders.get(above)
            if holder is not None and holder is not task:
                return holder
        if self._around[key]:
            for other, holder in self._holders.items():
                if holder is not task and other.startswith(f"{key}/"):
                    return holder
        return None

    def release(self, task: Any) -> None:
        """Let the places of *task*, which has ended, belong to nobody."""
        for key in self.held.pop(task, ()):
            del self._holders[key]
            self._around.subtract(map(str, PurePosixPath(key).parents))
        if not self.held:
            self._around.clear()


def _key(path: Path) -> str:
    """Return the text that two paths share if they lead to one place."""
    return os.path.join(os.path.realpath(path.parent), path.name)  # noqa: PTH118
