"""Text for people: foreign text made safe and short, durations and task ids in words."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "closest",
    "duration",
    "error_line",
    "printable",
    "safe_repr",
    "safe_str",
    "shorten",
    "task_id_text",
    "truncate",
]


def task_id_text(number: int) -> str:
    """Return the id of a task as users see it: ``"task.000012"`` for number 12."""
    return f"task.{number:06d}"


def safe_str(error: BaseException) -> str:
    """Return the type and text of *error*, even if its own methods raise."""
    name = type(error).__name__
    try:
        return f"{name}: {error}"
    except BaseException as broken:  # foreign code
        return f"{name} (its text cannot be had: {type(broken).__name__})"


def safe_repr(value: object) -> str:
    """Return ``repr(value)``, or a substitute that names its type if that raises."""
    try:
        return repr(value)
    except BaseException as broken:  # foreign code
        return f"{type(value).__name__} (its text cannot be had: {type(broken).__name__})"


def closest(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known word nearest to *word*, or ``""``."""
    import difflib  # here, because only errors need it

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


def truncate(text: str, limit: int = 500) -> str:
    """Return *text*, cut to *limit* characters with ``...`` at its end."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


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
