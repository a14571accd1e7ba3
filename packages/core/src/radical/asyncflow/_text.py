"""Foreign text, names and error messages, made fit for one line of a terminal."""

from __future__ import annotations

__all__ = ["duration", "error_line", "printable", "shorten"]


def printable(text: str) -> str:
    """*text* with whatever a terminal would obey, or not show, written as an escape.

    That is control characters, changes of the writing direction, lone surrogates.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def shorten(text: str, limit: int) -> str:
    """*text* made printable, in at most *limit* characters."""
    # Cut before the escapes are written too, so that a huge text costs nothing.
    line = printable(text[: limit + 1])
    return line if len(line) <= limit else line[: limit - 1] + "…"


def error_line(error: BaseException, limit: int = 200) -> str:
    """Type and first line of *error*, of at most *limit* characters."""
    try:
        text = str(error)
    except Exception as broken:
        text = f"(its text cannot be had: {type(broken).__name__})"
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    name = type(error).__name__
    return shorten(f"{name}: {first}" if first else name, limit)


def duration(seconds: float) -> str:
    """``4.2 s``, ``3:07`` (minutes) or ``1:02:33`` (hours)."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
