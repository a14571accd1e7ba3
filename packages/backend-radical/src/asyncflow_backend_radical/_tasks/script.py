"""A command as the piece of shell script that RADICAL-Pilot executes for each rank.

RADICAL-Pilot writes a task's ``executable`` into its script as it is, but puts arguments
and environment between double quotes, where the shell still expands ``$`` and the like.
So all of a command goes into ``executable``, quoted here.

A script begins with its claim: a file that either the task makes, and then it has begun,
or the program, and then it never will.  Whatever RADICAL-Pilot does with a task that was
cancelled or whose pilot was lost, it runs once.
"""

from __future__ import annotations

import shlex
import signal
from pathlib import Path

from radical.asyncflow.backend import Command

__all__ = ["begun", "claim", "exit_code", "no_folder", "script"]

_WITHDRAWN = "withdrawn"
_SIGNALS = frozenset(int(number) for number in signal.Signals)


def script(
    command: Command, *, ranks: int, stdin: Path | None, stdout: Path, stderr: Path, claimed: Path
) -> str:
    """The script for *command*; it ends at once if the program made *claimed* first.

    Of several ranks, each writes to files of its own: ``stdout.0``, ``stdout.1``.
    """
    file = _quote(claimed)
    if ranks == 1:  # without a process more
        steps = [f"set -C; printf '' 2> /dev/null > {file} || exit 143"]
    else:
        steps = [f'ln -s run {file} 2> /dev/null || test "$(readlink {file})" = run || exit 143']
    if command.cwd is not None:
        mark = _quote(no_folder(claimed))
        steps.append(f"cd {_quote(command.cwd)} || {{ : > {mark}; exit 1; }}")
    for key, value in (command.env or {}).items():
        # By env, because a name need not be one that a shell could export.
        steps.append(f"unset {key}" if value is None and key.isidentifier() else "")
    words = ["exec"]
    env = [f"{key}={value}" for key, value in (command.env or {}).items() if value is not None]
    odd = [key for key, value in (command.env or {}).items() if value is None]
    odd = [key for key in odd if not key.isidentifier()]
    if env or odd:
        words += ["env", *(part for key in odd for part in ("-u", shlex.quote(key)))]
        words += map(shlex.quote, env)
    if isinstance(command.args, str):
        # A line that begins with "-" would be an option of the shell.
        line = f" {command.args}" if command.args[0] in "-+" else command.args
        words += ["/bin/sh", "-c", shlex.quote(line)]
    else:
        words += map(shlex.quote, command.args)
    steps.append(" ".join(words))
    body = "\n".join(step for step in steps if step)
    source = _quote(stdin) if stdin is not None else "/dev/null"
    rank = "" if ranks == 1 else '."$RP_RANK"'
    return f"(\n{body}\n) < {source} >> {_quote(stdout)}{rank} 2>> {_quote(stderr)}{rank}"


def no_folder(claimed: Path) -> Path:
    """The file that is there if a task could not begin in its working folder."""
    return claimed.with_name(f"{claimed.name}.cwd")


def claim(claimed: Path) -> bool:
    """Keep a task from ever beginning; False if it has begun."""
    try:
        # Not even a shell that may overwrite nothing can write through it.
        claimed.symlink_to(_WITHDRAWN)
    except FileExistsError:
        return False
    return True


def begun(claimed: Path) -> bool:
    """Whether a task has begun; if not, it never will."""
    return not claim(claimed) and not (
        claimed.is_symlink() and claimed.readlink() == Path(_WITHDRAWN)
    )


def exit_code(code: int | None) -> int:
    """What a shell calls 128+N is -N, if N is a signal."""
    if code is None:
        return -1
    return 128 - code if code - 128 in _SIGNALS else code


def _quote(path: Path | str) -> str:
    return shlex.quote(str(path))
