"""Threads of a worker whose function does not return: others take their places.

It is what `distributed.secede` does, but that is for the thread itself, and this for any other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from distributed.threadpoolexecutor import thread_state, threads_lock
from distributed.worker_state_machine import SecedeEvent
from radical.asyncflow.worker import close_loop

__all__ = ["leave_if_replaced", "replace"]


def replace(
    worker: Any, thread: threading.Thread | None, key: str, take: Callable[[], bool]
) -> bool:
    """Start another thread in the place of *thread*, which runs the Dask task *key*.

    Call it in the loop of *worker*.

    Args:
        take: returns False if the call has ended; after True, its thread finds at the end of
            the call that it was taken, and calls `leave_if_replaced`.

    Returns:
        False if nothing was to be done, or the worker ends.
    """
    executor = worker.executors["default"]
    with threads_lock:
        if executor._shutdown or thread not in executor._threads or not take():
            return False
        executor._threads.remove(thread)
        executor._adjust_thread_count()
    # Otherwise the worker would count the task and its cores, and begin no other one.
    state = worker.state
    task = state.tasks.get(key)
    if task is not None and "CPU" in (task.resource_restrictions or {}):
        restrictions = dict(task.resource_restrictions)
        state.available_resources["CPU"] += restrictions.pop("CPU")
        task.resource_restrictions = restrictions
    event = SecedeEvent(key=key, compute_duration=0.0, stimulus_id=f"stuck-{time.time()}")
    worker.handle_stimulus(event)
    return True


def leave_if_replaced() -> None:
    """Have this thread end after its Dask task if another one has taken its place."""
    executor = getattr(thread_state, "executor", None)
    if executor is None:
        return
    with threads_lock:
        is_replaced = threading.current_thread() not in executor._threads
    if is_replaced:
        close_loop()
        thread_state.proceed = False
