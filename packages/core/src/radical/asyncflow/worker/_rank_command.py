"""A command that a launcher starts once for each rank of a task."""

from __future__ import annotations

import marshal
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from .._public import public
from ..model import Command, ExecutableResult, Resources, TaskUsage, Written
from ..model._command import DeathResult
from ._command import MOST_WRITTEN, Execution
from ._found_gpus import gpu_variable
from ._gpus import Gpu, gpu_list
from ._meter import sum_of_ranks
from ._mpi_launcher import (
    HOST_FILE_VARIABLE,
    RANK_VARIABLES,
    MpiLauncher,
    RankHosts,
    own_environment,
)
from ._output import Stream
from ._processes import kill_tree
from ._rank_end import RankEnd
from ._rank_nodes import HOST_FILE, SpreadCommand, write_node, write_nodes
from ._rank_watch import END, PLAN

__all__ = ["RankedExecution"]

_PIECE_BYTES = 1024 * 1024
_BY_LAUNCHERS = (-signal.SIGTERM, -signal.SIGKILL)  # ends of ranks
_OF_SIGNALS = range(129, 193)  # exit codes of ranks that a signal has ended
_FELL_OVER = "process manager error"  # says MPICH's launcher when it does not know what happened


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
            command: a `SpreadCommand` for ranks on several nodes.
            resources: the number of ranks on this node, and the cores of each.
            rank_gpus: the GPUs of each rank; empty if no rank has any.
            capture_stdio, options: as for `Execution`.
        """
        super().__init__(command, **options)
        self._launcher = launcher
        self._resources = resources
        self._spread = command if isinstance(command, SpreadCommand) else None
        if self._spread is not None:
            self._resources = replace(resources, ranks=self._spread.ranks)
        self._rank_gpus = rank_gpus
        self._keeps_files = capture_stdio
        self._folder = Path()  # of the ranks, while they run

    def run(self) -> ExecutableResult:
        """Execute the command and wait for the end of its ranks; once only.

        Raises:
            OSError: as for `Execution.run`.
            RuntimeError: there is no interpreter to start the ranks.
        """
        if not sys.executable:
            raise RuntimeError("sys.executable is not set, so no rank can be started")
        spread = self._spread
        self._folder = folder = self._new_path("ranks") if spread is None else Path(spread.folder)
        folder.mkdir(exist_ok=spread is not None)
        try:
            self._write_plan(folder)
            asked = self._resources
            hosts = None if spread is None else self._write_nodes(folder, spread)
            words = self._launcher.command(asked.ranks, asked.cores, hosts)
            watch = str(Path(__file__).with_name("_rank_watch.py"))
            args = (*words, sys.executable, "-I", "-S", watch, str(folder))
            self.command = replace(self.command, args=args, stdin=None)
            said = super().run()
            self.usage = self._usage_of_ranks() if self._measure else None
            return said if self.cancelled else self._result(said)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def written(self, most: int = MOST_WRITTEN) -> Written | None:  # noqa: ARG002 - names files
        if self._outlets is None:
            return None
        stdout, stderr = (tuple(map(str, self._files(kind))) for kind in ("stdout", "stderr"))
        return Written(stdout, stderr)

    def _files(self, kind: str) -> list[Path]:
        """Return the files that have a stream of each rank."""
        return [self._folder / f"{rank}.{kind}" for rank in range(self._resources.ranks)]

    def collect(self) -> ExecutableResult:
        """Return what the launcher says, when no rank is left that it was to end and did not."""
        if not self.cancelled and any(end is None or end.code for end in self._ends()):
            assert self.exchange is not None
            name, _, value = os.fsdecode(self._mark).partition("=")
            kill_tree(self.exchange.process.pid, {name: value})
        return super().collect()

    def _environment(self) -> dict[bytes, bytes]:
        environment = super()._environment()
        own = own_environment(dict.fromkeys(map(os.fsdecode, environment), ""))
        kept = {name: environment[name] for name in map(os.fsencode, own)}
        if self._spread is not None and self._launcher.reads_host_file:
            kept[HOST_FILE_VARIABLE.encode()] = os.fsencode(self._folder / HOST_FILE)
            kept.pop(b"SLURM_NTASKS_PER_NODE", None)  # of the block
        return kept

    def _write_nodes(self, folder: Path, spread: SpreadCommand) -> RankHosts:
        """Write what is to be known of the nodes; return what the launcher is told of them."""
        write_node(folder, {}, spread.first, self._rank_gpus, spread.nodes[0].ranks)
        return write_nodes(folder, spread.secret, spread.nodes)

    def _write_plan(self, folder: Path) -> None:
        """Write what each rank runs."""
        args = self.command.args
        if isinstance(args, str):
            # The shell would take a line that begins with "-" or "+" for an option.
            args = ("/bin/sh", "-c", f" {args}" if args[0] in "-+" else args)
        variables = [{gpu_variable(): gpu_list(gpus)} for gpus in self._rank_gpus]
        launcher = self._launcher.words[0]
        nodes = () if self._spread is None else tuple(node.host for node in self._spread.nodes)
        plan = (tuple(map(os.fsencode, args)), RANK_VARIABLES, variables, launcher, nodes)
        (folder / PLAN).write_bytes(marshal.dumps(plan))
        if (stdin := self.command.stdin) is not None:
            # Not through the launcher, because some never close it.
            data = stdin.encode() if isinstance(stdin, str) else stdin
            (folder / "stdin").write_bytes(data)

    def _ends(self) -> list[RankEnd | None]:
        """Return how each rank has ended, as far as its parent lived to tell."""
        ends: list[RankEnd | None] = []
        for rank in range(self._resources.ranks):
            try:
                text = (self._folder / f"{rank}.{END}").read_bytes()
            except FileNotFoundError:
                text = b""
            ends.append(RankEnd.parse(text))
        return ends

    def _usage_of_ranks(self) -> TaskUsage | None:
        """Return what the ranks used together; None if one of them does not tell."""
        ends = [end for end in self._ends() if end is not None]
        if len(ends) < self._resources.ranks:
            return None
        # A rank that does not tell its memory had less than what started it, as all others.
        return sum_of_ranks([end.usage for end in ends], peaks=False)

    def _result(self, said: ExecutableResult) -> ExecutableResult:
        """Return the result of the ranks, whose launcher ended as *said*."""
        own = f"{said.stdout}{said.stderr}"
        outputs = [
            self._output("stdout", ""),
            self._output("stderr", own if own.strip() else ""),
        ]
        failed = [(end, rank) for rank, end in enumerate(self._ends()) if end and end.code]
        if failed and said.exit_code:
            end, rank = min(failed)
            if not _launcher_decided(said.exit_code, end.code, own):
                result = ExecutableResult(end.code, *outputs)
                reason, evidence = end.death
                if not evidence:
                    return result
                where = f"rank {rank} of {self._resources.ranks}"
                return DeathResult.of(result, reason, f"{where}: {evidence}")
        result = ExecutableResult(said.exit_code, *outputs)
        if isinstance(said, DeathResult):
            return DeathResult.of(result, said.reason, said.evidence)
        return result

    def _output(self, kind: str, more: str) -> str:
        """Return a stream of all ranks, and *more*: the text, or the path of its file."""
        files = self._files(kind)
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


def _launcher_decided(said: int, code: int, text: str) -> bool:
    """Return whether the exit code *said* of a launcher is that of the command.

    That is so after ``MPI_Abort``, and if a limit of the launcher was reached: then it has ended
    the ranks, the first of which ended with *code*.

    Args:
        text: what the launcher wrote.
    """
    by_signal = said < 0 or said == -code or said in _OF_SIGNALS
    return code in _BY_LAUNCHERS and not by_signal and _FELL_OVER not in text


def _copy(path: Path, write: Callable[[bytes], object]) -> None:
    """Write what a rank wrote, if it came so far."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        while piece := file.read(_PIECE_BYTES):
            write(piece)
