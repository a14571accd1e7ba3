"""The command ``asyncflow``."""

from __future__ import annotations

from ._command import main

__all__ = ["main"]
