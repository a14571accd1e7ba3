"""The abilities of the backend; the engine refuses everything else. It imports nothing heavy."""

from __future__ import annotations

from radical.asyncflow.backend import Capabilities, TaskKind

CAPABILITIES = Capabilities(
    kinds={TaskKind.FUNCTION},
    contexts=True,
    priorities=True,
    isolates=False,
    limits=["a function that never looks at cancelled() runs to its end"],
)
