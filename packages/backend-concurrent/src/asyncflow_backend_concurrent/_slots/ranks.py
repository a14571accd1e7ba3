"""Tasks with ranks: commands and functions that a launcher starts several times at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from radical.asyncflow.backend import Command, TaskKind, TaskRequest, TaskSpec, TaskUsage
from radical.asyncflow.errors import SerializationError, UnsupportedOptionError
from radical.asyncflow.worker import (
    Buffer,
    Codes,
    Execution,
    GpuShares,
    MpiLauncher,
    Raised,
    RankCall,
    RankedExecution,
    RankGroups,
    RankShare,
    SpreadCommand,
    TaskContext,
    dump_arguments,
    gpus_by_rank,
)

__all__ = ["Ranks", "has_ranks"]


def has_ranks(request: TaskRequest) -> bool:
    """Tell whether a launcher starts the task, or that part of it which runs here."""
    return request.spec.resources.ranks > 1 or type(request.command) is SpreadCommand


class Ranks:
    """The launcher and the groups of ranks of a backend, for all slots; safe in any thread."""

    def __init__(self, launcher: str | None, *, slots: int, grace: float) -> None:
        """Make it for a backend with so many *slots*; *launcher* is the setting."""
        self._setting = launcher
        self._grace = grace
        self._groups = RankGroups(launcher, room=slots, grace=grace)
        self._codes = Codes()

    def check(self, spec: TaskSpec) -> None:
        """Raise UnsupportedOptionError if this machine cannot start the ranks of a task."""
        if spec.resources.ranks > 1:
            if spec.service:
                raise UnsupportedOptionError(
                    f"task {spec.name!r}: a service has one rank on this backend; leave ranks out, "
                    "and let the service's own command start its processes"
                )
            is_function = spec.kind is TaskKind.FUNCTION
            MpiLauncher.check(spec.name, function=is_function, setting=self._setting)

    def execution(
        self,
        request: TaskRequest,
        gpus: GpuShares,
        work_dir: Callable[[], Path],
        *,
        measure: bool,
        ready: Callable[[str], object],
    ) -> Execution:
        """Return the command of *request* for execution.

        Args:
            ready: called with the address of a share, when the launcher may use it.

        Raises:
            ConfigurationError: the launcher is gone.
        """
        spec = request.spec
        command, asked = request.command, spec.resources
        assert isinstance(command, Command)
        rank_gpus = gpus_by_rank(gpus, asked.gpus, asked.ranks)
        if isinstance(command, SpreadCommand) and not command.nodes:
            return RankShare(
                command,
                ranks=asked.ranks,
                rank_gpus=rank_gpus,
                name=spec.name,
                work_dir=work_dir,
                grace=self._grace,
                ready=ready,
            )
        return RankedExecution(
            command,
            launcher=self._groups.launcher,
            resources=asked,
            rank_gpus=rank_gpus,
            capture_stdio=spec.capture_stdio,
            name=spec.name,
            work_dir=work_dir,
            gpus=tuple(gpus),
            grace=self._grace,
            measure=measure,
        )

    def call(
        self,
        request: TaskRequest,
        task: TaskContext,
        gpus: GpuShares,
        cores: Sequence[int],
        *,
        worker: str,
        running: Callable[[], object],
        used: Callable[[TaskUsage], object] | None,
    ) -> Any:
        """Run the function of *request* on its ranks, and return its result or a `Raised`.

        Args:
            cores: the numbers of those that it is bound to; empty if it is not.
            running: called when the ranks are there.
            used: called with what the ranks used; None if nobody wants to know it.
        """
        spec = request.spec
        asked = spec.resources
        buffers: list[Buffer] = []
        try:
            function = self._codes.code_of(spec.function).pickled
            arguments = dump_arguments(spec.function, request.args, request.kwargs, buffers)
        except SerializationError as error:
            return Raised(error)
        call = RankCall(
            name=spec.name,
            task_id=request.task_id,
            attempt=request.attempt,
            function=function,
            arguments=arguments,
            buffers=buffers,
            ranks=asked.ranks,
            cores=asked.cores,
            gpus=gpus_by_rank(gpus, asked.gpus, asked.ranks),
            places=tuple(
                tuple(cores[first : first + asked.cores])
                for first in range(0, len(cores), asked.cores)
            ),
            root=spec.mpi_result == "root",
            measure=used is not None,
        )
        return self._groups.run(call, task, worker, running, used)

    def close(self) -> None:
        """End the ranks that wait for a call."""
        self._groups.close()
