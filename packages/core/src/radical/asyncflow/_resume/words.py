"""Find what a command names: files, patterns of files, and programs on PATH.

The words of an argument list count, and those of a shell line, also where they are part of
a word, as in ``--config=run.toml``.  What a program reads beyond that cannot be seen here.
"""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from ..model import Command
from .outside import resolved_program

__all__ = ["named_by"]

_DEPTH = 3
"""How deep words are looked for in words, as in ``sh -c 'cat file'``."""

_OPERATOR = re.compile(r"[();<>|&]+")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
_PROGRAM = re.compile(r"[A-Za-z_][\w.+-]*", re.ASCII)
_PATH = re.compile(r"[^\s=:]*/[^\s=:]*|[\w.-]+\.[A-Za-z]\w{0,7}")
"""A word that reads like a path.  It counts also as long as there is no such file."""
_ASSIGNMENT = re.compile(r"(\w+)=(.*)", re.DOTALL)
_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")
_LITERAL = re.compile(r"\w.*\w", re.DOTALL)
_MAX_BRACES = 1000
_AROUND = "`$\"'{}()[],;:"
_DEVICES = ("/dev/",)


class _Words:
    """The search through one command."""

    def __init__(self, command: Command, skip: str | None) -> None:
        self._skip = skip
        self._env: dict[str, str | None] = dict(command.env or {})
        self._here = command.cwd or ""
        self._bases = list(dict.fromkeys((self._here, "")))
        self.found: dict[tuple[str, str], None] = {}

    def line(self, line: str, depth: int = 0) -> None:
        """Note what the shell line *line* names."""
        words = iter(_split(line))
        for word in words:
            if _OPERATOR.fullmatch(word):
                if ">" in word and (target := next(words, "")) and target not in "&-":
                    self._target(self._expanded(target), "begin" if ">>" in word else "output")
                continue
            if word == "cd" and (folder := next(words, "")):
                self._here = os.path.join(self._here, self._expanded(folder))  # noqa: PTH118
                self._bases.append(self._here)
                continue
            for each in _braces_expanded(self._expanded(word)):
                self.word(each, depth, shell=True)

    def environment(self) -> None:
        """Note the files that the values of the command's own variables name."""
        for value in self._env.values():
            for piece in _pieces(value or ""):
                for base in self._bases:
                    path = os.path.join(base, piece)  # noqa: PTH118
                    self._note("file", path, os.path.isfile(path))  # noqa: PTH113

    def word(self, word: str, depth: int = 0, *, shell: bool = False) -> None:
        """Note what *word* names."""
        if depth < _DEPTH and (" " in word or "\n" in word or "$(" in word or "`" in word):
            self.line(word, depth + 1)
        if _PROGRAM.fullmatch(word) and (program := self._program(word)) is not None:
            self.found["program", program] = None
        assignment = _ASSIGNMENT.fullmatch(word)
        inherited: frozenset[str] = frozenset()
        if assignment is not None:
            name, value = assignment.groups()
            inherited = frozenset(os.environ.get(name, "").split(":"))
            if name == "PATH":
                self._env[name] = value  # its folders say where programs are
                return
        there = False
        for piece in dict.fromkeys(_pieces(word)):
            if piece in inherited:
                continue
            for base in self._bases:
                path = os.path.join(base, piece)  # noqa: PTH118
                if shell and any(sign in piece for sign in "*?[") and _LITERAL.search(piece):
                    there |= self._note("glob", path, bool(glob.glob(path)))  # noqa: PTH207
                there |= self._note("file", path, os.path.exists(path))  # noqa: PTH110
        if not there and _PATH.fullmatch(word) and not word.startswith("-"):
            self._note("file", os.path.join(self._here, word), True)  # noqa: PTH118

    def _note(self, kind: str, path: str, there: bool) -> bool:
        if there and not path.startswith(_DEVICES) and not self._skipped(path):
            self.found[kind, path] = None
        return there

    def _target(self, word: str, kind: str) -> None:
        """Note the file *word*, to which the output of a command is redirected."""
        path = os.path.join(self._here, word)  # noqa: PTH118
        if not path.startswith(_DEVICES) and not self._skipped(path) and not word.isdigit():
            self.found[kind, path] = None

    def _skipped(self, path: str) -> bool:
        return self._skip is not None and os.path.abspath(path).startswith(self._skip)  # noqa: PTH100

    def _program(self, name: str) -> str | None:
        path = self._env.get("PATH")
        found = resolved_program(name, path)
        return found if path is not None else name if found is not None else None

    def _expanded(self, word: str) -> str:
        """Return *word* with the values of variables in place of their names.

        A variable of which only the shell knows the value becomes a ``*``.
        """
        if word.startswith("~"):
            word = os.path.expanduser(word)  # noqa: PTH111

        def value(found: re.Match[str]) -> str:
            name = found[1] or found[2]
            known = self._env[name] if name in self._env else os.environ.get(name)
            if known is None:
                return found[0] if name.isdigit() else "*"
            return known

        return _VARIABLE.sub(value, word)


def _braces_expanded(word: str) -> list[str]:
    """Return the words that a shell makes of *word*, such as ``a{1,2}``; *word* is one of them."""
    words = [word]
    for each in words:
        found = _BRACES.search(each)
        if found is not None and len(words) < _MAX_BRACES:
            start, end = each[: found.start()], each[found.end() :]
            words += [f"{start}{part}{end}" for part in found[1].split(",")]
    return words


def _split(line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError:  # a quote that is not closed, as in a here-document
        return [word for word in re.split(r"[\s'\"]+|([();<>|&]+)", line) if word]


def _pieces(word: str) -> Iterator[str]:
    """Yield the parts of *word* that may be paths."""
    if not word or len(word) > 4096 or "\0" in word or "://" in word:
        return
    yield word
    bare = word.strip(_AROUND)
    for part in (bare, bare.partition("=")[2], bare.lstrip("@"), bare.rpartition("@")[2]):
        if part:
            yield part
            if "," in part or ":" in part:
                yield from filter(None, re.split("[,:]", part))
    if len(word) > 2 and word[0] == "-" and word[1] != "-":
        yield word[2:]


def named_by(command: Command, folder: Path | None) -> list[tuple[str, str]]:
    """Return what *command* names, as kinds and names of facts.

    Args:
        folder: the folder of the task's declared files, which count in another way.
    """
    words = _Words(command, None if folder is None else str(folder.absolute()) + os.sep)
    if isinstance(command.args, str):
        words.line(command.args)
    else:
        for word in command.args:
            words.word(word)
    words.environment()
    return [
        (kind, name)
        for kind, name in words.found
        if kind != "file" or ("output", name) not in words.found
    ]
