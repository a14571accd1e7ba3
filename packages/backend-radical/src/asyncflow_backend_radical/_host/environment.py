"""The environment of the program on its way to the tasks, past RADICAL-Pilot's shells.

RADICAL-Pilot writes variables into shell scripts, where ``$`` and backticks in a value are
expanded, and reads them back line by line.  So its processes get only the variables that
come through as they are.  A script of our own holds the others, and each task sources it.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = [
    "NOTE_USE",
    "RUN_COMMAND",
    "host_environment",
    "is_plain",
    "is_shell_variable",
    "plain_path",
    "program_path",
    "task_environment",
]

RUN_COMMAND = "asyncflow_exec"
"""The function of the shell, defined by the script, that ends it by running its arguments."""

NOTE_USE = "asyncflow_use"
"""The function of the shell, defined by the script, that prints what its children used so far."""

# The time where the shell knows it; user and system time of the shell and of its children; and
# bytes, where there is a file with them.  Nothing of it starts a process.
_NOTE_USE = (
    'local line; echo "time ${EPOCHREALTIME:--}"; times; if test -r /proc/self/io; then '
    'while read -r line; do echo "$line"; done < /proc/self/io; fi; echo end'
)

_PLAIN = re.compile(r"[\w./:,=+@%^~-]*", re.ASCII)
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_FUNCTION_NAME = re.compile(r"BASH_FUNC_([\w.:+-]+)%%", re.ASCII)
# RADICAL-Pilot sets the first for its own shells, and unsets the others.
_SET_BY_OTHERS = ("LC_NUMERIC", "MAKEFLAGS", "PYTHONNOUSERSITE")
_OVERWRITTEN = frozenset(
    {*_SET_BY_OTHERS, "COLUMNS", "LINES", "LS_COLORS", "PROMPT_COMMAND", "PS1"}
)
# A shell does not let others set them, or does not keep what it is given.
_OF_THE_SHELL = frozenset(
    {"BASHOPTS", "EUID", "GROUPS", "LINENO", "PPID", "RANDOM", "SECONDS", "SHELLOPTS", "UID"}
)
_NOT_RESTORED = frozenset({"_", "OLDPWD", "PATH", "PWD", "SHLVL"})
_DISTURBS = frozenset({"CDPATH"})  # the scripts of RADICAL-Pilot
_BASH_LIMIT_S = 30.0


def is_plain(text: str | Path) -> bool:
    """Return whether RADICAL-Pilot's scripts take *text* as it is, wherever they insert it."""
    return _PLAIN.fullmatch(str(text)) is not None


def is_shell_variable(name: str) -> bool:
    """Return whether a shell can set and unset the variable *name*."""
    return _NAME.fullmatch(name) is not None and name not in _OF_THE_SHELL


def host_environment(token: str, folder: Path) -> dict[str, str]:
    """Return the environment of the process that holds RADICAL-Pilot.

    It is this process's, as if its virtual environment were activated, without what
    `task_environment` gives to the tasks.

    Args:
        token: marks everything that the process starts.
        folder: where RADICAL-Pilot may write what it would write into the user's home.
    """
    env = {name: value for name, value in os.environ.items() if _is_carried(name, value)}
    env |= {"ASYNCFLOW_PROGRAM": token, "PWD": str(folder)}
    env.setdefault("RADICAL_PROFILE", "FALSE")  # saves ten processes for each task
    env.setdefault("RADICAL_BASE", str(folder))
    if not _has_home():
        env["HOME"] = str(_make_home(folder))
    scripts = str(Path(sys.executable).parent)
    env["PATH"] = os.pathsep.join([scripts, plain_path()])
    env.pop("PYTHONHOME", None)
    if sys.prefix != sys.base_prefix:
        env["VIRTUAL_ENV"] = sys.prefix
    elif env.get("CONDA_PREFIX") != sys.prefix:
        env.pop("VIRTUAL_ENV", None)
    return env


