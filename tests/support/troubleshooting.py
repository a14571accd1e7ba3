"""The entries of the page on troubleshooting, held against errors."""

from __future__ import annotations

import re
from pathlib import Path

from document_blocks import read_blocks

__all__ = ["ENTRIES", "PAGE", "check_shown", "shown_in"]

PAGE = Path(__file__).parents[2] / "docs/troubleshooting.md"
_ENTRY = re.compile(r"^### (\w+)\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)

ENTRIES: dict[str, str] = dict(_ENTRY.findall(PAGE.read_text(encoding="utf-8")))
"""The text of each entry by the name of its class."""


def shown_in(entry: str) -> list[str]:
    """Return the error texts that *entry* shows."""
    return [block.text for block in read_blocks(entry) if block.language == "text"]


def check_shown(error: BaseException) -> None:
    """Check that the entry of its class shows the text of *error*; ``…`` stands for anything."""
    (shown,) = shown_in(ENTRIES[type(error).__name__])
    pattern = ".*".join(map(re.escape, shown.rstrip("\n").split("…")))
    assert re.fullmatch(pattern, str(error).strip("\n"), re.DOTALL), str(error)
