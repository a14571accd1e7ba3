"""Commands, which tasks ask a backend to run, and how a command ended."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from .._public import public
from ..errors import ConfigurationError, DeathReason

__all__ = ["Command", "CommandOptions", "DeathResult", "ExecutableResult"]


class _Path(Protocol):
    """A path (the ``os.PathLike`` protocol, without ``os``)."""

    def __fspath__(self) -> str: ...


@public("radical.asyncflow")
@dataclass(frozen=True, slots=True)
class Command:
    """A command to execute.

    Attributes:
        args: a `str` is a command line for ``/bin/sh -c``; a tuple of strings is executed
            directly: each string is one argument, and nothing is interpreted.
        env: variables that are added to those of the worker; the value None unsets one.
        cwd: the folder to run in, relative to the folder that the program was started in; None
            for that folder itself.
        stdin: the standard input of the command; text is sent as UTF-8.  None: no input.
        result: an `OutputFile` of the task, or the path that the body got for one, whose place
            is the task's result instead of the command's output.
    """

    args: str | tuple[str, ...]
    env: Mapping[str, str | None] | None = None
    cwd: str | None = None
    stdin: str | bytes | None = None
    result: str | _Path | None = None

    def __post_init__(self) -> None:
        if isinstance(self.args, str):
            parts: tuple[str, ...] = (self.args,)
            if not self.args.strip():
                raise ConfigurationError("the command line is empty")
        else:
            if isinstance(self.args, bytes) or not isinstance(self.args, Sequence):
                raise ConfigurationError(_command_advice(self.args))
            parts = tuple(_text(item) for item in self.args)
            if not parts or not parts[0]:
                raise ConfigurationError("the command is an empty list")
            object.__setattr__(self, "args", parts)
        if self.cwd is not None:
            object.__setattr__(self, "cwd", _text(self.cwd))
        if self.result is not None:
            object.__setattr__(self, "result", _text(self.result))
        if self.stdin is not None and not isinstance(self.stdin, str | bytes):
            kind = type(self.stdin).__name__
            raise ConfigurationError(f"stdin must be a string or bytes, not {kind}")
        if self.env is not None:
            for key, value in self.env.items():
                if not isinstance(key, str) or not (value is None or isinstance(value, str)):
                    raise ConfigurationError(
                        f"env must map names to strings (or None to unset), not {key!r}: {value!r}"
                    )
                if not key or "=" in key:
                    raise ConfigurationError(
                        "the name of an environment variable must not be empty or contain '=': "
                        f"{key!r}"
                    )
                parts += (key, value or "")
        if any("\0" in part for part in parts):
            raise ConfigurationError("a command and its environment cannot hold a NUL character")

    @classmethod
    def of(cls, value: object) -> Command:
        """Return *value*, which the body of an executable task returned, as a Command."""
        if isinstance(value, Command):
            return value
        if isinstance(value, str):
            return cls(value)
        if isinstance(value, list | tuple):
            return cls(tuple(value))
        raise ConfigurationError(_command_advice(value))

    def __str__(self) -> str:
        """Return the command as a shell would read it."""
        if isinstance(self.args, str):
            return self.args
        return " ".join(map(_quote, self.args))


@public("radical.asyncflow.model")
@dataclass(frozen=True, slots=True)
class CommandOptions:
    """The part of a ``task_description`` that is about the command which its task runs.

    Attributes:
        shell: True for a command line that a shell reads, as it does anyway; False to split it
            into words as a shell would, and to execute these directly.
        cwd: the folder to run in, as in `Command`.
        env: variables to add or to unset, as in `Command`.
    """

    shell: bool | None = None
    cwd: str | None = None
    env: Mapping[str, str | None] | None = None

    def __post_init__(self) -> None:
        if self.shell is not None and not isinstance(self.shell, bool):
            raise ConfigurationError(f"'shell' must be True or False, not {self.shell!r}")
        checked = Command("true", env=self.env, cwd=self.cwd)
        object.__setattr__(self, "cwd", checked.cwd)

    def apply(self, command: Command) -> Command:
        """Return *command* with these options.

        Raises:
            ConfigurationError: the command has one of them itself, or cannot be run so.
        """
        args = command.args
        if self.shell is True and not isinstance(args, str):
            raise ConfigurationError(
                "the task_description asks for a shell, and the command is a list of words, which "
                "no shell reads: return a str, or leave 'shell' out"
            )
        if self.shell is False and isinstance(args, str):
            args = _words(args)
        if self.cwd is not None and command.cwd is not None:
            raise ConfigurationError(
                f"the command has cwd={command.cwd!r}, and the task_description "
                f"{self.cwd!r}: leave one of them out"
            )
        env = dict(self.env or {})
        if twice := [name for name in command.env or () if name in env]:
            raise ConfigurationError(
                f"the command sets {', '.join(twice)}, and so does the task_description: leave "
                "one of them out"
            )
        env |= command.env or {}
        return replace(command, args=args, cwd=command.cwd or self.cwd, env=env or None)


def _words(line: str) -> tuple[str, ...]:
    from shlex import split  # here, because most programs have no use for it

    try:
        return tuple(split(line))
    except ValueError as error:
        raise ConfigurationError(
            f"the command line cannot be split into words, as shell=False asks: {error}: {line!r}"
        ) from None


_SAFE = re.compile(r"[\w@%+=:,./-]+", re.ASCII)


def _quote(text: str) -> str:
    if _SAFE.fullmatch(text):
        return text
    return "'" + text.replace("'", "'\"'\"'") + "'"


def _text(item: object) -> str:
    """Return a string or a path as a string (the ``os.fspath`` protocol, without ``os``)."""
    if isinstance(item, str):
        return item
    convert = getattr(type(item), "__fspath__", None)
    path = convert(item) if convert is not None else item
    if isinstance(path, str):
        return path
    raise ConfigurationError(f"a command's arguments must be strings or paths, not {item!r}")


def _command_advice(value: object) -> str:
    return (
        "an executable task must return a command: a str (run by /bin/sh -c), a list of strings "
        f"(run without a shell) or a Command, not {type(value).__name__}"
    )


@public("radical.asyncflow.model")
class ExecutableResult(NamedTuple):
    """The exit code and the output of a command; backends report it, and the engine judges it.

    Attributes:
        exit_code: the exit code; ``-N`` if signal *N* ended it.
        stdout, stderr: the text; with ``capture_stdio`` the paths of the files.
    """

    exit_code: int
    stdout: str = ""
    stderr: str = ""


class DeathResult(ExecutableResult):
    """The result of a command that died, with the reason and, in words, what shows it."""

    reason: DeathReason
    evidence: str

    @classmethod
    def of(cls, result: ExecutableResult, reason: DeathReason, evidence: str) -> DeathResult:
        """Return *result* with the reason of its death."""
        made = cls(*result)
        made.reason = reason
        made.evidence = evidence
        return made
