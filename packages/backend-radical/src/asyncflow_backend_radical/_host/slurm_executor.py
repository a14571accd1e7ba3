"""PSI/J's executor for Slurm, which takes every state and every reason that Slurm tells.

PSI/J knows some reasons only, and it asks for all jobs of the user at once.  So one job that ended
for another reason, such as ``OutOfMemory``, was an error for all of them, and RADICAL-Pilot took a
pilot that ran for one that had failed.  PSI/J loads this file in RADICAL-Pilot's launcher.
"""

from __future__ import annotations

from collections.abc import Collection

from psij import JobState, JobStatus
from psij.executors.batch.batch_scheduler_executor import check_status_exit_code
from psij.executors.batch.slurm import SlurmExecutorConfig, SlurmJobExecutor

__all__ = ["AnyReasonSlurmExecutor"]

_POLL_S = 15  # so that the end of a job is told within a minute, also where Slurm itself needs half


class AnyReasonSlurmExecutor(SlurmJobExecutor):  # type: ignore[misc]
    """The executor of PSI/J, with another question to ``squeue``, asked more often."""

    def __init__(self, url: str | None = None, config: SlurmExecutorConfig | None = None) -> None:
        super().__init__(url, config or SlurmExecutorConfig(queue_polling_interval=_POLL_S))

    def get_status_command(self, native_ids: Collection[str]) -> list[str]:  # noqa: ARG002
        return ["squeue", "--me", "--noheader", "--states=all", "--format=%i|%t|%r"]

    def parse_status_output(self, exit_code: int, out: str) -> dict[str, JobStatus]:
        check_status_exit_code("squeue", exit_code, out)
        found = {}
        for line in filter(None, out.splitlines()):
            native_id, state, reason = line.split("|", 2)
            # A job in a state that is not known here has not ended.
            known = self._STATE_MAP.get(state, JobState.ACTIVE)
            text = self._REASONS_MAP.get(reason, reason) if known is JobState.FAILED else None
            found[native_id] = JobStatus(known, message=text)
        return found
