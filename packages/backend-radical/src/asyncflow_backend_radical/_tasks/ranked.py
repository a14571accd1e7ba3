"""One function with ranks: for RADICAL-Pilot it is an executable that it starts for each rank."""

from __future__ import annotations

import json
import pickle
import shlex
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from radical.asyncflow.backend import Command, Report, TaskRequest, TaskState
from radical.asyncflow.errors import DeathReason, WorkerLostError
from radical.asyncflow.worker import Codes, Raised, dump_arguments, import_path, open_answer

from .._host.messages import TaskChange
from .._worker.ranks import RankedCall, answer_file, call_file
from .executable import Executable
from .script import signed_exit_code

__all__ = ["RankedFunction", "as_command"]

_PROGRAM = """
import json, sys
sys.path[:] = json.loads(open(sys.argv[1]).read())
from asyncflow_backend_radical._worker.ranks import main
main(sys.argv[2])
"""
_LAST_CHARACTERS = 2000  # of what the ranks and their launcher wrote


def as_command(request: TaskRequest, folder: Path, codes: Codes) -> TaskRequest:
    """Write the call of *request* into *folder*; return it as one with a command.

    Raises:
        SerializationError: the function or its arguments cannot be pickled.
    """
    spec = request.spec
    path = import_path()
    call = RankedCall(
        spec.name,
        request.task_id,
        request.attempt,
        spec.resources.ranks,
        path,
        codes.code_of(spec.function).pickled,
        dump_arguments(spec.function, request.args, request.kwargs),
        spec.mpi_result == "root",
    )
    folder.mkdir(mode=0o700)
    call_file(folder).write_bytes(pickle.dumps(tuple(call)))
    path_file = folder / "path.json"
    path_file.write_text(json.dumps(path))
    words = (sys.executable, "-I", "-c", _PROGRAM, str(path_file), str(folder))
    # The shell of a rank tells of its end, unless the launcher ends the shell, too.
    end = f'{shlex.quote(str(folder))}/end."$RP_RANK"'
    line = f"{shlex.join(words)}; code=$?; printf %s $code > {end}; exit $code"
    return request._replace(command=Command(line))


def _end_file(folder: Path, rank: str) -> Path:
    return folder / f"end.{rank}"


@dataclass(slots=True)
class RankedFunction(Executable):
    """One attempt at a function with ranks.

    Attributes:
        folder: where its ranks find the call, and write their answers.
    """

    folder: Path = Path()

    def outcome(self, change: TaskChange, keep: Path) -> Report:
        if self.is_cancelled:
            return self.report(TaskState.CANCELLED)
        answers = [self._answer(rank) for rank in range(self.ranks)]
        for rank, answer in enumerate(answers):
            if type(answer) is Raised:
                with suppress(Exception):  # a class may forbid it
                    answer.error.add_note(f"raised by rank {rank} of {self.ranks}")
                return self.report(TaskState.FAILED, answer.error)
        ended = Executable.outcome(self, change, keep)
        if ended.state is not TaskState.DONE:
            return ended
        missing = [rank for rank, answer in enumerate(answers) if answer is None]
        if missing:
            return self.report(TaskState.FAILED, self._loss(missing, change, ended))
        values = [answer[0] for answer in answers if isinstance(answer, tuple)]
        is_root = self.request.spec.mpi_result == "root"
        return self.report(TaskState.DONE, values[0] if is_root else values)

    def _answer(self, rank: int) -> tuple[object] | Raised | None:
        """Return the value of a rank in a tuple, or what it raised; None without an answer."""
        try:
            answer = answer_file(self.folder, rank).read_bytes()
        except FileNotFoundError:
            return None
        value = open_answer(answer[0], memoryview(answer)[1:])
        return value if type(value) is Raised else (value,)

    def _loss(self, missing: list[int], change: TaskChange, ended: Report) -> WorkerLostError:
        """Return the error of ranks that gave no answer; the launcher ended the others of them."""
        codes = {rank: code for rank in missing if (code := self._exit_code(rank)) is not None}
        dead = list(codes) or missing
        code = signed_exit_code(codes[dead[0]] if codes else change.exit_code)
        said = f"{ended.value.stdout}{ended.value.stderr}".strip()[-_LAST_CHARACTERS:]
        detail = f"it exited with code {code}" if code >= 0 else ""
        return WorkerLostError(
            self.name,
            f"rank {' and '.join(map(str, dead))} of {self.ranks},",
            -code if code < 0 else None,
            self.request.attempt,
            "\n".join(filter(None, (detail, said))),
            DeathReason.KILLED if code < 0 else DeathReason.EXIT,
        )

    def _exit_code(self, rank: int) -> int | None:
        """Return the exit code of a rank that ended by itself, as its shell has written it."""
        try:
            return int(_end_file(self.folder, str(rank)).read_text())
        except (FileNotFoundError, ValueError):
            return None

    def remove_files(self) -> None:
        Executable.remove_files(self)
        shutil.rmtree(self.folder, ignore_errors=True)
