"""What runs on the pilot for functions: take one from the bag, run it, leave its result.

A bag is a folder on a shared file system.  Whoever renames ``ready/N`` has task N: a
worker to ``claimed/N@WORKER``, the program to take it back.  So a task runs once, the
program sees which worker died with which task, and no connection is needed.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
from radical.asyncflow.worker import Failure, TaskContext, call, close_loop, unsendable

__all__ = ["FAILURE", "VALUE", "main"]

VALUE, FAILURE = range(2)
"""What a result's file holds: the value, or a `Failure`."""
_NAP = 0.002
_LONGEST_NAP = 0.05


def main(bag: str, name: str, linger: float) -> None:
    """Serve until the bag is empty, and has been for *linger* seconds or the cores are wanted."""
    folder = Path(bag)
    wanted = folder / "wanted"
    ready, claimed, results = (folder / part for part in ("ready", "claimed", "results"))
    process = os.getpid()
    idle_since = time.monotonic()
    nap = _NAP
    # A worker goes through what it saw before it looks again: listing costs a server's time.
    seen: list[str] = []
    try:
        while time.monotonic() - idle_since < linger:
            if not seen:
                seen = sorted(os.listdir(ready), key=int, reverse=True)  # noqa: PTH208
            if not seen:
                if wanted.exists():
                    return
                time.sleep(nap)
                nap = min(2 * nap, _LONGEST_NAP)
                continue
            number = seen.pop()
            mine = claimed / f"{number}@{name}"
            try:
                (ready / number).rename(mine)
            except FileNotFoundError:
                # Others are at the same list: theirs are at its end, as mine are.
                seen = []
                continue
            code, content = _run(mine.read_bytes())
            if os.getpid() != process:
                os._exit(0)  # a fork that the task left behind; its parent answers
            part = results / f"{number}.part"
            part.write_bytes(bytes([code]) + content)
            part.rename(results / number)
            mine.unlink()
            idle_since = time.monotonic()
            nap = _NAP
    finally:
        close_loop()


def _run(content: bytes) -> tuple[int, bytes]:
    """Run one task, whatever it is made of."""
    name, task_id, attempt, path, code, values = pickle.loads(content)
    sys.path[:] = path
    what = "function"
    try:
        function = pickle.loads(code)
        what = "arguments"
        args, kwargs = pickle.loads(values)
    except BaseException as exc:  # foreign code
        return _unsent(what, exc)
    value: Any
    try:
        with TaskContext(name, task_id, attempt, _gpus()):
            value = call(function, args, kwargs)
    except BaseException as exc:  # a task may raise SystemExit and live on as a failure
        return FAILURE, pickle.dumps(Failure.pack(exc))
    try:
        try:
            return VALUE, pickle.dumps(value, 5)
        except Exception:  # cloudpickle can do more, and says better what it cannot
            return VALUE, cloudpickle.dumps(value, protocol=5)
    except BaseException as exc:  # foreign code
        return _unsent("result", exc)


def _unsent(what: str, exc: BaseException) -> tuple[int, bytes]:
    return FAILURE, pickle.dumps(Failure.pack(unsendable(what, exc)))


def _gpus() -> tuple[int, ...]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return tuple(int(part) for part in visible.split(",") if part.strip().isdigit())
