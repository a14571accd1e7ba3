"""Decide by the time that calls take how many of them share a Dask task.

Dask spends about a millisecond on each task: on the worker, which is idle meanwhile, and on the
scheduler, which has all workers to serve.  So short calls share a Dask task.  But the last Dask
tasks of a bag decide how long some slots wait for the others, so these are small.
"""

from __future__ import annotations

from math import ceil

__all__ = ["bag_sizes", "max_calls_in_graph"]

_MAX_CALLS = 256
_MAX_SHARING_S = 0.0125  # of a call: what ended in a Dask task runs again if its worker dies
_MAX_WORK_S = 0.2  # of a Dask task, if it is one of many
_MIN_WORK_S = 0.005  # of a Dask task, as long as there are enough calls
_TASKS_PER_SLOT = 4  # of a bag at least, so that first results are early
_LAST_ROUND = 1.5  # smallest Dask tasks for each slot, which are not worth two rounds
_SCHEDULER_S = 0.0005  # that the scheduler spends on a Dask task
_CALL_S = 5e-5  # that a worker spends on a call, beside the time of the function
_MAX_WORK_IN_GRAPH_S = 0.02  # because what depends on a call waits for its whole Dask task


def bag_sizes(count: int, seconds: float, slots: int) -> list[int]:
    """Return how many calls go into each Dask task, in the order in which these should run.

    A round of Dask tasks, one for each slot, has half of the calls that are left.  So Dask
    tasks are large while there is much to do, and small in the end, when slots that wait for
    the others would be idle.  Calls that take long go alone: for them Dask's share is small,
    and it is a loss to run them again.

    Args:
        count: the number of calls, none of which waits for another.
        seconds: how long one takes.
        slots: how many run at once; 0 counts as 1.
    """
    if seconds > _MAX_SHARING_S:
        return [1] * count
    slots = max(slots, 1)
    cost = seconds + _CALL_S
    min_work = max(_MIN_WORK_S, _SCHEDULER_S * slots)
    least = _calls_in(min_work, cost)
    most = _calls_in(max(_MAX_WORK_S, 2 * min_work), cost)
    most = min(most, max(ceil(count / (_TASKS_PER_SLOT * slots)), least))
    sizes: list[int] = []
    left = count
    while left:
        share = max(ceil(left / (2 * slots)), least)
        if least > 1 and left <= _LAST_ROUND * least * slots:
            share = left
        size = min(share, most, ceil(left / slots))
        for _ in range(slots):
            sizes.append(min(size, left))
            left -= sizes[-1]
            if not left:
                break
    return sizes


def max_calls_in_graph(seconds: float) -> int:
    """Return how many calls of *seconds* each may share a Dask task on which others depend."""
    return _calls_in(_MAX_WORK_IN_GRAPH_S, max(seconds, 1e-6))


def _calls_in(work: float, cost: float) -> int:
    return max(1, min(_MAX_CALLS, round(work / cost)))
