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
    """When a run has to stop before its tasks are done, and how.

    A duration is seconds, a text such as ``"HH:MM:SS"``, or a timedelta; what
    `radical.asyncflow.model.parse_duration` reads.

    Attributes:
        walltime: how long the run may take, from the moment when its engine is created.  In
            time before that end nothing starts that would not finish; then what is left
            fails with PreemptedError.  None: what ``ASYNCFLOW_WALLTIME`` says, unless
            there is a *deadline*; else no end.
        deadline: the same as a point in time, in local time if it has no time zone; the
            earlier of the two counts.
        grace: how long before the end a task of unknown length still starts, and how
            long running ones may go on after SIGTERM; 20 seconds if not given.
        stop_on_sigterm: let SIGTERM, as a batch system sends it, stop the run in the
            same way.  The engine has to be in the main thread then.

    Raises:
        ConfigurationError: names everything that is wrong.
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
