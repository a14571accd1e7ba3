"""The way back from a node, for ``asyncflow doctor NAME --from-node``."""

from __future__ import annotations

import traceback
from collections.abc import Sequence

from ..backend import ExecutionBackend, Route
from ..errors import BackendStartError
from ._checks import Checks
from ._output import debugging

__all__ = ["examine_from_node", "has_node_check", "mention_node_check"]

_START = "starts something on a node"


def has_node_check(backend: ExecutionBackend) -> bool:
    """Tell whether *backend* can check the way back from a node."""
    return type(backend).check_from_node is not ExecutionBackend.check_from_node


def mention_node_check(name: str, checks: Checks) -> None:
    """Say that the way back from a node can be checked, too."""
    checks.note(
        "the way back from a node",
        f"not checked; this runs a small job for it: asyncflow doctor {name} --from-node",
    )


async def examine_from_node(
    backend: ExecutionBackend, checks: Checks, *, wait: float, limit: float
) -> None:
    """Have a node connect to this machine, and show what it reached.

    Args:
        wait: the most seconds that a job may wait in a queue.
        limit: the most seconds that each step may take from then on.
    """
    try:
        routes = await backend.check_from_node(wait=wait, limit=limit, tell=checks.note)
    except BackendStartError as error:
        checks.fail(
            _START,
            str(error),
            "Correct its settings (asyncflow backends show NAME) with --set or --config, or give "
            "it more time: --wait SECONDS for the queue, --timeout SECONDS for each step.",
        )
        if debugging():
            traceback.print_exception(error)
        return
    if not routes:
        checks.note("no node to start from", "all tasks run on this machine")
    _show(routes, checks)


def _show(routes: Sequence[Route], checks: Checks) -> None:
    """Show the ways, first those that the backend needs."""
    for route in sorted(routes, key=lambda route: not route.used):
        if route.used and route.problem:
            checks.fail(route.address, f"{route.problem} (from {route.origin})", route.advice)
        elif route.used:
            checks.ok(route.address, f"reached from {route.origin}")
        elif route.problem:
            checks.note(route.address, f"not needed, and not reached: {route.problem}")
        else:
            checks.note(route.address, f"not needed, but reached from {route.origin}")
