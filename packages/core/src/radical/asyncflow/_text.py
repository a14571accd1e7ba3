"""Text for people: foreign text made safe and short; task ids and durations in words."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "close_matches",
    "closest",
    "count",
    "cut_middle",
    "duration",
    "error_line",
    "file_stem",
    "first_line",
    "looks_secret",
    "mask_secrets",
    "printable",
    "printable_lines",
    "safe_message",
    "safe_repr",
    "safe_str",
    "shorten",
    "shorten_middle",
    "size_text",
    "task_id_text",
    "truncate",
]

MASK = "***"
"""The text in the place of a secret."""

_SECRET = (
    r"(?:pass(?:word|wd|phrase|code)|(?<![a-z])pass(?![a-z])|pwd|token|secret|credential|bearer"
    r"|api[_-]?key|private[_-]?key|(?<![a-z])key(?![a-z])|(?<![a-z])auth(?!or(?!i)))"
)
_SECRET_NAME = re.compile(_SECRET, re.IGNORECASE)
# The lengths are bounded, so that a long word does not take a time that grows with its square.
_SECRET_WORD = re.compile(
    rf"([\w.-]{{0,60}}{_SECRET}[\w.-]{{0,60}}\s?[=:]).+", re.IGNORECASE | re.DOTALL
)
_SECRET_INSIDE = re.compile(
    rf"""({_SECRET}[\w.-]{{0,60}}["']?\s?[=:]\s?["']?)[^\s"'&,;}}]+""", re.IGNORECASE
)
_SECRET_IN_URL = re.compile(r"://[^/\s@]*@")
_BEARER = re.compile(r"\b(?:bearer|basic)\s+\S+", re.IGNORECASE)
_ISSUED = re.compile(  # by services whose tokens can be told by how they begin
    r"\b(?:gh[pousr]_|github_pat_|glpat-|hf_|sk-|xox[abprs]-|AKIA|eyJ)[\w.-]{16,}"
)

_NOTE_ROOM = 60  # characters that the note of `cut_middle` takes at most


_SIZES = ("bytes", "KB", "MB", "GB", "TB")


def task_id_text(number: int) -> str:
    """Return the id of a task as users see it: ``"task.000012"`` for number 12."""
    return f"task.{number:06d}"


# Texts of objects whose own methods may raise.


def safe_message(error: BaseException) -> str:
    """Return ``str(error)``, or a substitute if that raises."""
    try:
        return "".join(str(error))  # an exact str: a subclass might not travel
    except BaseException as broken:  # foreign code
        return f"(its text cannot be read: {type(broken).__name__})"


def safe_str(error: BaseException) -> str:
    """Return the type and the message of *error*, even if its own methods raise."""
    name = type(error).__name__
    message = safe_message(error)
    return f"{name}: {message}" if message else name


def safe_repr(value: object) -> str:
    """Return ``repr(value)``, or a substitute that names its type if that raises."""
    try:
        return repr(value)
    except BaseException as broken:  # foreign code
        return f"{type(value).__name__} (its text cannot be read: {type(broken).__name__})"


def error_line(error: BaseException, limit: int = 200) -> str:
    """Return the type and the first line of *error*, printable, in at most *limit* characters."""
    name = type(error).__name__
    first = first_line(safe_message(error))
    return shorten(f"{name}: {first}" if first else name, limit)


# Texts made short, or fit for a terminal or a file's name.


def first_line(text: str) -> str:
    """Return the first line of *text* that is not blank, stripped; ``""`` if there is none."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def truncate(text: str, limit: int = 500) -> str:
    """Return *text*, cut to *limit* characters with ``...`` at its end."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


def cut_middle(text: str, limit: int, head: float = 0.5) -> str:
    """Return *text*; of one longer than *limit* the beginning and the end, with a note between.

    Args:
        head: the share of what is kept that comes from the beginning.
    """
    if len(text) <= limit:
        return text
    kept = limit - _NOTE_ROOM
    first = int(kept * head)
    note = f"... {len(text) - kept:,} characters left out ..."
    return "\n".join(filter(None, (text[:first], note, text[len(text) - kept + first :])))


def printable(text: str) -> str:
    """Return *text* with everything that a terminal would obey, or not show, escaped.

    That is control characters, changes of the writing direction and lone surrogates.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def printable_lines(text: str) -> str:
    """Return *text* with each of its lines made printable; tabs stay."""
    if text.isprintable():
        return text
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in lines)


