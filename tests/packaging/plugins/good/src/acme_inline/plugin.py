"""How radical.asyncflow finds this backend; imports nothing heavy."""

from __future__ import annotations

from radical.asyncflow.backend import BackendSpec, Capabilities, TaskKind, hookimpl


@hookimpl
def asyncflow_backend() -> BackendSpec:
    return BackendSpec(
        name="inline",
        summary="Runs functions one after the other",
        factory="acme_inline.backend:InlineBackend",
        config_model="acme_inline.config:InlineConfig",
        capabilities=Capabilities(kinds={TaskKind.FUNCTION}),
    )
