"""The output of a task: the files that its ranks wrote, and their text."""

from __future__ import annotations

import codecs
import shutil
from contextlib import suppress
from pathlib import Path

from radical.asyncflow.worker import Output

__all__ = ["join_ranks", "rank_files", "read_text"]

_LONGEST_TEXT_BYTES = 16 * 2**20


def join_ranks(path: Path, ranks: int) -> None:
    """Make one file of what the ranks wrote to the stream *path*, in their order."""
    if ranks == 1:
        path.touch()
        return
    with path.open("ab") as whole:
        for part in rank_files(path, ranks):
            with suppress(FileNotFoundError), part.open("rb") as file:
                shutil.copyfileobj(file, whole)


def rank_files(path: Path, ranks: int) -> list[Path]:
    """Return the files to which the ranks write the stream *path*."""
    if ranks == 1:
        return [path]
    return [path.with_name(f"{path.name}.{rank}") for rank in range(ranks)]


def read_text(path: Path, keep: Path) -> str:
    """Return the text of a stream's file; bytes that are no UTF-8 are replaced.

    A file of more than 16 MB is moved into the folder *keep*, and only its beginning read.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return ""
    if size <= _LONGEST_TEXT_BYTES:
        return path.read_bytes().decode("utf-8", "replace")
    kept = keep / path.name
    shutil.move(path, kept)
    with kept.open("rb") as file:
        # The incremental decoder leaves out a character that the limit cuts in two.
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        beginning = decoder.decode(file.read(_LONGEST_TEXT_BYTES))
    return Output(beginning, kept, size, truncated=True)
