"""The plugin by which radical.asyncflow finds this backend."""

from __future__ import annotations

from radical.asyncflow.backend import BackendSpec, hookimpl

from .capabilities import CAPABILITIES

__all__ = ["asyncflow_backend"]


@hookimpl
def asyncflow_backend() -> BackendSpec:
    return BackendSpec(
        name="inference",
        summary="Answers prompts by any server with OpenAI's interface, within its limits",
        factory="asyncflow_backend_inference.backend:InferenceExecutionBackend",
        config_model="asyncflow_backend_inference.config:InferenceConfig",
        capabilities=CAPABILITIES,
    )
