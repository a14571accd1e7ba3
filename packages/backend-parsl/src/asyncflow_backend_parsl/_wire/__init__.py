"""The connection between the program and its nodes: ZeroMQ, encrypted."""

from __future__ import annotations

__all__: list[str] = []
