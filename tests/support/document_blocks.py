"""Runs the Python blocks of a Markdown page as the one program that its reader sees.

The blocks of a page share their names and one event loop, and may use ``await`` outside
of functions, as in ``python -m asyncio``.  A block that calls ``asyncio.run`` is a program
by itself.  A ``text`` block that comes right after a Python block is what that one prints,
and a block with ``title="NAME"`` is a file, written before the next block runs; if it is
a test file, pytest runs it.

The commands behind ``$`` in a ``console run`` block run in a shell, and what follows each of them
is what it prints; there, ``...`` stands for any text.  In ``console fails`` the last one fails.

A comment ``<!-- picture: NAME what it shows -->`` is the place of a picture that the blocks make:
a file, or a name of the program whose value shows itself in notebooks, such as a plan.

``python -m document_blocks PAGE.md`` runs them in the current folder and raises what
they raise, with the page's own line numbers.  ``python -m document_blocks PAGE.md PICTURES.json``
also writes the HTML of the pictures, each with its comment.
"""

from __future__ import annotations

import ast
import asyncio
import base64
import doctest
import html
import io
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from inspect import CO_COROUTINE
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

__all__ = ["Block", "compile_block", "pictures", "read_blocks", "run_blocks", "run_code"]

_FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>`{3,})(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)(?P=fence) *$",
    re.MULTILINE | re.DOTALL,
)
_TITLE = re.compile(r'title="([^"]+)"')
_COMMAND = re.compile(r"^\$ (?P<line>.*)\n(?P<prints>(?:(?!\$ ).*\n)*)", re.MULTILINE)
_PICTURE = re.compile(r"<!-- picture: (?P<name>\S+) (?P<shows>[^\n]+?) -->")
_TYPES = {".png": "image/png", ".svg": "image/svg+xml"}


class Block(NamedTuple):
    """One fenced block.

    Attributes:
        line: the number of its first line in the page, from 1.
        run: ``run`` or ``fails`` if it holds commands to run, or else "".
        text: without the indentation that the fence has.
        after: what stands between the block before it and its fence.
    """

    language: str
    title: str | None
    line: int
    text: str
    after: str
    run: str = ""


def read_blocks(page: str) -> Iterator[Block]:
    """Every fenced block of *page*, of whatever language."""
    end = 0
    for match in _FENCE.finditer(page):
        language, _, more = match["info"].strip().partition(" ")
        title = _TITLE.search(more)
        line = page.count("\n", 0, match.start("body")) + 1
        text = textwrap.dedent(match["body"])
        run = more if language == "console" and more in ("run", "fails") else ""
        yield Block(language, title and title[1], line, text, page[end : match.start()], run)
        end = match.end()


def compile_block(source: str, filename: str, line: int = 1) -> CodeType:
    """*source* compiled so that it may await, and reports its lines from *line* on."""
    code: CodeType = compile(
        "\n" * (line - 1) + source,
        filename,
        "exec",
        flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        dont_inherit=True,
    )
    return code


async def run_code(code: CodeType, names: dict[str, Any]) -> None:
    """Execute *code* in *names*, and await it if it awaits."""
    coroutine = eval(code, names)
    if code.co_flags & CO_COROUTINE:
        await coroutine


async def run_blocks(blocks: Iterable[Block], page: str, names: dict[str, Any]) -> int:
    """Run *blocks* of *page* in the current folder.  Returns how many ran.

    Raises:
        AssertionError: a block printed something else than its ``text`` block says.
    """
    printed: str | None = None
    ran = 0
    for block in blocks:
        if block.language == "text" and printed is not None and not block.after.strip():
            where = f"{page}, line {block.line}"
            assert printed.strip() == block.text.strip(), f"{where}: it printed:\n{printed}"
        printed = None
        if block.title is not None:
            write(block.title, block.text)
            ran += block.language == "python"
        elif block.language == "python":
            printed = await run_block(block, page, names)
            ran += 1
        elif block.run:
            await asyncio.to_thread(run_commands, block, page)
            ran += 1
    return ran


async def run_block(block: Block, filename: str, names: dict[str, Any]) -> str:
    """Run one block.  Returns what it printed."""
    code = compile_block(block.text, filename, block.line)
    if "asyncio.run(" in block.text:
        program = [sys.executable, "-W", "error", "-c", block.text]
        return (await asyncio.to_thread(run_program, program)).stdout
    output = io.StringIO()
    with redirect_stdout(output):
        await run_code(code, names)
    return output.getvalue()


def run_commands(block: Block, page: str) -> None:
    """Run the commands of a ``console`` block, and compare what each of them prints.

    Raises:
        AssertionError: one printed something else, or failed, or should have failed.
    """
    commands = list(_COMMAND.finditer(block.text))
    assert commands, f"{page}, line {block.line}: no line begins with $"
    here = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    env = {**os.environ, "PATH": here, "PYTHONWARNINGS": "error", "COLUMNS": "100"}
    env["PYTHONUNBUFFERED"] = "1"  # so that lines come as on a terminal
    checker, flags = doctest.OutputChecker(), doctest.ELLIPSIS
    for command in commands:
        done = subprocess.run(
            # The shell stays, and says "Killed" where it would say so on a terminal.
            ["/bin/sh", "-c", f"{command['line']}\nexit $?"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=480,
            check=False,
            env=env,
        )
        where = f"{page}, line {block.line}: {command['line']}"
        fails = block.run == "fails" and command is commands[-1]
        assert bool(done.returncode) == fails, f"{where}: {done.returncode}\n{done.stdout}"
        prints = "\n".join(map(str.rstrip, done.stdout.splitlines())) + "\n"
        same = checker.check_output(command["prints"].lstrip("\n") or "\n", prints, flags)
        assert same, f"{where}: it printed:\n{prints}"


def pictures(page: str) -> dict[str, tuple[str, str]]:
    """Return the comments for pictures in *page*, each with its name and what it shows."""
    return {match[0]: (match["name"], match["shows"]) for match in _PICTURE.finditer(page)}


def draw(name: str, shows: str, names: dict[str, Any]) -> str:
    """Return the HTML of one picture: the value of a name of the program, or a file."""
    if name in names:
        drawn: str = names[name]._repr_html_()
        return f'<div role="img" aria-label="{html.escape(shows)}">{drawn}</div>'
    data = base64.b64encode(Path(name).read_bytes()).decode()
    source = f"data:{_TYPES[Path(name).suffix]};base64,{data}"
    return f'<img src="{source}" alt="{html.escape(shows)}">'


def write(title: str, text: str) -> None:
    """Write a file of a page; if it is a test, run it."""
    path = Path(title)
    assert not path.is_absolute(), title
    assert ".." not in path.parts, title
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    if path.name.startswith("test_"):
        run_program([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", title])


def run_program(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run *command*; its output goes into the error if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=480, check=False)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def main(page: Path, drawn: Path | None = None) -> None:
    """Run *page* as a reader would: its folder can be imported from, its names are a program's."""
    sys.path.insert(0, "")
    text = page.read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "__main__"}
    ran = asyncio.run(run_blocks(list(read_blocks(text)), str(page), names))
    made = {mark: draw(*what, names) for mark, what in pictures(text).items()}
    if drawn is not None:
        drawn.write_text(json.dumps(made), encoding="utf-8")
    print(f"{ran} blocks ran")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
