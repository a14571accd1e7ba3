"""A command that a launcher starts once for each rank of a task."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from .._public import public
from ..model import Command, ExecutableResult, Resources
from ..model._command import DeathResult
from ._command import Execution
from ._found_gpus import gpu_variable
from ._gpus import Gpu, gpu_list
from ._mpi_launcher import RANK_VARIABLES, MpiLauncher, launcher_death, own_environment
from ._output import Stream

__all__ = ["RankedExecution"]

_PIECE_BYTES = 1024 * 1024
_NO_RANK = 125  # the exit code of a rank that does not know its number


@public("radical.asyncflow.worker")
class RankedExecution(Execution):
    """A command of several ranks; `run` and `cancel` it as any other execution.

    Its output is that of the ranks, in their order; what the launcher itself says comes at
    the end of stderr.
    """

    def __init__(
        self,
        command: Command,
        *,
        launcher: MpiLauncher,
        resources: Resources,
        rank_gpus: Sequence[Sequence[Gpu]] = (),
        capture_stdio: bool = False,
        **options: Any,
    ) -> None:
        """Prepare the execution; nothing is started.

        Args:
            resources: the number of ranks, and the cores of each.
            rank_gpus: the GPUs of each rank; empty if no rank has any.
            capture_stdio, options: as for `Execution`.
        """
        super().__init__(command, **options)
        self._launcher = launcher
        self._resources = resources
        self._rank_gpus = rank_gpus
        self._keeps_files = capture_stdio

    def run(self) -> ExecutableResult:
        """Execute the command and wait for the end of its ranks; once only.

        Raises:
            OSError: as for `Execution.run`.
        """
        folder = self._new_path("ranks")
        folder.mkdir()
        try:
            script = folder / "rank.sh"
            script.write_text(self._script(folder), encoding="utf-8", errors="surrogateescape")
            asked = self._resources
            words = self._launcher.command(asked.ranks, asked.cores)
            args = (*words, "/bin/sh", str(script))
            self.command = replace(self.command, args=args, stdin=None)
            said = super().run()
            return said if self.cancelled else self._result(said, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _environment(self) -> dict[bytes, bytes]:
        environment = super()._environment()
        own = own_environment(dict.fromkeys(map(os.fsdecode, environment), ""))
        return {name: environment[name] for name in map(os.fsencode, own)}

    def _script(self, folder: Path) -> str:
        """Return what each rank runs: its output goes to files of its own."""
        number = ""
        for name in reversed(RANK_VARIABLES):
            number = f"${{{name}:-{number}}}" if number else f"${{{name}}}"
        lines = [
            f"rank={number}",
            f'[ -n "$rank" ] || {{ echo "the launcher {self._launcher.words[0]} sets none of '
            f'{", ".join(RANK_VARIABLES)}, so its ranks do not know their numbers" >&2; '
            f"exit {_NO_RANK}; }}",
        ]
        if self._rank_gpus:
            lines.append("case $rank in")
            for rank, gpus in enumerate(self._rank_gpus):
                setting = shlex.quote(gpu_list(gpus))
                lines.append(f"{rank}) export {gpu_variable()}={setting};;")
            lines.append("esac")
        where = shlex.quote(str(folder))
        lines.append(f'exec >>{where}/"$rank".stdout 2>>{where}/"$rank".stderr </dev/null')
        if (stdin := self.command.stdin) is not None:
            # Not through the launcher, because some never close it.
            data = stdin.encode() if isinstance(stdin, str) else stdin
            (folder / "stdin").write_bytes(data)
            lines.append(f'[ "$rank" != 0 ] || exec <{where}/stdin')
        args = self.command.args
        if isinstance(args, str):
            # The shell would take a line that begins with "-" or "+" for an option.
            args = ("/bin/sh", "-c", f" {args}" if args[0] in "-+" else args)
        lines.append(f"exec {shlex.join(args)}")
        return "\n".join(lines) + "\n"

    def _result(self, said: ExecutableResult, folder: Path) -> ExecutableResult:
        """Return the result of the ranks, whose launcher ended as *said*."""
        own = f"{said.stdout}{said.stderr}"
        code = said.exit_code
        if code > 0 and (number := launcher_death(own)[1]):
            code = -number
        outputs = [
            self._output(folder, "stdout", ""),
            self._output(folder, "stderr", own if own.strip() else ""),
        ]
        result = ExecutableResult(code, *outputs)
        if isinstance(said, DeathResult) and code == said.exit_code:
            return DeathResult.of(result, said.reason, said.evidence)
        return result

    def _output(self, folder: Path, kind: str, more: str) -> str:
        """Return a stream of all ranks, and *more*: the text, or the path of its file."""
        files = [folder / f"{rank}.{kind}" for rank in range(self._resources.ranks)]
        if self._keeps_files:
            path = self._new_path(kind)
            with path.open("xb") as output:
                for file in files:
                    _copy(file, output.write)
                output.write(more.encode())
            return str(path)
        stream = Stream(self._memory_limit, partial(self._new_path, kind))
        try:
            for file in files:
                _copy(file, stream.write)
            stream.write(more.encode())
        finally:
            stream.close()
        return stream.text()


def _copy(path: Path, write: Callable[[bytes], object]) -> None:
    """Write what a rank wrote, if it came so far."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        while piece := file.read(_PIECE_BYTES):
            write(piece)
