from radical.asyncflow.backend import BackendSpec, hookimpl

from .capabilities import CAPABILITIES


@hookimpl
def asyncflow_backend() -> BackendSpec:
    return BackendSpec(
        name="frozen_1_0",
        summary="Runs functions and commands in threads",
        factory="asyncflow_frozen_1_0.backend:FrozenBackend",
        config_model="asyncflow_frozen_1_0.config:FrozenConfig",
        capabilities=CAPABILITIES,
        api_version=(1, 0),
    )
