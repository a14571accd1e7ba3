"""Processes that carry a token in their first environment."""

from __future__ import annotations

from pathlib import Path

__all__ = ["marked"]


def marked(token: str) -> list[int]:
    """Their process ids (Linux; none elsewhere)."""
    mark = f"ASYNCFLOW_PROGRAM={token}".encode()
    proc = Path("/proc")
    if not proc.is_dir():
        return []
    return [int(entry.name) for entry in proc.iterdir() if _carries(entry, mark)]


def _carries(entry: Path, mark: bytes) -> bool:
    if not entry.name.isdigit():
        return False
    try:
        return mark in (entry / "environ").read_bytes().split(b"\0")
    except OSError:  # it ended, or is somebody else's
        return False
