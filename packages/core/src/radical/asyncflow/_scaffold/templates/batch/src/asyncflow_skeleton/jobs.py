"""The jobs of the batch system: their scripts, the calls of its commands, their files."""

from __future__ import annotations

import pickle
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radical.asyncflow.backend import Command, TaskRequest
from radical.asyncflow.errors import BackendError, BackendStartError
from radical.asyncflow.worker import dump_arguments, dump_function, import_path

from .config import SkeletonConfig

COMMAND_LIMIT_S = 60.0  # for a command of the batch system to answer


@dataclass(eq=False)
class Job:
    """A job and the task that it runs.

    Attributes:
        id: the one that the batch system gave it.
        stem: the path of its files, which differ in their suffixes.
        wanted: False once the task was cancelled.
        has_begun: whether the task was reported RUNNING.
    """

    request: TaskRequest
    stem: Path
    id: str = ""
    wanted: bool = True
    has_begun: bool = False

    @property
    def key(self) -> tuple[int, int]:
        """The task and the attempt that its reports carry."""
        return self.request.task_id, self.request.attempt

    def read(self, suffix: str) -> Any:
        """Return what the job wrote into its file with this *suffix*; None if there is none."""
        try:
            return pickle.loads(self.stem.with_suffix(suffix).read_bytes())
        except FileNotFoundError:
            return None

    @property
    def exit_code(self) -> int:
        """The exit code of the program, as a shell tells it; 0 if the job ended before it could."""
        try:
            return int(self.stem.with_suffix(".code").read_bytes())
        except FileNotFoundError:
            return 0

    def remove_files(self) -> None:
        """Remove what it needs no more."""
        for suffix in (".sh", ".task", ".began", ".answer", ".code", ".new"):
            self.stem.with_suffix(suffix).unlink(missing_ok=True)


class BatchSystem:
    """The commands of the settings; each call blocks until the command has answered."""

    def __init__(self, settings: SkeletonConfig) -> None:
        self._settings = settings
        self._python = settings.python or sys.executable
        local = str(Path(__file__).with_name("local.py"))
        values = {"{python}": [sys.executable], "{local}": [local]}
        self._submit = _replace(settings.submit, values)
        self._status = _replace(settings.status, values)
        self._cancel = _replace(settings.cancel, values)
        self._id = re.compile(settings.id_pattern)

    def check(self) -> None:
        """See that the commands are there.

        Raises:
            BackendStartError: one of them is not.
        """
        for words in (self._submit, self._status, self._cancel):
            if shutil.which(words[0]) is None:
                raise BackendStartError(
                    f"there is no command {words[0]!r}: is this a login node of the batch system?"
                )

    def submit(self, request: TaskRequest, folder: Path) -> Job:
        """Write the files of a job and submit it.

        Raises:
            BackendError: the batch system refuses it.
            SerializationError: the function or its arguments cannot travel.
        """
        stem = folder / f"{request.task_id}-{request.attempt}"
        job = Job(request, stem)
        stem.with_suffix(".task").write_bytes(_pack(request, folder))
        script = stem.with_suffix(".sh")
        script.write_text(self._script(request, stem))
        try:
            printed = _call(_replace(self._submit, {"{script}": [str(script)]}))
            found = self._id.search(printed)
            if found is None:
                raise BackendError(f"{self._submit[0]} printed no id: {printed!r}")
        except BaseException:
            job.remove_files()
            raise
        job.id = found[0]
        return job

    def living(self, ids: Collection[str]) -> set[str]:
        """Return the ids of the jobs that have not ended, of *ids* and perhaps of others.

        Raises:
            BackendError: the batch system does not tell.
        """
        return set(_call(_replace(self._status, {"{ids}": ids})).split())

    def cancel(self, ids: Collection[str]) -> None:
        """End jobs; those that have ended are no error.

        Raises:
            BackendError: the batch system does not do it.
        """
        _call(_replace(self._cancel, {"{ids}": ids}))

    def _script(self, request: TaskRequest, stem: Path) -> str:
        cores = str(request.spec.resources.cores)
        names = {"{cores}": cores, "{name}": re.sub(r"\W", "_", request.spec.name)}
        lines = ["#!/bin/sh", *self._settings.header]
        for name, value in names.items():
            lines = [line.replace(name, value) for line in lines]
        program = [self._python, "-m", f"{__package__}.job", str(stem)]
        code = shlex.quote(str(stem.with_suffix(".code")))
        new = shlex.quote(str(stem.with_suffix(".new")))
        lines += [
            f"cd {shlex.quote(str(Path.cwd()))}",
            shlex.join(program),
            f"echo $? > {new} && mv {new} {code}",
        ]
        return "\n".join(lines) + "\n"


def _pack(request: TaskRequest, folder: Path) -> bytes:
    """Return what the job has to know: the path for imports, the task, and what to call."""
    spec = request.spec
    task = spec.name, request.task_id, request.attempt
    call: tuple[Any, ...]
    if isinstance(request.command, Command):
        # Its bytes, so that the job of a function has not to import what reads a command.
        kind = "command"
        call = pickle.dumps(request.command), spec.name, str(folder.parent), spec.capture_stdio
    else:
        kind = "function"
        arguments = dump_arguments(spec.function, request.args, request.kwargs)
        call = dump_function(spec.function), arguments
    return pickle.dumps((import_path(), task, kind, call))


def _replace(words: Iterable[str], values: Mapping[str, Collection[str]]) -> list[str]:
    """Return *words* with the *values* in the place of their names."""
    return [one for word in words for one in values.get(word, (word,))]


def _call(command: Sequence[str]) -> str:
    """Run a command of the batch system, and return what it prints."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendError(f"{command[0]}: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise BackendError(f"{command[0]} ended with exit code {done.returncode}: {said}")
    return done.stdout
