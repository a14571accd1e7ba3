"""The main loop of a worker: take a function from the exchange, run it, write its answer."""

from __future__ import annotations

import os
import pickle
import sys
import time
from pathlib import Path

from radical.asyncflow.worker import TaskContext, answer_pickled, close_loop, visible_gpus

from .exchange import Answer, Exchange
from .traces import Tracer, Wanted

__all__ = ["main"]

_SHORTEST_POLL_S = 0.002
_LONGEST_POLL_S = 0.05


def main(folder: str, worker: str, idle_limit_s: float) -> None:
    """Run the functions that arrive in *folder*, as the worker named *worker*.

    Return when there has been no function for *idle_limit_s* seconds; earlier, if there is
    none and other tasks want the cores.
    """
    exchange = Exchange(Path(folder))
    process = os.getpid()
    idle_since = time.monotonic()
    poll_s = _SHORTEST_POLL_S
    # One listing serves until all that it showed is taken: it costs the file server time.
    listed: list[str] = []
    tracer = Tracer()
    try:
        while time.monotonic() - idle_since < idle_limit_s:
            if not listed:
                listed = sorted(os.listdir(exchange.ready), key=int, reverse=True)  # noqa: PTH208
            if not listed:
                if exchange.cores_wanted.exists():
                    return
                time.sleep(poll_s)
                poll_s = min(2 * poll_s, _LONGEST_POLL_S)
                continue
            number = listed.pop()
            claim = exchange.claim(number, worker)
            try:
                (exchange.ready / number).rename(claim)
            except FileNotFoundError:
                # Other workers go through the same list, so the rest of it is outdated too.
                listed = []
                continue
            answer = _run(claim.read_bytes(), worker, tracer)
            if os.getpid() != process:
                os._exit(0)  # the task forked, and this is the child; its parent answers
            part = exchange.results / f"{number}.part"
            part.write_bytes(answer.dump())
            part.rename(exchange.results / number)
            claim.unlink()
            idle_since = time.monotonic()
            poll_s = _SHORTEST_POLL_S
    finally:
        close_loop()


def _run(task: bytes, worker: str, tracer: Tracer) -> Answer:
    """Run the pickled *task*, and return its answer."""
    name, task_id, attempt, path, function, arguments, wanted = pickle.loads(task)
    sys.path[:] = path
    tracer.begin(Wanted(*wanted), function)
    with TaskContext(name, task_id, attempt, visible_gpus()) as context:
        begun = time.monotonic()
        code, body = answer_pickled(function, arguments)
        answer = Answer.make(code, body, worker, begun)
    return answer._replace(trace=tracer.end(context))
