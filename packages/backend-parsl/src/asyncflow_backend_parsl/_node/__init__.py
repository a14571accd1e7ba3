"""The side of a node: what Parsl's workers run."""

from __future__ import annotations

__all__: list[str] = []
