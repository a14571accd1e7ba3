"""The declaration by which radical.asyncflow finds the backend; it imports nothing heavy."""

from __future__ import annotations

from radical.asyncflow.backend import BackendSpec, hookimpl

from .capabilities import CAPABILITIES


@hookimpl
def asyncflow_backend() -> BackendSpec:
    """Declare the backend."""
    return BackendSpec(
        name="skeleton",
        summary="Runs functions and commands as jobs of a batch system",
        factory="asyncflow_skeleton.backend:SkeletonBackend",
        config_model="asyncflow_skeleton.config:SkeletonConfig",
        capabilities=CAPABILITIES,
        api_version=(1, 0),
    )
