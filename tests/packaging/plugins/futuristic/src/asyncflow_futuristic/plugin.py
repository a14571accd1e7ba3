from __future__ import annotations

from radical.asyncflow.backend import BackendSpec, Capabilities, TaskKind, hookimpl


@hookimpl
def asyncflow_backend() -> BackendSpec:
    return BackendSpec(
        name="futuristic",
        summary="futuristic",
        factory="no_such_module:Backend",
        capabilities=Capabilities(kinds={TaskKind.FUNCTION}),
        api_version=(1, 999),
    )
