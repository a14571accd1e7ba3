"""The folders through which the program and its workers exchange functions and results."""

from __future__ import annotations

from pathlib import Path

__all__ = ["Exchange"]


class Exchange:
    """The folders of one exchange, on a file system that the program and all nodes see.

    Whoever renames ``ready/N`` owns task N: a worker renames it to ``claimed/N@WORKER``,
    and the program, to take the task back, to ``staging/N``.  So a task runs at most once,
    the program sees which worker died with which task, and nobody needs a connection.

    Attributes:
        staging: where the program writes a task before workers may see it.
        ready, claimed, results: one file for each task in that state.
        cores_wanted: a file that exists while other tasks want the cores of idle workers.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.staging = folder / "staging"
        self.ready = folder / "ready"
        self.claimed = folder / "claimed"
        self.results = folder / "results"
        self.cores_wanted = folder / "cores_wanted"

    def create(self) -> None:
        """Make the folders, for this user alone."""
        for folder in (self.staging, self.ready, self.claimed, self.results):
            folder.mkdir(parents=True, mode=0o700)

    def claim(self, number: str, worker: str) -> Path:
        """Return the file that task *number* is while *worker* runs it."""
        return self.claimed / f"{number}@{worker}"

    def claims(self) -> list[tuple[str, str, Path]]:
        """Return number, worker and file of each task that a worker has taken."""
        found = []
        for file in self.claimed.iterdir():
            number, _, worker = file.name.partition("@")
            found.append((number, worker, file))
        return found
