"""Shut a run down: its tasks, then its backends, then its files; and report how it ended."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from . import _launch

if TYPE_CHECKING:
    from .._dispatch.dispatcher import Dispatcher
    from .._files.work_dir import WorkDir
    from .._resume.recorder import Recorder
    from ..backend._sharing import Sharing
    from ._preemption import OrderlyStop

__all__ = ["Shutdown"]

log = logging.getLogger("radical.asyncflow")

CANCEL_GRACE_S = 12.0
"""Seconds that cancelled work has to end at shutdown; executables have 5 s after SIGTERM."""


class Shutdown:
    """The shutdown of one engine.

    Attributes:
        stop: the orderly stop before the tasks are done, if the time of the run is limited.
        recorder: the writer of the journal, if there is one.
        failed: True if an exception left the engine's ``async with``, or the task that
            created the engine.
        error: that exception, if it is known.
        keep: leave the backends running, because the program will use them again.
        last: nobody can use them again, because the loop is being closed.
    """

    def __init__(self, dispatcher: Dispatcher, work_dir: WorkDir) -> None:
        self._dispatcher = dispatcher
        self._work_dir = work_dir
        self.recorder: Recorder | None = None
        self.stop: OrderlyStop | None = None
        self.failed = False
        self.error: BaseException | None = None
        self.keep = self.last = False
        self._cancelled = False

    @property
    def preempted(self) -> str | None:
        """The reason why the run stops before its tasks are done; None while it does not."""
        return None if self.stop is None else self.stop.reason

    @property
    def outcome(self) -> str:
        """The outcome of the run, for its `RunEvent` and its journal."""
        if self.preempted:
            return "preempted"
        if self.error is not None and not isinstance(self.error, Exception):
            return "cancelled"
        if self.failed:
            return "failed"
        return "cancelled" if self._cancelled else "done"

    def cancel_all(self) -> None:
        """Cancel every unfinished task."""
        self._cancelled |= not self._dispatcher.run.scheduler.idle
        self._dispatcher.outcomes.cancel_all()

    async def run(self, cancel: bool) -> None:
        """Cancel the tasks or wait for them, then shut down everything that ran them.

        Raises:
            BackendError: a backend did not shut down cleanly; the others did.
        """
        dispatcher = self._dispatcher
        if not cancel:
            await dispatcher.wait_idle()
            await dispatcher.background.wait_all()
        dispatcher.run.closed = True
        try:
            self.cancel_all()
            try:
                async with asyncio.timeout(CANCEL_GRACE_S):
                    await dispatcher.wait_idle()
            except TimeoutError:
                log.warning("some tasks did not end within %g s of the shutdown", CANCEL_GRACE_S)
            await dispatcher.services.close(CANCEL_GRACE_S)
            lanes = tuple(dispatcher.run.lanes.values())
            ends = await asyncio.gather(
                *(_launch.end(lane, keep=self.keep, last=self.last) for lane in lanes),
                return_exceptions=True,
            )
            dispatcher.pump()
            dispatcher.outcomes.abandon()
            await dispatcher.background.close()
            await dispatcher.run.observers.close(
                zip(lanes, ends, strict=True), self.outcome, self.error
            )
        finally:
            if dispatcher.instances is not None:
                dispatcher.instances.close()
            if self.stop is not None:
                self.stop.close()
            self._close_work_dir()
            if self.recorder is not None:
                await self.recorder.close(self.outcome)
        errors = [error for error in ends if isinstance(error, BaseException)]
        if errors:
            raise errors[0]

    def _close_work_dir(self) -> None:
        """Close the folder of the run once no backend that got it from this engine uses it."""
        using = {
            lane.sink.sharing
            for lane in self._dispatcher.run.lanes.values()
            if lane.sink.sharing is not None and not lane.backend.is_shut_down
        }

        def ended(sharing: Sharing) -> None:
            using.discard(sharing)
            if not using:
                self._work_dir.close()

        for sharing in tuple(using):
            sharing.at_end(partial(ended, sharing))
        if not using:
            self._work_dir.close()
