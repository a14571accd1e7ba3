"""The entries of the page on troubleshooting, for a terminal and without a network."""

from __future__ import annotations

import re
import shutil
import textwrap
from pathlib import Path

import click

__all__ = ["class_with_entry", "explained_errors", "find_entry", "more_about", "print_entry"]

PAGE = Path(__file__).with_name("troubleshooting.md")
"""A copy of docs/troubleshooting.md, because a wheel has no pages; a test compares the two."""

WIDTH = 80
"""The most characters in a line; a narrow terminal has fewer."""

_LINK = re.compile(r"\[([^]]+)\]\(([^)#]*)[^)]*\)")
_ROW = re.compile(r"\| (.*?) \| (.*) \|")


def explained_errors() -> list[str]:
    """Return the names of all classes that have an entry."""
    return re.findall(r"^### (\w+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def find_entry(word: str) -> tuple[str, str] | None:
    """Return the name and the entry of the class that *word* names, as a traceback does or not."""
    name = word.rstrip(":").rpartition(".")[2]
    if not name.isidentifier():
        return None
    entry = re.search(
        rf"^### {name}\n(.*?)(?=^##|\Z)",
        PAGE.read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    return None if entry is None else (name, entry[1].strip())


def class_with_entry(error: BaseException) -> str | None:
    """Return the name of the class of *error*, or the nearest of its bases, that has an entry."""
    names = (base.__name__ for base in type(error).__mro__)
    return next((name for name in names if find_entry(name) is not None), None)


def more_about(name: str) -> str:
    """Return the line that names the command which explains the class *name*."""
    return f"More about this error: asyncflow explain {name}"


def print_entry(name: str, entry: str) -> None:
    """Print *entry*, the part of the page on the class *name*."""
    click.secho(name, bold=True)
    for block in re.split(r"\n\n(?!\s)", entry):
        click.echo()
        if block.startswith("```"):
            click.echo(textwrap.indent("\n".join(block.splitlines()[1:-1]), "    "))
        elif block.startswith("|"):
            _print_rows(block)
        else:
            _print_paragraph(block)
    click.echo(f"\nThe whole page: docs/troubleshooting.md#{name.lower()}")


def _print_paragraph(text: str) -> None:
    lines = textwrap.wrap(_plain(text).replace("**", ""), _width())
    head, colon, rest = lines[0].partition(":")
    if text.startswith("**"):
        lines[0] = click.style(head + colon, bold=True) + rest
    click.echo("\n".join(lines))


def _print_rows(table: str) -> None:
    """Print the rows of *table*, without the two lines of its head."""
    rows = [row.groups() for row in map(_ROW.fullmatch, table.splitlines()[2:]) if row]
    room = max(len(_plain(cell)) for cell, _ in rows)
    for cell, meaning in rows:
        begin = f"  {_plain(cell):{room}}  "
        lines = textwrap.wrap(_plain(meaning), _width() - len(begin))
        click.echo(begin + f"\n{' ' * len(begin)}".join(lines))


def _width() -> int:
    return max(40, min(WIDTH, shutil.get_terminal_size().columns))


def _plain(text: str) -> str:
    """Return *text* in one line, with the address of each page that it links to."""

    def named(link: re.Match[str]) -> str:
        return f"{link[1]} (docs/{link[2]})" if link[2] else link[1]

    return _LINK.sub(named, " ".join(text.split()))
