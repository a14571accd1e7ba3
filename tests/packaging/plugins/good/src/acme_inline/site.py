"""The profiles of this site."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from radical.asyncflow.hookspecs import hookimpl


@hookimpl
def asyncflow_profiles() -> Mapping[str, Mapping[str, Any]]:
    return {"acme": {"backend": "inline", "config": {"repeat": 2}}}
