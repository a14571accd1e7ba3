"""The command ``asyncflow``: one module for each of its commands.

A face of the core: it may import every room, and nothing imports it.  What is heavy (the
engine, the registry, rich) is imported inside the functions that need it, so that
``asyncflow --version`` answers at once.
"""

from __future__ import annotations

from ._command import main

__all__ = ["main"]
