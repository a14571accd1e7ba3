"""The artifact store that a user names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .._text import printable, safe_repr, safe_str
from ..errors import AsyncFlowError, PluginBrokenError
from ._output import show_log

__all__ = ["open_store"]


def open_store(wanted: str) -> Callable[[str, Path], str]:
    """Open the store ``NAME`` or ``NAME:TEXT``; return what puts a file of a run there.

    Raises:
        PluginError: the store is unknown, or does not work; so does what is returned.
    """
    from .._discovery.registry import registry
    from .._groups import STORE_GROUP
    from ..hookspecs import ArtifactStore

    show_log()
    name, _, text = wanted.partition(":")
    make = registry.named.load(STORE_GROUP, name)
    try:
        store = make(text)
    except AsyncFlowError:
        raise
    except Exception as error:
        raise _broken(name, error) from error
    if not isinstance(store, ArtifactStore):
        raise PluginBrokenError(
            f"the artifact store {name} must give an ArtifactStore, not {safe_repr(store)}"
        )

    def put(run: str, path: Path) -> str:
        try:
            return printable(str(store.put(run, path)))
        except AsyncFlowError:
            raise
        except Exception as error:
            raise _broken(name, error) from error

    return put


def _broken(name: str, error: Exception) -> PluginBrokenError:
    return PluginBrokenError(f"the artifact store {name} does not work: {safe_str(error)}")
