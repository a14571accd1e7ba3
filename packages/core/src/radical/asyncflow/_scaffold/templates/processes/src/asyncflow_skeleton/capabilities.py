"""The abilities of the backend; the engine refuses everything else. It imports nothing heavy."""

from __future__ import annotations

from radical.asyncflow.backend import Capabilities, TaskKind

CAPABILITIES = Capabilities(
    kinds={TaskKind.FUNCTION, TaskKind.EXECUTABLE},
    kills_running={TaskKind.FUNCTION, TaskKind.EXECUTABLE},
    pickles=True,
    limits=["a function that is cancelled is killed, and gets no time to clean up"],
)
