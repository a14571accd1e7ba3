"""One executable task: where its output is, and what its end becomes."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from radical.asyncflow.backend import (
    Command,
    ExecutableResult,
    Report,
    TaskRequest,
    TaskState,
)
from radical.asyncflow.errors import ConfigurationError, TaskError

from .script import exit_code, no_folder
from .services import Watch
from .submission import gather, parts, read_text

__all__ = ["Executable"]


@dataclass(slots=True)
class Executable:
    """One attempt at an executable task.

    Attributes:
        claimed: the file that it makes when it begins.
        running: RADICAL-Pilot said so.
        up: it is a service that was reported, and runs on.
    """

    request: TaskRequest
    uid: str
    stdout: Path
    stderr: Path
    stdin: Path | None
    claimed: Path
    watch: Watch | None = None
    running: bool = False
    cancelled: bool = False
    up: bool = False

    @property
    def ids(self) -> tuple[int, int]:
        return self.request.task_id, self.request.attempt

    @property
    def name(self) -> str:
        return self.request.spec.name

    @property
    def ranks(self) -> int:
        return self.request.spec.resources.ranks

    @property
    def watched(self) -> Path:
        """The stream that tells of a service; of several ranks, the first one's."""
        assert self.watch is not None
        path = self.stdout if self.watch.stream == "stdout" else self.stderr
        return path if self.ranks == 1 else parts(path, self.ranks)[0]

    def outcome(self, state: str, code: int | None, detail: str, keep: Path) -> Report:
        """The report of its end; what is too long for memory is moved into *keep*."""
        if self.cancelled:
            return Report(*self.ids, TaskState.CANCELLED)
        if state == "REFUSED":
            return Report(*self.ids, TaskState.FAILED, ConfigurationError(detail))
        error: Exception | None = None
        if code is None:
            reason = detail or f"RADICAL-Pilot ended it in state {state}"
            error = TaskError(f"task {self.name!r} did not run: {reason}")
        elif no_folder(self.claimed).exists():
            error = self._folder_error()
        elif self.request.spec.service and not code:
            error = TaskError(f"service {self.name!r} ended (exit code 0) before it was up")
        if error is not None:
            return Report(*self.ids, TaskState.FAILED, error)
        for path in (self.stdout, self.stderr):
            gather(path, self.ranks)
        if self.request.spec.capture_stdio:
            result = ExecutableResult(exit_code(code), str(self.stdout), str(self.stderr))
        else:
            result = ExecutableResult(
                exit_code(code),
                read_text(self.stdout, keep),
                read_text(self.stderr, keep),
            )
        return Report(*self.ids, TaskState.DONE, result)

    def _folder_error(self) -> OSError:
        """What keeps a command from its working folder, as on every backend."""
        command = self.request.command
        assert isinstance(command, Command)
        assert command.cwd is not None
        folder = Path(command.cwd)
        missing = errno.ENOTDIR if folder.exists() else errno.ENOENT
        number = errno.EACCES if folder.is_dir() else missing
        reason = f"{os.strerror(number)}: working directory of {self.name!r}"
        return OSError(number, reason, str(command.cwd))  # of the class for this number

    def leftovers(self) -> list[Path]:
        """Files that nobody wants any more."""
        streams = (self.stdout, self.stderr)
        files = [no_folder(self.claimed)]
        files += [part for path in streams for part in parts(path, self.ranks) if self.ranks > 1]
        if not self.request.spec.capture_stdio:
            files += streams
        if self.stdin is not None:
            files.append(self.stdin)
        return files
