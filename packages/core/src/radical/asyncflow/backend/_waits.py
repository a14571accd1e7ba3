"""The values with which a backend says what a task waits for."""

from __future__ import annotations

from ..model._waiting import Wait, WaitKind

__all__ = ["Wait", "WaitKind"]
