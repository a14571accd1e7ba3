"""A Python program that runs as ``__main__`` of this process, as the interpreter would run it."""

from __future__ import annotations

import io
import os
import sys
import traceback
import types
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path

import click

from ..errors import (
    AsyncFlowError,
    BackendBrokenError,
    BackendIncompatibleError,
    BackendNotFoundError,
    BackendStartError,
    ConfigurationError,
    JournalError,
)
from ._errors import class_with_entry, more_about
from ._output import INTERRUPTED, WRONG

__all__ = ["Script"]

CLEAR_ERRORS = (
    ConfigurationError,
    BackendNotFoundError,
    BackendBrokenError,
    BackendIncompatibleError,
    BackendStartError,
    JournalError,
)
"""Errors whose message is enough, because nobody needs to see where they were raised."""

OWN_FOLDER = Path(__file__).parent


class Script:
    """The program *path* (``-`` is stdin) and its arguments."""

    def __init__(self, path: str, args: Sequence[str]) -> None:
        self._path = path
        self._args = list(args)
        self._stdin = path == "-"
        self._name = "<stdin>" if self._stdin else os.path.abspath(path)  # noqa: PTH100

    def run(self) -> None:
        """Run the program to its end, and let its errors through.

        Afterwards ``__main__`` and ``sys.argv`` of this process are those of the program.
        """
        source = self._source()
        self._become_main()
        code = compile(source, self._name, "exec", dont_inherit=True)
        exec(code, sys.modules["__main__"].__dict__)

    def report(self, error: BaseException, *, debug: bool) -> int:
        """Tell the user which *error* ended the program, and return the exit code."""
        from ..engine._preemption import EXIT_CODE, is_preemption  # here: few programs end so

        if isinstance(error, KeyboardInterrupt):
            if debug:
                self._show(error)
            click.echo("Interrupted.", err=True)
            return INTERRUPTED
        if is_preemption(error):
            if debug:
                self._show(error)
            click.echo(f"Stopped: {_first(error)}", err=True)
            return EXIT_CODE
        if isinstance(error, CLEAR_ERRORS):
            if debug:
                self._show(error)
            else:
                click.echo(f"Error: {error}{self._where(error)}", err=True)
            return WRONG
        self._show(error)
        first = _first(error)
        if isinstance(first, AsyncFlowError) and (name := class_with_entry(first)) is not None:
            click.echo(more_about(name), err=True)
        return 1

    def _source(self) -> bytes:
        if self._stdin:
            return sys.stdin.buffer.read()
        with io.open_code(self._name) as file:
            return file.read()

    def _become_main(self) -> None:
        module = types.ModuleType("__main__")
        module.__dict__["__builtins__"] = __builtins__
        folder = ""
        if not self._stdin:
            module.__file__ = self._name
            module.__loader__ = SourceFileLoader("__main__", self._name)
            folder = str(Path(self._path).resolve().parent)
        sys.modules["__main__"] = module
        sys.argv = [self._path, *self._args]
        if not sys.flags.safe_path:
            sys.path[0] = folder

    def _show(self, error: BaseException) -> None:
        """Show *error* as the interpreter shows one that nobody caught, without our own frames."""
        trace = error.__traceback__
        while trace is not None and Path(trace.tb_frame.f_code.co_filename).parent == OWN_FOLDER:
            trace = trace.tb_next
        sys.excepthook(type(error), error.with_traceback(trace), trace)

    def _where(self, error: BaseException) -> str:
        """Return the line of the script that led to *error*."""
        lines = [
            line
            for frame, line in traceback.walk_tb(error.__traceback__)
            if frame.f_code.co_filename == self._name
        ]
        return f"\n  ({self._path}, line {lines[-1]})" if lines else ""


def _first(error: BaseException) -> BaseException:
    """Return the first error in the group *error*, or *error* itself if it is no group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
