from radical.asyncflow.backend import Capabilities, TaskKind

CAPABILITIES = Capabilities(
    kinds={TaskKind.FUNCTION, TaskKind.EXECUTABLE},
    kills_running={TaskKind.EXECUTABLE},
    isolates=False,
    limits=["A function that does not ask cancelled() runs to its end."],
)
