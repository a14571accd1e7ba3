"""The display of one engine's progress, as a program asks for it."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ..errors import ConfigurationError
from .board import Board
from .cell import Cell
from .choice import choose
from .lines import Lines
from .watched import Watched

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Progress"]


class Progress:
    """The display of one engine, for ``with`` and ``async with``.

    On a terminal it is a table; displays that are shown at the same time share one, also with
    ``asyncflow run``.  In a notebook it stands in the output of its cell.  Elsewhere it writes
    plain lines to stderr.  The environment variable ``ASYNCFLOW_PROGRESS`` chooses: ``auto``,
    ``table``, ``lines`` or ``off``.
    """

    def __init__(
        self, engine: Watched, *, console: Console | None = None, force: bool = False
    ) -> None:
        """Draw on *console*, a `rich.console.Console`, instead of stderr if it is given.

        Args:
            force: draw the table even if stderr is no terminal.

        Raises:
            ConfigurationError: ``ASYNCFLOW_PROGRESS`` has a wrong value.
        """
        self._engine = engine
        self._console = console
        self._kind = choose()
        if console is not None or (force and self._kind == "lines"):
            self._kind = "table"
        # A cell takes output of the thread that runs it: this one.
        self._cell = Cell() if self._kind == "cell" else None
        self._board: Board | None = None
        self._leave: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        if self._leave is not None:
            raise ConfigurationError("this progress display is already shown: make another one")
        if self._kind in ("table", "cell"):
            if self._cell is not None:
                self._board = Board(self._cell.console, self._cell)
            else:
                self._board = Board.shared() if self._console is None else Board(self._console)
            self._board.open()
            self._leave = self._board.watch(self._engine)
        elif self._kind == "lines":
            self._leave = Lines.watch(self._engine)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        board, self._board = self._board, None
        leave, self._leave = self._leave, None
        try:
            if leave is not None:
                leave()
        finally:
            if board is not None:
                board.close()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(exc_type, exc, traceback)
