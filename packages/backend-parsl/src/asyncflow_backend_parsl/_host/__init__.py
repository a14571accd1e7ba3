"""The process that holds Parsl: it asks for blocks and ends them."""

from __future__ import annotations

__all__: list[str] = []
