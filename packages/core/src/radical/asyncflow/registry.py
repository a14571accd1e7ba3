"""The backends that this process knows: list them, look one up, add one of your own.

Listing reads the metadata of installed distributions only.  A backend's module is
imported when somebody asks for the backend; a failure of that is remembered until
`refresh`, or until another version of its distribution is installed.  Every function may
be called from any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._discovery.listing import BackendInfo
from ._discovery.registry import registry
from .backend import BackendSpec, Capabilities, ExecutionBackend
from .deprecation import deprecated
from .errors import BackendError

__all__ = [
    "BackendInfo",
    "describe",
    "get_backend",
    "get_backend_spec",
    "get_failure_reason",
    "list_available",
    "list_available_backends",
    "refresh",
    "register_backend",
    "unregister_backend",
]


def list_available_backends() -> dict[str, BackendInfo]:
    """Return every known backend, ``{name: info}``: ours first, the others by alphabet.

    Nothing is imported, and nothing that is wrong with a backend raises here.
    """
    return registry.list_available_backends()


def get_backend_spec(name: str) -> BackendSpec:
    """Return what the backend *name* declares; this loads its plugin, but not its class.

    Raises:
        BackendNotFoundError: unknown, not installed, or without a requirement.
        BackendBrokenError: it does not load; ``__cause__`` is the real error.
        BackendIncompatibleError: written for another core, contract or Python.
    """
    return registry.get_backend_spec(name)


def describe(name: str) -> dict[str, Any]:
    """Return everything that ``asyncflow backends show`` says of *name*, ready for JSON.

    The keys of `BackendInfo` and ``name``, ``core_version``, ``core_api_version``;
    for a backend that loads also ``capabilities``, ``requirements``, ``api_version``,
    ``config_schema`` (a JSON schema, or None if it takes no settings) and ``tasks``, which
    says for each kind and option of tasks what is lacking, or "" for nothing.

    Raises:
        BackendNotFoundError: no backend of this name is known.
    """
    return registry.describe(name)


def register_backend(
    name: str,
    factory: str | Callable[..., ExecutionBackend],
    *,
    summary: str = "",
    config_model: str | type | None = None,
    capabilities: Capabilities | None = None,
) -> None:
    """Make *factory* known as *name*, in this process and before any installed backend.

    Args:
        factory: an `ExecutionBackend` class, another callable that makes instances,
            or ``"module:Name"`` of either; called as `BackendSpec` says.
        config_model: as in `BackendSpec`; without one the backend takes no settings.
        capabilities: those of the class, if not given.

    Raises:
        ConfigurationError: *name* is registered already, or *factory* cannot be one.
    """
    registry.register_backend(
        name, factory, summary=summary, config_model=config_model, capabilities=capabilities
    )


def unregister_backend(name: str) -> None:
    """Take back `register_backend`.

    Raises:
        BackendNotFoundError: nothing of this name was registered by this program.
    """
    registry.unregister_backend(name)


def refresh() -> None:
    """Forget every load, good or failed; what this program registered stays."""
    registry.refresh()


@deprecated(since="1.0", removal="2.0", instead="use registry.list_available_backends()")
def list_available() -> dict[str, bool]:
    """Return for every known backend whether it is installed with all that it requires."""
    return {name: info["available"] for name, info in list_available_backends().items()}


@deprecated(
    since="1.0",
    removal="2.0",
    instead="use factory.create_backend(), or import the class from radical.asyncflow",
)
def get_backend(name: str) -> Callable[..., ExecutionBackend] | None:
    """Return the class of the backend *name*; None if it is not known or cannot be used."""
    try:
        return registry.load_factory(name)
    except BackendError:
        return None  # `get_failure_reason` says why


@deprecated(
    since="1.0",
    removal="2.0",
    instead="read failure_reason in registry.list_available_backends()",
)
def get_failure_reason(name: str) -> str | None:
    """Return why the backend *name* cannot be used; None if it can, or is not known."""
    info = list_available_backends().get(name)
    if info is None:
        return None
    try:
        registry.load_factory(name)
    except BackendError as error:
        return info["failure_reason"] or str(error)
    return None