def shorten(text: str, limit: int) -> str:
    """Return *text* made printable, in at most *limit* characters."""
    # Cut before the escapes are written too, so that a huge text costs nothing.
    line = printable(text[: limit + 1])
    return line if len(line) <= limit else line[: limit - 1] + "…"


def shorten_middle(text: str, limit: int) -> str:
    """Return *text* made printable, in at most *limit* characters, with what is cut in the middle.

    The end of a name often tells it from others.
    """
    if len(text) > 2 * limit:
        text = text[:limit] + text[-limit:]
    line = printable(text)
    if len(line) <= limit:
        return line
    last = (limit - 1) // 2
    return line[: limit - 1 - last] + "…" + line[len(line) - last :]


def looks_secret(name: str) -> bool:
    """Tell whether *name*, of an option, a variable or an argument, is that of a secret."""
    return _SECRET_NAME.search(name) is not None


def mask_secrets(words: Iterable[str]) -> list[str]:
    """Return the *words* of a command line with `MASK` for what looks like a secret.

    These are the values of options and variables whose names say so, passwords in URLs, and
    tokens that can be told by how they begin.
    """
    return list(_masked(words))


def _masked(words: Iterable[str]) -> Iterator[str]:
    expected = False  # whether the word before is an option that takes a secret
    for word in words:
        if expected and not word.startswith("-"):
            expected = False
            yield MASK
            continue
        expected = False
        if whole := _SECRET_WORD.fullmatch(word):
            yield whole[1] + MASK
            continue
        expected = word.startswith("-") and _SECRET_NAME.search(word) is not None
        word = _SECRET_IN_URL.sub(f"://{MASK}@", word)
        word = _BEARER.sub(MASK, word)
        word = _SECRET_INSIDE.sub(rf"\1{MASK}", word)
        yield _ISSUED.sub(MASK, word)


def file_stem(name: str) -> str:
    """Return *name* as the beginning of a file's name, safe in a shell's double quotes."""
    return re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)[:80] or "task"


# Words that may be misspelt.


def close_matches(
    word: str, known: Iterable[str], most: int = 3, *, likeness: float = 0.6
) -> list[str]:
    """Return up to *most* of the known words that resemble *word*, the nearest first.

    Args:
        likeness: how much of a word must be the same, from 0 to 1.
    """
    import difflib  # here, because only errors need it

    return difflib.get_close_matches(word, list(known), n=most, cutoff=likeness)


_SYNONYMS = {
    "cpu": ("cores", "max_workers", "n_workers", "cores_per_node"),
    "thread": ("max_workers", "threads_per_worker", "cores"),
    "worker": ("max_workers", "n_workers", "cores"),
    "gpu": ("gpus",),
    "mem": ("memory", "memory_limit"),
    "ram": ("memory", "memory_limit"),
    "process": ("ranks", "max_workers", "n_workers"),
    "time": ("walltime", "runtime", "timeout"),
}
"""Words that other programs use, and what that is called here, the likeliest first."""


def closest(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known word nearest to *word*, or ``""``.

    A word that other programs use for the same thing, such as ``cpus`` for ``cores``, is near.
    """
    words = list(known)
    found = _synonyms(word, words) or close_matches(word, words, 1)
    return f"; did you mean {found[0]!r}?" if found else ""


def _synonyms(word: str, known: Sequence[str]) -> list[str]:
    """Return those of the known words that are another name of *word*."""
    plain = word.lower().replace("-", "_")
    before, after = "(?:n|num|number|max)?_?(?:of_)?", "(?:e?s)?(?:_?(?:count|limit))?"
    for other, ours in _SYNONYMS.items():
        if re.fullmatch(f"{before}{other}{after}", plain):
            return [one for one in ours if one in known]
    return []


# Quantities.


def count(number: int, one: str, many: str = "") -> str:
    """Return *number* with its noun: ``1 task``, ``2,000 tasks``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def size_text(size: float) -> str:
    """Return a number of bytes in words, such as ``"1.5 GB"``."""
    if size < 1000:
        return f"{size:.0f} bytes"
    power = min(int(math.log10(size)) // 3, 4)
    size /= 1000**power
    return f"{size:.0f} {_SIZES[power]}" if size >= 100 else f"{size:.3g} {_SIZES[power]}"


def duration(seconds: float) -> str:
    """Return *seconds* as ``4.2 s``, ``3:07`` (minutes) or ``1:02:33`` (hours)."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
