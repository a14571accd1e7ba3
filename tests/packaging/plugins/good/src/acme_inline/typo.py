"""A plugin that implements a hook which does not exist."""

from __future__ import annotations

from radical.asyncflow.hookspecs import hookimpl


@hookimpl
def asyncflow_profile() -> None:
    """Never called: the hook is named asyncflow_profiles."""
