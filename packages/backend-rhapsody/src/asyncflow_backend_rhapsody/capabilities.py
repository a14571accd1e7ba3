"""The capabilities of each way in which a backend of RHAPSODY runs tasks."""

from __future__ import annotations

from radical.asyncflow.backend import Capabilities, TaskKind

__all__ = ["CAPABILITIES", "ELSEWHERE", "HERE", "MARKERS", "PROGRAMS"]

_KINDS = (TaskKind.FUNCTION, TaskKind.EXECUTABLE)

HERE = Capabilities(
    kinds=_KINDS,
    kills_running=(TaskKind.EXECUTABLE,),
    isolates=False,
    contexts=True,
    priorities=True,
    limits=(
        "a function that runs in a thread cannot be stopped: its future ends at once, its thread "
        "is free when it returns",
        "a function that crashes the interpreter takes the program with it",
        "RHAPSODY counts no cores, GPUs or memory here: a task that asks for them is refused",
    ),
)
"""Functions run in threads of this program."""

ELSEWHERE = Capabilities(
    kinds=_KINDS,
    kills_running=(TaskKind.EXECUTABLE,),
    pickles=True,
    isolates=False,
    priorities=True,
    limits=(
        "RHAPSODY cannot end a function that runs: its future ends at once, its worker is free "
        "when it returns",
        "the workers must see the folder of the run, and import radical.asyncflow and "
        "asyncflow_backend_rhapsody",
        "the death of a worker may cost other tasks, too",
        "a task that asks for cores, GPUs or memory is refused: RHAPSODY names them differently "
        "on each of its backends",
    ),
)
"""Functions run in other processes, and nobody can reach one that runs."""

PROGRAMS = Capabilities(
    kinds=_KINDS,
    kills_running=(TaskKind.EXECUTABLE,),
    pickles=True,
    priorities=True,
    limits=(
        "a function that runs is not ended: its future ends at once, its place is free when it "
        "returns",
        "each task starts a Python interpreter on its node, which takes a second or more; the "
        "backend 'radical_pilot' of this project needs milliseconds",
        "the nodes must see the folder of the run, and have the program's Python with "
        "asyncflow_backend_rhapsody at the same path",
        "a task that asks for cores, GPUs, memory or ranks is refused; the backend 'radical_pilot' "
        "of this project honours them",
    ),
)
"""Commands and functions run as programs, each in a process of its own."""

MARKERS = Capabilities(
    kinds=_KINDS,
    priorities=True,
    executes=False,
    limits=("nothing runs: every task is done at once, its result a marker",),
)
"""Nothing runs."""

CAPABILITIES = HERE
"""Those with the default settings."""
