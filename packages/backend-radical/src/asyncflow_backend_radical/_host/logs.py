"""The last lines of RADICAL-Pilot's logs, for the text of an error."""

from __future__ import annotations

from pathlib import Path

__all__ = ["log_tails"]

_LINES_PER_FILE = 8
_MOST_FILES = 6
_TAIL_BYTES = 4096


def log_tails(host_log: Path, session: Path | None, sandbox: str) -> str:
    """Return where the logs are, and the last lines of those that are not empty.

    Args:
        session: the folder of RADICAL-Pilot's session, if there is one yet.
        sandbox: the folder of the pilot, or "".
    """
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
        if len(parts) > _MOST_FILES * (_LINES_PER_FILE + 1):
            break
    return "\n".join(parts)


def _tail(file: Path) -> list[str]:
    try:
        with file.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - _TAIL_BYTES))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-_LINES_PER_FILE:]