def task_environment(*, is_local: bool) -> bytes:
    """Return a script that sets what `host_environment` leaves out.

    What the machine of the task, or the user's ``pre_exec``, has set by then stays.

    Args:
        is_local: the tasks run on this machine, where they have the program's PATH.
    """
    lines: list[str] = []
    for name, value in sorted(os.environ.items()):
        if name in _OVERWRITTEN or (name == "HOME" and not _has_home()):
            lines.append(f"export {name}={shlex.quote(value)}")
        elif name in _NOT_RESTORED or _is_carried(name, value) or not is_shell_variable(name):
            continue
        else:
            lines.append(f'test -n "${{{name}+set}}" || export {name}={shlex.quote(value)}')
    # RADICAL-Pilot adds its own modules to PYTHONPATH; on a node, so may a login script.
    foreign = ("HOME", *_SET_BY_OTHERS, *(["PYTHONPATH"] if is_local else []))
    lines += [f"unset {name}" for name in foreign if name not in os.environ]
    path = program_path()
    if is_local and path != plain_path():
        lines.append(f"export PATH={shlex.quote(path)}")
    lines += _functions()
    # `env` sets what a shell cannot.
    odd = [f"{name}={value}" for name, value in os.environ.items() if not is_shell_variable(name)]
    words = ["exec", *(["env", *map(shlex.quote, sorted(odd))] if odd else [])]
    lines.append(f"{NOTE_USE}() {{ {_NOTE_USE}; }}")
    lines.append(f'{RUN_COMMAND}() {{ {" ".join(words)} "$@"; }}')
    return os.fsencode("\n".join(lines) + "\n")


def program_path() -> str:
    """Return the program's PATH, with the folder of the interpreter at its end."""
    scripts = str(Path(sys.executable).parent)
    return os.pathsep.join([os.environ.get("PATH", os.defpath), scripts])


def plain_path() -> str:
    """Return the folders of `program_path` that RADICAL-Pilot takes as they are."""
    return os.pathsep.join(filter(is_plain, program_path().split(os.pathsep)))


def _is_carried(name: str, value: str) -> bool:
    """Return whether RADICAL-Pilot is given this variable."""
    if name == "TMPDIR" and not os.access(value, os.W_OK | os.X_OK):
        return False  # its agent would not start
    if name in _OVERWRITTEN or name in _DISTURBS:
        return False
    return is_shell_variable(name) and is_plain(value)


def _functions() -> Iterator[str]:
    """Yield lines that define the functions that a shell exported to this program."""
    names = [match[1] for match in map(_FUNCTION_NAME.fullmatch, os.environ) if match]
    for name in sorted(names):
        # Bash imports what is nothing but the definition of a function, and prints it again.
        with suppress(OSError, subprocess.SubprocessError):
            words = ["bash", "--norc", "--noprofile", "-c", 'declare -f -- "$1"', "bash", name]
            printed = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_BASH_LIMIT_S,
                check=False,
            ).stdout
            if printed:
                define = f"{os.fsdecode(printed)}export -f -- {shlex.quote(name)}"
                yield f"declare -F -- {shlex.quote(name)} > /dev/null || {{\n{define}\n}}"


def _has_home() -> bool:
    """Return whether RADICAL-Pilot can use the user's home: PSI/J keeps files there."""
    home = os.environ.get("HOME", "")
    if not home or not is_plain(home) or not Path(home).is_absolute():
        return False
    if not Path(home).is_dir():
        return False
    # The first of these that is there has to take the next one, or the files.
    folders = (Path(home, ".psij", "work"), Path(home, ".psij"), Path(home))
    first = next(folder for folder in folders if folder.is_dir())
    return os.access(first, os.W_OK | os.X_OK)


def _make_home(folder: Path) -> Path:
    """Make a home in *folder*, with links to the user's configurations and login scripts."""
    home = folder / "home"
    home.mkdir(mode=0o700, exist_ok=True)
    users = os.environ.get("HOME")
    with suppress(OSError):  # it cannot be read
        for file in Path(users).iterdir() if users else ():
            if file.name.startswith(".") and file.name != ".psij":
                with suppress(FileExistsError):
                    (home / file.name).symlink_to(file)
    return home
