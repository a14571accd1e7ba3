"""One executable task: its files, and the report of its end."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radical.asyncflow.backend import (
    Command,
    ExecutableResult,
    Report,
    Serving,
    TaskRequest,
    TaskState,
    Written,
)
from radical.asyncflow.errors import ConfigurationError, TaskError, WorkerLostError
from radical.asyncflow.worker import OutputSearch, read_end

from .._host.messages import TaskChange, TaskStage
from .output import join_ranks, rank_files, read_text
from .script import (
    bad_folder_mark,
    end_marks,
    has_begun,
    has_succeeded,
    shell_script,
    signed_exit_code,
    use_files,
)
from .submission import describe
from .use import Use, read_use

__all__ = ["Executable"]

_LAST_BYTES = 64 * 1024  # of what a service wrote, in its result
_LAST_CHARACTERS = 4000  # of what a cancelled command wrote, in the record


@dataclass(slots=True)
class Executable:
    """One attempt at an executable task.

    Attributes:
        uid: RADICAL-Pilot's name of it.
        mark: its start mark, see `script`.
        tells_end: its ranks make end marks.
        environment: the script with the environment of the program.
        info_search: how to find the info of a service, until it is up.
        info_file: the file in which the node leaves the info, if somebody looks there.
        before: the command that has somebody look there.
        measures: its shells note what it uses, and when it ran.
        submitted: the time of `time.monotonic` before which it cannot have begun.
        is_running: RADICAL-Pilot said so.
        is_up: it is a service whose info was reported, and it runs on.
    """

    request: TaskRequest
    uid: str
    stdout: Path
    stderr: Path
    stdin: Path | None
    mark: Path
    environment: Path
    tells_end: bool = False
    info_search: OutputSearch | None = None
    info_file: Path | None = None
    before: tuple[str, ...] = ()
    measures: bool = False
    submitted: float = 0.0
    is_running: bool = False
    is_cancelled: bool = False
    is_up: bool = False

    @property
    def name(self) -> str:
        return self.request.spec.name

    @property
    def ranks(self) -> int:
        return self.request.spec.resources.ranks

    @property
    def awaits_info(self) -> bool:
        """True for a running service whose info has not been found yet."""
        awaits = self.info_search is not None or self.info_file is not None
        return awaits and self.is_running and not self.is_up

    def description(self) -> dict[str, object]:
        """Return its attributes of `radical.pilot.TaskDescription`."""
        command, spec = self.request.command, self.request.spec
        assert isinstance(command, Command)
        script = shell_script(
            command,
            ranks=self.ranks,
            stdin=self.stdin,
            stdout=self.stdout,
            stderr=self.stderr,
            mark=self.mark,
            tells_end=self.tells_end,
            measures=self.measures,
            before=self.before,
        )
        return describe(
            self.uid, spec.name, script, spec.resources, spec.description, self.environment
        )

    def find_info(self) -> str | None:
        """Return the info of a service if it is up by now."""
        if self.info_file is not None:
            try:
                return self.info_file.read_text()
            except FileNotFoundError:
                return None
        assert self.info_search is not None
        stream = self.stdout if self.request.spec.readiness.stream == "stdout" else self.stderr
        return self.info_search.search(rank_files(stream, self.ranks)[0])

    def serving(self, info: str | None) -> Serving:
        """Return what there is to know of a service: its output is that of its first rank."""
        stdout, stderr = (
            str(rank_files(stream, self.ranks)[0]) for stream in (self.stdout, self.stderr)
        )
        return Serving(stdout, stderr, info)

    def written(self) -> Written:
        """Return the files to which its ranks write."""
        stdout, stderr = (
            tuple(map(str, rank_files(stream, self.ranks))) for stream in (self.stdout, self.stderr)
        )
        return Written(stdout, stderr)

    def use(self) -> Use | None:
        """Return what it used, when it has ended; None if that was not measured."""
        return read_use(use_files(self.mark, self.ranks)) if self.measures else None

    def last_words(self) -> dict[str, Any]:
        """Return the ends of the output of its first rank, as fields of a `TaskTrace`."""
        ends = [
            read_end(rank_files(stream, self.ranks)[0], _LAST_CHARACTERS)
            for stream in (self.stdout, self.stderr)
        ]
        missing = [max(end.size - len(end.encode()), 0) for end in ends]
        return {"stdout": str(ends[0]), "stderr": str(ends[1]), "cut": (*missing, 0)}

    def report(self, state: TaskState, value: object = None) -> Report:
        """Return a report about this attempt."""
        return Report(self.request.task_id, self.request.attempt, state, value)

    def outcome(self, change: TaskChange, keep: Path) -> Report:
        """Return the report of the end that *change* tells of.

        Output that is too long for memory is moved into *keep*.
        """
        if self.is_cancelled:
            return self.report(TaskState.CANCELLED)
        try:
            error = self._error(change)
            if error is not None:
                return self.report(TaskState.FAILED, error)
            return self.report(TaskState.DONE, self._result(change.exit_code, keep))
        except OSError as exc:  # the output cannot be read, or not be moved
            return self.report(TaskState.FAILED, exc)

    def _error(self, change: TaskChange) -> Exception | None:
        """Return why the command did not run, or None if it did."""
        code, detail = change.exit_code, change.detail
        if change.stage is TaskStage.REFUSED:
            return ConfigurationError(detail)
        if code is not None and code and not has_begun(self.mark):
            detail = f"exit code {code} before its command began: {detail}"
            code = None
        if code is None:
            reason = detail or f"RADICAL-Pilot ended it in state {change.stage}"
            return TaskError(f"task {self.name!r} did not run: {reason}")
        if bad_folder_mark(self.mark).exists():
            return self._folder_error()
        if self.lacks_end(code):
            return WorkerLostError(
                self.name,
                attempt=self.request.attempt,
                detail="its launcher ended with exit code 0, but the command itself did not end; "
                "its node may have failed",
            )
        return None

    def lacks_end(self, code: int | None) -> bool:
        """Return whether it succeeded by exit *code*, but not by its end marks."""
        return code == 0 and self.tells_end and not has_succeeded(self.mark, self.ranks)

    def _result(self, code: int | None, keep: Path) -> ExecutableResult:
        streams = (self.stdout, self.stderr)
        for stream in streams:
            join_ranks(stream, self.ranks)
        if self.request.spec.capture_stdio:
            stdout, stderr = map(str, streams)
        elif self.request.spec.service:
            stdout, stderr = (read_end(stream, _LAST_BYTES) for stream in streams)
        else:
            stdout, stderr = (read_text(stream, keep) for stream in streams)
        return ExecutableResult(signed_exit_code(code), stdout, stderr)

    def _folder_error(self) -> OSError:
        """Return what keeps the command from its working folder, as every backend does."""
        command = self.request.command
        assert isinstance(command, Command)
        assert command.cwd is not None
        folder = Path(command.cwd)
        missing = errno.ENOTDIR if folder.exists() else errno.ENOENT
        number = errno.EACCES if folder.is_dir() else missing
        reason = f"{os.strerror(number)}: working directory of {self.name!r}"
        return OSError(number, reason, str(command.cwd))  # Python picks the class by the number

    def remove_files(self) -> None:
        """Remove the files that nobody wants any more.

        The start mark stays, because RADICAL-Pilot may start a task that it called CANCELED.
        """
        streams = (self.stdout, self.stderr)
        files = [bad_folder_mark(self.mark)]
        if self.measures:
            files += use_files(self.mark, self.ranks)
        if self.tells_end:
            files += end_marks(self.mark, self.ranks)
        if self.info_file is not None:
            files.append(self.info_file)
        if self.ranks > 1 and not self.request.spec.service:
            files += [file for stream in streams for file in rank_files(stream, self.ranks)]
        if not (self.request.spec.capture_stdio or self.request.spec.service):
            files += streams
        if self.stdin is not None:
            files.append(self.stdin)
        for file in files:
            with suppress(OSError):
                file.unlink()
