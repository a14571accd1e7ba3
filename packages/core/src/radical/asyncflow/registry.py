"""The backends that this process knows: list them, look one up, add one of your own.

The functions are methods of the one `Registry` that the engine uses.
"""

from __future__ import annotations

from ._discovery.listing import BackendInfo
from ._discovery.registry import registry

__all__ = [
    "BackendInfo",
    "describe",
    "get_backend_spec",
    "hooks",
    "list_available_backends",
    "load_plugins",
    "refresh",
    "register_backend",
    "unregister_backend",
]

describe = registry.describe
get_backend_spec = registry.get_backend_spec
hooks = registry.hooks
list_available_backends = registry.list_available_backends
load_plugins = registry.load_plugins
refresh = registry.refresh
register_backend = registry.register_backend
unregister_backend = registry.unregister_backend
