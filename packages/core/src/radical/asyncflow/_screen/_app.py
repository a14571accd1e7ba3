"""The program ``asyncflow watch``: its screen, its keys, and the clock by which it reads."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, Static

from .._live import Follower
from .._live._run import STATES
from .._text import duration, printable, shorten
from ..errors import AsyncFlowError
from ..journal._waits import RunWaits, read_waits
from ._details import TaskLines
from ._list import RowList, widths_of
from ._tables import (
    FailureTable,
    FunctionTable,
    RunningTable,
    Table,
    TaskFilter,
    TaskTable,
    WaitTable,
    bar,
    short,
)

__all__ = ["WatchApp"]

READ_S = 0.1
"""Seconds for which the journal is read at once; keys are answered in between."""
PAUSE_S = 0.25
"""Seconds between two looks at a journal that was read to its end."""
CATCH_UP_S = 0.002
DRAW_S = 0.5
"""The least seconds between two drawings of what has changed."""

VIEWS = ("functions", "running", "failures", "waiting", "tasks")

HELP = """
 [b]1[/] functions   [b]2 r[/] running   [b]3 f[/] failures   [b]4 w[/] waiting   [b]5 t[/] tasks

 [b]arrows, pages, home, end[/]  move; left and right read on in long lines
 [b]j k g G[/]                   the same, as in vi
 [b]enter[/]    open: the tasks of a function or of a reason; all about a task
 [b]escape[/]   go back
 [b]/[/]        find: a name, a state (failed, running, ...), the number of a task
 [b]F[/]        follow: stay at the end, as tail -f does; a move ends it
 [b]q[/]        quit; the run goes on

 The bar and [b]ended[/] count tasks that ended, [b]=N[/] those that were reused, [b]/s[/]
 is the rate of the last half minute, and [b]left[/] the time at that rate.

 Any key closes this.
