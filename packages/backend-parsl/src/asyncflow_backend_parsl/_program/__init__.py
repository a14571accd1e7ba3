"""The side of the program: which node gets which task, and when there is another block."""

from __future__ import annotations

__all__: list[str] = []
