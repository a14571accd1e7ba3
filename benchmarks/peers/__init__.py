"""Other engines beside ours, each in an environment of its own that is created on demand."""

from __future__ import annotations

from ._contest import measure_peers

__all__ = ["measure_peers"]
