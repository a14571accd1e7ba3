"""A command as the shell script that RADICAL-Pilot executes for each rank.

RADICAL-Pilot writes a task's ``executable`` into its own script as it is, but arguments
and environment between double quotes, where the shell still expands ``$`` and the like.
So the whole command goes into ``executable``, quoted here.  Before it, the task sources the
script with the environment of the program, as the first of its ``pre_exec``.

A script first makes its *start mark*, a file.  If the program has made it before, to
withdraw the task, the script ends at once.  So a task that was cancelled, or whose pilot
was lost, begins at most once, whatever RADICAL-Pilot does with it.

Where a launcher of the batch system starts the ranks, each also makes its *end mark* when its
command has succeeded: ``srun`` ends with code 0 when the node of its ranks fails.

If the program wants to know it, the shell of each rank also notes before and after the command
what the processes used for which it waited, and the time.
"""

from __future__ import annotations

import shlex
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from radical.asyncflow.backend import Command

from .._host.environment import NOTE_USE, RUN_COMMAND, is_shell_variable
from .output import rank_files

__all__ = [
    "bad_folder_mark",
    "end_marks",
    "has_begun",
    "has_succeeded",
    "shell_script",
    "signed_exit_code",
    "use_files",
    "withdraw",
]

_WITHDRAWN = "withdrawn"
_NOT_ENDED = "not-ended"
_SIGNALS = frozenset(int(number) for number in signal.Signals)


def shell_script(
    command: Command,
    *,
    ranks: int,
    stdin: Path | None,
    stdout: Path,
    stderr: Path,
    mark: Path,
    tells_end: bool,
    measures: bool = False,
    before: Sequence[str] = (),
) -> str:
    """Return the script that runs *command*, unless its start mark is there.

    Args:
        stdout, stderr: what to write to.  Each of several ranks writes to files of its
            own: ``stdout.0``, ``stdout.1``.
        mark: the start mark.
        tells_end: each rank makes its end mark, too.
        measures: each rank notes what it uses, in the files of `use_files`.
        before: a command that the first rank runs before, and that gets the id of the shell;
            if it fails, so does the task.
    """
    lines = [_make_mark(mark, ranks), *_enter_folder(command, mark)]
    if before:
        words = " ".join(map(shlex.quote, before))
        lines.append(f'test "${{RP_RANK:-0}}" != 0 || ( {RUN_COMMAND} {words} $$ ) || exit 1')
    body = "\n".join([*lines, *_run(command)])
    source = _quote(stdin) if stdin is not None else "/dev/null"
    rank = "" if ranks == 1 else '."$RP_RANK"'
    script = f"(\n{body}\n) < {source} >> {_quote(stdout)}{rank} 2>> {_quote(stderr)}{rank}"
    if measures:
        notes = f"{_quote(_use_file(mark))}{rank}"
        script = f"{{ {NOTE_USE}; {script}; code=$?; {NOTE_USE}; (exit $code); }} > {notes}"
    if tells_end:
        script += f" && printf '' > {_quote(_end_mark(mark))}{rank}"
    return script


def _make_mark(mark: Path, ranks: int) -> str:
    """Return the line that makes the start mark, or ends the script if the program made it."""
    file = _quote(mark)
    if ranks == 1:  # costs no further process
        return f"set -C; printf '' 2> /dev/null > {file} || exit 143"
    return f'ln -s run {file} 2> /dev/null || test "$(readlink {file})" = run || exit 143'


def _enter_folder(command: Command, mark: Path) -> Iterator[str]:
    if command.cwd is not None:
        failed = _quote(bad_folder_mark(mark))
        yield f"cd {_quote(command.cwd)} || {{ : > {failed}; exit 1; }}"


def _run(command: Command) -> Iterator[str]:
    """Return the lines that set the environment and run the command."""
    env = command.env or {}
    unset = [key for key, value in env.items() if value is None]
    yield from (f"unset {key}" for key in unset if is_shell_variable(key))
    # `env` sets and unsets names that a shell cannot.
    changes = [word for key in unset if not is_shell_variable(key) for word in ("-u", key)]
    changes += [f"{key}={value}" for key, value in env.items() if value is not None]
    words = [RUN_COMMAND, *(["env", *map(shlex.quote, changes)] if changes else [])]
    if isinstance(command.args, str):
        # The shell would take a line that begins with a sign for an option.
        line = f" {command.args}" if command.args[0] in "-+" else command.args
        words += ["/bin/sh", "-c", shlex.quote(line)]
    else:
        words += map(shlex.quote, command.args)
    yield " ".join(words)


def bad_folder_mark(mark: Path) -> Path:
    """Return the file that a task makes if it cannot enter its working folder."""
    return mark.with_name(f"{mark.name}.cwd")


def _use_file(mark: Path) -> Path:
    return mark.with_name(f"{mark.name}.use")


def use_files(mark: Path, ranks: int) -> list[Path]:
    """Return the files with what the ranks of a task used, whether they are there or not."""
    return rank_files(_use_file(mark), ranks)


def _end_mark(mark: Path) -> Path:
    return mark.with_name(f"{mark.name}.end")


def end_marks(mark: Path, ranks: int) -> list[Path]:
    """Return the end marks of the ranks of a task, whether they are there or not."""
    return rank_files(_end_mark(mark), ranks)


def has_succeeded(mark: Path, ranks: int) -> bool:
    """Return whether every rank of a task has made its end mark."""
    return not any(_is_missing(file) for file in end_marks(mark, ranks))


def _is_missing(file: Path) -> bool:
    """Return whether nothing has made *file*, as the server of the file system knows it.

    A look could be answered from what this machine remembers; the making of a link is not.
    """
    try:
        file.symlink_to(_NOT_ENDED)
    except FileExistsError:
        return False
    file.unlink()
    return True


def withdraw(mark: Path) -> bool:
    """Keep a task from ever beginning; return False if it has begun."""
    try:
        # A link to nowhere: a shell with `set -C` does not write through it either.
        mark.symlink_to(_WITHDRAWN)
    except FileExistsError:
        return False
    return True


def has_begun(mark: Path) -> bool:
    """Return whether a task has begun; if it has not, withdraw it."""
    return not withdraw(mark) and not (mark.is_symlink() and mark.readlink() == Path(_WITHDRAWN))


def signed_exit_code(code: int | None) -> int:
    """Return an exit code, with -N for a shell's 128+N if N is a signal; -1 for none."""
    if code is None:
        return -1
    return 128 - code if code - 128 in _SIGNALS else code


def _quote(path: Path | str) -> str:
    return shlex.quote(str(path))
