"""The program of a worker process: it takes calls from a pipe, and sends the answers back."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Collection
from multiprocessing.connection import Connection
from typing import Any

from radical.asyncflow.worker import Meter, TaskContext, answer_pickled, keep_output, trace_of


def main(descriptor: int, keeps: Collection[str]) -> None:
    """Answer calls until the parent closes the pipe.

    Args:
        descriptor: the end of the pipe.
        keeps: what the run keeps of functions: "output" is what they print and log, and "usage"
            their CPU time, memory and bytes.
    """
    os.set_inheritable(descriptor, False)
    pipe: Connection[Any, Any] = Connection(descriptor)
    me = os.getpid()
    if "output" in keeps:
        keep_output()
    meter = Meter(whole_process=True) if "usage" in keeps else None
    while True:
        try:
            call = pipe.recv_bytes()
        except EOFError:
            return
        sys.path[:], task, function, arguments = pickle.loads(call)
        if meter is not None:
            meter.begin(hash(function))
        with TaskContext(*task) as context:
            answer = answer_pickled(function, arguments)
        if os.getpid() != me:
            os._exit(0)  # a fork of the function, which returned as well
        usage = None if meter is None else meter.end()
        pipe.send_bytes(pickle.dumps((answer, trace_of(context, usage))))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
