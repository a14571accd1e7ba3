"""The site: what Parsl is told about the batch system."""

from __future__ import annotations

__all__: list[str] = []
