"""The groups of ranks of a backend: one that has nothing to do serves the next call of its size."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from .._public import public
from ..model import TaskUsage
from ._answer import Raised
from ._context import TaskContext
from ._importing import reloads
from ._mpi_launcher import MpiLauncher
from ._rank_group import RankCall, RankGroup

__all__ = ["RankCall", "RankGroups"]

public("radical.asyncflow.worker")(RankCall)


@public("radical.asyncflow.worker")
class RankGroups:
    """Runs functions on groups of ranks; safe in any thread.

    A group that has done its call waits for another one of as many ranks and cores, unless
    its ranks have GPUs: their memory is for whoever gets the GPUs next.  The groups that
    wait have at most as many ranks as may run at once.
    """

    def __init__(
        self,
        setting: str | None,
        *,
        room: int,
        grace: float,
        idle_timeout: float | None = None,
    ) -> None:
        """Make the groups of a backend, without any.

        Args:
            setting: as for `MpiLauncher`.
            room: how many ranks groups may have that wait for a call.
            grace: seconds between SIGTERM and SIGKILL after a cancel.
            idle_timeout: seconds after which a group that waits ends; None for never.
        """
        self._setting = setting
        self._room = room
        self._idle_timeout = idle_timeout
        self._timer: threading.Timer | None = None
        self._grace = grace
        self._lock = threading.Lock()
        self._launcher: MpiLauncher | None = None
        self._idle: list[tuple[RankCall, RankGroup]] = []  # the one that was used last is the last
        self._closed = False

    @property
    def launcher(self) -> MpiLauncher:
        """The launcher, found when it is used first.

        Raises:
            ConfigurationError: there is none.
        """
        with self._lock:
            if self._launcher is None:
                self._launcher = MpiLauncher(self._setting)
            return self._launcher

    def run(
        self,
        call: RankCall,
        task: TaskContext,
        worker: str,
        running: Callable[[], object],
        used: Callable[[TaskUsage], object] | None = None,
    ) -> Any:
        """Run *call*, and wait for its end; ``task.cancel`` ends it.

        Args:
            worker: the name of whoever runs it, for errors.
            running: called when all ranks are there.
            used: called with what the ranks used together, if *call* is measured and all told.

        Returns:
            The values of the ranks in their order, or that of the first; or a `Raised`.
        """
        group = self._take(call)
        if group is None:
            try:
                group = RankGroup(self.launcher, call, worker=worker, grace=self._grace)
            except Exception as error:
                return Raised(error)
            _attach(task, group, call)
            if (raised := group.start(call)) is not None:
                return raised
        else:
            _attach(task, group, call)
        running()
        outcome = group.run(call)
        if used is not None and group.usage is not None:
            used(group.usage)
        self._leave(call, group)
        return outcome

    def _take(self, call: RankCall) -> RankGroup | None:
        """Return a group that waits and fits *call*."""
        now = reloads()
        with self._lock:
            fitting = [
                item
                for item in self._idle
                if (item[0].ranks, item[0].cores) == (call.ranks, call.cores) and not call.gpus
            ]
            for item in fitting:
                self._idle.remove(item)
        chosen = None
        for item in reversed(fitting):
            if chosen is None and item[1].reloads == now and item[1].is_whole:
                chosen = item[1]
            elif item[1].reloads == now and item[1].is_whole:
                self._leave(*item)
            else:
                item[1].close()
        return chosen

    def _leave(self, call: RankCall, group: RankGroup) -> None:
        """Keep a group that is of use for a later call, and end what there is no room for."""
        if group.is_over:
            return
        ended = []
        with self._lock:
            if self._closed or call.gpus:
                ended.append(group)
            else:
                bare = call._replace(function=b"", arguments=b"", buffers=())
                self._idle.append((bare, group))
                if self._idle_timeout is not None:
                    self._set_timer(self._idle_timeout)
            while sum(item.ranks for item, _ in self._idle) > self._room:
                ended.append(self._idle.pop(0)[1])
        for each in ended:
            each.close()

    def close(self) -> None:
        """End the groups that wait, and each other one when its call has ended."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
            timer.join()
        for _, group in idle:
            group.close()

    def _set_timer(self, seconds: float) -> None:
        """Have all groups end, once none was used for *seconds*; called with the lock held."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(seconds, self._end_idle)
        self._timer.daemon = True
        self._timer.start()

    def _end_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
            if self._timer is threading.current_thread():
                self._timer = None
        for _, group in idle:
            group.close()


def _attach(task: TaskContext, group: RankGroup, call: RankCall) -> None:
    """Have a cancel of *task* end *call*, which *group* runs next."""
    group.begin(call)
    task.on_cancel = partial(group.cancel, call)
    if task.cancelled:
        group.cancel(call)
