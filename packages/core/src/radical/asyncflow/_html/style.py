"""The style that all pages share, and the hashes by which a page allows its own parts."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources

__all__ = ["hash_source", "shared_style"]


def shared_style() -> str:
    """Return the style sheet: colours in light and dark, text, tables, buttons, small screens."""
    return (importlib.resources.files(__package__) / "shared.css").read_text("utf-8")


def hash_source(text: str) -> str:
    """Return the hash by which a content security policy allows an inline element."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
