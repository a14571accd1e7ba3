"""The settings of a run that has to stop before its tasks are done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._public import public
from ..errors import ConfigurationError
from ._durations import parse_duration

if TYPE_CHECKING:
    from datetime import datetime, timedelta

__all__ = ["Preemption"]


@public("radical.asyncflow")
@dataclass(frozen=True, slots=True)
class Preemption:
    """The time after which a run has to stop although tasks are unfinished, and how it stops.

    A duration is a number of seconds, a string such as ``"HH:MM:SS"``, or a timedelta; see
    `radical.asyncflow.model.parse_duration`.

    Attributes:
        walltime: the time that the run may take, from the creation of its engine.  Tasks that
            would not finish in time are not started; at the end, what is left fails with
            PreemptedError.  None: the time that ``ASYNCFLOW_WALLTIME`` gives, unless there is
            a *deadline*; else no limit.
        deadline: the end as a point in time, in local time if it has no time zone; the earlier
            of the two ends counts.
        grace: how long before the end a task of unknown duration may still start, and how long
            running tasks may go on after SIGTERM; 20 seconds by default.
        stop_on_sigterm: True to stop the run in the same way on SIGTERM, which batch systems
            send.  The engine then has to be in the main thread.

    Raises:
        ConfigurationError: a setting is wrong; the error lists every problem.
    """

    walltime: float | str | timedelta | None = None
    deadline: datetime | None = None
    grace: float | str | timedelta = 20.0
    stop_on_sigterm: bool = False

    def __post_init__(self) -> None:
        from datetime import datetime  # here, because few programs have an end

        wrong = []
        given = {"grace": self.grace}
        if self.walltime is not None:
            given["walltime"] = self.walltime
        for name, value in given.items():
            try:
                seconds = parse_duration(value)
            except ConfigurationError as error:
                wrong.append(f"{name}: {error}")
            else:
                if name == "walltime" and not seconds:
                    wrong.append("walltime must be longer than 0 seconds")
        if self.deadline is not None and not isinstance(self.deadline, datetime):
            wrong.append(f"deadline must be a datetime, not {self.deadline!r}")
        if not isinstance(self.stop_on_sigterm, bool):
            wrong.append(f"stop_on_sigterm must be True or False, not {self.stop_on_sigterm!r}")
        if wrong:
            raise ConfigurationError("; ".join(wrong))
