"""The abilities of the backend; the engine refuses everything else. It imports nothing heavy."""

from __future__ import annotations

from radical.asyncflow.backend import Capabilities, TaskKind

CAPABILITIES = Capabilities(
    kinds={TaskKind.FUNCTION, TaskKind.EXECUTABLE},
    resources={"cores"},
    kills_running={TaskKind.FUNCTION, TaskKind.EXECUTABLE},
    pickles=True,
    limits=[
        "each task is a job of its own",
        "a job goes on if the program is killed, as far as the batch system lets it",
        "the nodes must see the work_dir of the run",
    ],
)
