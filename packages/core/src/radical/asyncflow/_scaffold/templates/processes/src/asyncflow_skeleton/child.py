"""The program of a worker process: it takes calls from a pipe, and sends the answers back."""

from __future__ import annotations

import os
import pickle
import sys
from multiprocessing.connection import Connection
from typing import Any

from radical.asyncflow.worker import TaskContext, answer_pickled


def main(descriptor: int) -> None:
    """Answer calls until the parent closes the pipe."""
    os.set_inheritable(descriptor, False)
    pipe: Connection[Any, Any] = Connection(descriptor)
    me = os.getpid()
    while True:
        try:
            call = pipe.recv_bytes()
        except EOFError:
            return
        sys.path[:], task, function, arguments = pickle.loads(call)
        with TaskContext(*task):
            answer = answer_pickled(function, arguments)
        if os.getpid() != me:
            os._exit(0)  # a fork of the function, which returned as well
        pipe.send_bytes(pickle.dumps(answer))


if __name__ == "__main__":
    main(int(sys.argv[1]))