"""


class View(NamedTuple):
    """A table on the screen: its name, its rows, and what opens when a row is chosen."""

    name: str
    table: Table
    open: Callable[[int], View | None] | None = None
    cursor: int = 0
    follows: bool = False


class HelpScreen(ModalScreen[None]):
    """The keys, until one is pressed."""

    DEFAULT_CSS = """
    HelpScreen { align: center middle; }
    HelpScreen > Static { width: 90%; max-width: 96; height: auto; border: round; }
    """

    def compose(self) -> ComposeResult:
        """Make the only widget."""
        yield Static(HELP.strip("\n"))

    def on_key(self) -> None:
        """Close."""
        self.dismiss()


class WatchApp(App[None]):
    """The view of the run that *follower* follows.

    Attributes:
        error: why it ended by itself, if it did.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Static { text-wrap: nowrap; text-overflow: ellipsis; }
    #head { height: 2; padding: 0 1; }
    #tabs { height: 1; padding: 0 1; }
    #columns { height: 1; text-style: underline; }
    #find { height: 1; border: none; padding: 0 1; display: none; }
    """
    BINDINGS: ClassVar[list[Any]] = [
        Binding("q,ctrl+c", "quit", "quit"),
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("slash", "find", "find", key_display="/"),
        Binding("enter", "nothing", "open", show=True),
        Binding("escape", "back", "back"),
        Binding("1", "view('functions')", show=False),
        Binding("2,r", "view('running')", show=False),
        Binding("3,f", "view('failures')", "failures", key_display="f"),
        Binding("4,w", "view('waiting')", "waiting", key_display="w"),
        Binding("5,t", "view('tasks')", "tasks", key_display="t"),
        Binding("F", "follow", "follow"),
        Binding("tab", "next(1)", show=False, priority=True),
        Binding("shift+tab", "next(-1)", show=False, priority=True),
    ]

    def __init__(self, follower: Follower) -> None:
        super().__init__(ansi_color=True)
        self.error: AsyncFlowError | None = None
        self._follower = follower
        self._stack: list[View] = []
        self._top = Static(id="head", markup=False)
        self._names = Static(id="tabs", markup=False)
        self._titles = Static(id="columns", markup=False)
        self._rows = RowList(FunctionTable(follower))
        hint = "a name, a state, or the number of a task"
        self._find = Input(id="find", placeholder=hint, compact=True)
        self._waits = WaitTable(follower)
        self._told: RunWaits | None = None
        self._most_behind = 0
        self._drawn = self._asked = 0.0
        self._stale = True

    def compose(self) -> ComposeResult:
        """Make the widgets."""
        yield from (self._top, self._names, self._titles, self._rows, self._find, Footer())

    def on_mount(self) -> None:
        """Show the functions, and begin to read."""
        self.theme = "ansi-dark"
        self._rows.focus()
        self._stack = [self._view("functions")]
        self._read()

    @property
    def _is_catching_up(self) -> bool:
        return self._follower.behind > 1 << 20

    # ----------------------------------------------------------------- reading

    def _read(self) -> None:
        """Read on for a moment, draw what is due, and come back."""
        if not self._rows.is_attached:
            return  # it has ended
        follower = self._follower
        try:
            changed = follower.poll(READ_S)
        except AsyncFlowError as error:
            self.error = error
            self.exit()
            return
        behind = follower.behind
        self._most_behind = max(self._most_behind, behind)
        self._stale |= changed
        now = time.monotonic()
        if now - self._asked >= 1.0 and follower.run is not None:
            self._asked = now
            self._told = read_waits(follower.path, follower.run.uid)
        due = DRAW_S if self._stale else 1.0
        if now - self._drawn >= due or not self._drawn:
            self._draw()
        self.set_timer(CATCH_UP_S if behind else PAUSE_S, self._read)

    def _draw(self) -> None:
        self._drawn, self._stale = time.monotonic(), False
        table = self._rows.table
        if isinstance(table, WaitTable | TaskLines):
            table.told = self._told
        self._rows.update_rows()
        self._draw_head()

    def _draw_head(self) -> None:
        width = max(self.size.width - 2, 20)
        self._top.update(self._head(width))
        self._names.update(self._tabs(width))
        titles = Text(" ")
        columns = self._rows.table.columns
        for column, room in zip(columns, widths_of(columns, self._rows.size.width), strict=True):
            if room:
                title = column.title[:room]
                titles.append(title.rjust(room) if column.right else title.ljust(room))
                titles.append(" ")
        self._titles.update(titles)

    def _head(self, width: int) -> Text:
        """Return who runs since when, and how far all tasks are."""
        follower, run = self._follower, self._follower.run
        if run is None:
            return Text(f"{follower.path}\nno run has begun in this journal yet", no_wrap=True)
        state = follower.state
        lasted = duration(follower.now)
        words = {"running": f"runs for {lasted}", "killed": f"was killed after {lasted}"}
        told = words.get(state, f"{state} after {lasted}" if run.outcome else f"{state}: {lasted}")
        head = Text(no_wrap=True, overflow="ellipsis")
        head.append(printable(run.uid), "bold")
        if self._is_catching_up:  # the end may be in what was not read yet
            share = 1 - follower.behind / self._most_behind
            told, state = f"{int(100 * share)}% of it is read", "running"
        head.append(f"  {told}", "" if state in ("running", "done") else "bold red")
        if state in ("killed", "unknown") and follower.life_reason:
            head.append(f" ({printable(follower.life_reason)})", "dim")
        program = printable(" ".join(run.program))
        head.append(f"  {shorten(program, 60)}", "dim")
        head.append("\n")
        head.append(self._progress(width))
        return head

    def _progress(self, width: int) -> Text:
        follower, run = self._follower, self._follower.run
        assert run is not None
        states = dict(zip(STATES, run.states, strict=True))
        ended = states["DONE"] + states["FAILED"] + states["CANCELLED"]
        tasks = run.tasks
        line = Text(no_wrap=True, overflow="ellipsis")
        share = ended / tasks if tasks else 0.0
        line.append(bar(share, min(20, width // 6)), "red" if states["FAILED"] else "green")
        line.append(f" {int(100 * share)}% {ended:,}/{tasks:,}")
        for state, word, style in (
            ("RUNNING", "run", "cyan"),
            ("SUBMITTED", "queued", "yellow"),
            ("PENDING", "wait", ""),
            ("FAILED", "failed", "bold red"),
        ):
            if states[state]:
                line.append(f"  {states[state]:,} {word}", style)
        if follower.life == "running":
            if rate := run.rate.at(follower.now):
                line.append(f"  {short(rate)}/s")
            if (eta := run.eta(follower.now)) is not None:
                line.append(f"  {duration(eta)} left")
        if follower.damaged:
            line.append(f"  {follower.damaged:,} damaged lines", "red")
        return line

    def _tabs(self, width: int) -> Text:
        tabs = Text(no_wrap=True, overflow="ellipsis")
        base = self._stack[0].name
        for number, name in enumerate(VIEWS, 1):
            tabs.append(f"{number} {name}", "reverse" if name == base else "dim")
            tabs.append("  ")
        inner = " > ".join(view.name for view in self._stack[1:])
        follows = "  following" if self._rows.follows else ""
        tabs.append(printable(f"{f'> {inner}' if inner else ''}{follows}")[:width])
        return tabs

    # ------------------------------------------------------------------- views

    def _view(self, name: str) -> View:
        follower = self._follower
        if name == "running":
            running = RunningTable(follower)
            return View(name, running, lambda at: self._task_view(running.number(at)))
        if name == "failures":
            failures = FailureTable(follower)
            return View(name, failures, lambda at: self._task_view(failures.number(at)))
        if name == "waiting":
            return View(name, self._waits, lambda at: self._tasks_view(self._waits.chosen(at)))
        if name == "tasks":
            return self._tasks_view(TaskFilter())
        return View(
            name, FunctionTable(follower), lambda at: self._tasks_view(TaskFilter(function=at))
        )

    def _tasks_view(self, chosen: TaskFilter, name: str = "tasks", cursor: int = 0) -> View:
        table = TaskTable(self._follower, chosen)
        run = self._follower.run
        if chosen.function >= 0 and run is not None:
            name = run.functions[chosen.function].name
        return View(name, table, lambda at: self._task_view(table.number(at)), cursor)

    def _task_view(self, number: int) -> View:
        return View(f"task {number}", TaskLines(self._follower, number))

    def _keep_place(self) -> None:
        self._stack[-1] = self._stack[-1]._replace(
            cursor=self._rows.cursor, follows=self._rows.follows
        )

    def _show(self) -> None:
        view = self._stack[-1]
        if isinstance(view.table, WaitTable | TaskLines):
            view.table.told = self._told
        self._rows.show(view.table, view.cursor, follows=view.follows)
        self._draw_head()

    def _push(self, view: View) -> None:
        self._keep_place()
        self._stack.append(view)
        self._show()

    # ----------------------------------------------------------------- actions

    def on_row_list_chosen(self, message: RowList.Chosen) -> None:
        """Open what was chosen."""
        opens = self._stack[-1].open
        view = None if opens is None else opens(message.at)
        if view is not None:
            self._push(view)

    def action_nothing(self) -> None:
        """Do nothing: the list answers the key, which the footer only names."""

    def action_view(self, name: str) -> None:
        """Go to one of the views."""
        self._stack = [self._view(name)]
        self._show()

    def action_next(self, steps: int) -> None:
        """Go to the next view."""
        at = VIEWS.index(self._stack[0].name) + steps
        self.action_view(VIEWS[at % len(VIEWS)])

    def action_back(self) -> None:
        """Close what was opened last."""
        if self._find.display:
            self._find.display = False
            self._rows.focus()
        elif len(self._stack) > 1:
            self._stack.pop()
            self._show()

    def action_follow(self) -> None:
        """Stay at the end, or stop that."""
        self._rows.follows = not self._rows.follows
        self._rows.update_rows()
        self._draw_head()

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(HelpScreen())

    def action_find(self) -> None:
        """Ask what to look for."""
        self._find.display = True
        self._find.value = ""
        self._find.focus()

    def on_input_submitted(self, message: Input.Submitted) -> None:
        """Show the tasks that were asked for."""
        self.action_back()
        text = message.value.strip()
        digits = text.removeprefix("task.")
        run = self._follower.run
        if digits.isdecimal() and run is not None:
            number = int(digits)
            if run.state_of(number):
                self.action_view("tasks")
                self._rows.show(self._rows.table, number - 1)
                self._push(self._task_view(number))
            else:
                self.notify(f"task {text} was not heard of", severity="warning")
        elif text:
            words = text.split()
            states = frozenset(word.upper() for word in words if word.upper() in STATES)
            name = " ".join(word for word in words if word.upper() not in STATES)
            self._push(self._tasks_view(TaskFilter(states=states, text=name), f"/{text}"))
