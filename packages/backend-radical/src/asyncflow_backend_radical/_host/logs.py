"""The ends of RADICAL-Pilot's logs, for an error's text."""

from __future__ import annotations

from pathlib import Path

__all__ = ["tails"]

_LINES = 8
_FILES = 6
_BYTES = 4096


def tails(host_log: Path, session: Path | None, sandbox: str) -> str:
    """Where the logs are, and the last lines of those that say something."""
    folders = [folder for folder in (session, Path(sandbox) if sandbox else None) if folder]
    files = [host_log]
    for folder in folders:
        if folder.is_dir():
            files += sorted(
                (file for file in folder.iterdir() if file.suffix in (".log", ".err", ".out")),
                key=lambda file: file.stat().st_mtime,
                reverse=True,
            )
    parts = ["logs: " + ", ".join(map(str, [host_log, *folders]))]
    for file in files:
        lines = _tail(file)
        if lines:
            parts.append(f"--- {file.name}")
            parts += lines
        if len(parts) > _FILES * (_LINES + 1):
            break
    return "\n".join(parts)


def _tail(file: Path) -> list[str]:
    try:
        with file.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - _BYTES))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-_LINES:]
