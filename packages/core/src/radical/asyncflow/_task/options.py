"""The options of a task, which are checked once, where they are given."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict, cast

from .._public import public
from .._text import closest
from ..errors import ConfigurationError
from ..model import (
    DEFAULT_RESOURCES,
    Container,
    Resources,
    RetryPolicy,
    TaskKind,
    TaskSpec,
)
from .answer import answer_model
from .description import PARAMETER, default_description, describe, given_names, read_description

__all__ = ["TaskOptions", "change_spec", "check_options", "first_spec", "make_spec"]


@public("radical.asyncflow")
class TaskOptions(TypedDict, total=False):
    """The options of a task, as decorators and ``task.options()`` take them.

    Attributes:
        name: the name that users and dashboards see; by default that of the function.
        backend: the name of the backend to run on; by default, and with None, the first
            of the engine, or the only other one if the first cannot run the task.
        resources: what the task occupies while it runs: a `Resources`, or a mapping such
            as ``{"cores": 2, "gpus": 1, "memory": "4GB"}``, with *memory* in bytes or as
            text with a unit; ``"gpus": 0.25`` shares a GPU.  Or a function that gets the number of
            the attempt, from 1, and returns one of these.  By default one core.
        retries: how many times to run the task again after a failure, without a wait, or
            a `RetryPolicy`, whose waits are in seconds.  By default 0.
        priority: a number; of the tasks that wait for a backend, those with a higher one begin
            first.  Within one priority, a task that takes the results of others begins before
            one that takes none, so that work that has begun is finished first; among equals,
            the first that was called.  What waits for a task does not inherit its priority.
            By default 0.
        timeout: seconds that one run may take, counted from its start; by default, and
            with None, as long as it needs.
        capture_stdio: write the output of an executable to files; the result is the path
            of the file that holds its stdout.  By default False.
        shell: the shell that runs a command line, with its options, such as ``"bash"`` or
            ``"bash -euo pipefail"``; it is found on PATH where the task runs.  Lists of strings
            are executed without any.  By default ``/bin/sh``.
        container: the image in which the command runs, such as ``"image.sif"``, or a `Container`
            or a mapping with its attributes.  The command sees the folder that it runs in and
            that of the task's files, under the same paths.  False: none, although the profile
            has one.  By default that of the profile, if any.
        fire_and_forget: nobody has to await the task: if it fails, that is logged when it
            happens, and counted in the report.  As any other task, it keeps running while nobody
            holds its future, and the end of ``async with`` waits for it.  By default False.
        service: the command is a service: the task is done when it is up, and the command runs
            on until `TaskFuture.stop` or the end of the workflow.  *timeout* counts until it is
            up.  By default False.
        info_pattern: a service is up when a line of its output matches:
            ``"stdout:REGULAR EXPRESSION"`` or ``"stderr:..."``; what the last group matches
            is the result.  By default None.
        ready_url: a service is up when this http address answers, where the service runs; it
            is the result.  With *info_pattern* it may contain ``{info}``.  By default None.
        ready_port: a service is up when this TCP port takes connections, where the service
            runs; the result is ``HOST:PORT``.  By default None.
        restarts: how many times a service that died is started again.  By default 0.
        mpi_result: the result of a function that runs in several ``ranks``: ``"list"``, the
            values of all ranks in their order, or ``"root"``, that of rank 0.  By default
            ``"list"``.
        task_description: what else to ask for, by the names that RADICAL-Pilot has for it.
            ``ranks``, ``cores_per_rank``, ``gpus_per_rank``, ``mem_per_rank`` (megabytes of 1024
            kilobytes, or a size as text), ``name`` and ``timeout`` (seconds) do on every backend
            what the options do, and ``shell``, ``cwd`` and ``environment`` are for commands.  Any
            other key reaches the backend as it is, after it has checked it.  A parameter of the
            body with this name and a default, and a keyword of the call, are added to it; of two
            values for one key that of the call counts, then that of the parameter.  By default
            none.
        link_dependencies: the command finds by their relative names the files that the commands
            which it depends on have written in the folder where they ran.  Where all commands run
            in one folder this is so anyway; on a pilot that gives each a folder of its own, the
            files are linked into that of the task, and outputs are copied.  By default False.
        version: the version of the body, a string or a number; results of another version
            in the journal are not used.  By default none.
        cache: which result in the journal may stand for a run: True for that of the same
            call in an earlier run, ``"always"`` for that of any equal call, False for
            none.  By default True.
        cache_key: what identifies a call in the journal in place of the content of its
            arguments: a value, or a function that is called with the arguments and
            returns one.  By default None, the content.
        uses: a list of what the task reads beside its arguments: a `str` or a path stands
            for the content of that file or folder, ``Env("NAME")`` for an environment
            variable, and anything else for its own content.  If one of them has changed, an
            earlier result is not used.  By default empty.
    """

    name: str
    backend: str | None
    resources: Resources | Mapping[str, Any] | Callable[[int], Resources | Mapping[str, Any]] | None
    retries: int | RetryPolicy | None
    priority: float
    timeout: float | None
    capture_stdio: bool
    shell: str | None
    container: str | os.PathLike[str] | Container | Mapping[str, Any] | Literal[False] | None
    fire_and_forget: bool
    service: bool
    info_pattern: str | None
    ready_url: str | None
    ready_port: int | None
    restarts: int
    mpi_result: Literal["list", "root"]
    task_description: Mapping[str, Any] | None
    link_dependencies: bool
    version: str | int | float
    cache: bool | Literal["always"]
    cache_key: Any
    uses: Sequence[Any]


NOTHING: Mapping[str, Any] = {}

_KNOWN = tuple(TaskOptions.__annotations__)
_SIGNS = ("info_pattern", "ready_url", "ready_port")


def make_spec(function: Callable[..., Any], kind: TaskKind, options: Mapping[str, Any]) -> TaskSpec:
    """Return the spec of the task that has *function* as its body.

    Raises:
        ConfigurationError: an option is wrong; the message has every problem.
        TypeError: *function* cannot be the body of such a task.
    """
    if not callable(function):
        raise TypeError(f"a {kind} task is made from a function, not from {function!r}")
    if _is_generator_function(function):
        raise TypeError(
            f"{_name(function)!r} is a generator function, whose body runs only where its items "
            "are taken, so it cannot be a task: return a list of the items, or make each item a "
            "task of its own with flow.map"
        )
    if kind is TaskKind.BLOCK and not _is_async(function):
        raise TypeError(
            f"a block is an async function (it runs in the engine's loop); {_name(function)!r} is "
            "not: write 'async def', or make it a function_task"
        )
    spec = TaskSpec(_name(function), kind, function)
    if kind is TaskKind.PROMPT:
        body = _inner(function)
        if not hasattr(body, "__annotations__") or isinstance(body, type):
            body = _call_of(body)
        spec = dataclasses.replace(spec, answer=answer_model(body, spec.name))
    return first_spec(spec, options)


def first_spec(spec: TaskSpec, options: Mapping[str, Any]) -> TaskSpec:
    """Return *spec* with *options*, and with what the signature of its body asks for.

    Raises:
        ConfigurationError: an option is wrong; the message has every problem.
    """
    who = f"task {spec.name!r}"
    try:
        default = default_description(spec.function)
    except ConfigurationError as error:
        raise ConfigurationError(f"{who}: in the signature, {error}") from None
    return _changed(spec, options, who, default)


def change_spec(spec: TaskSpec, options: Mapping[str, Any]) -> TaskSpec:
    """Return *spec* with *options* in place of its own; a ``task_description`` is added to its own.

    Raises:
        ConfigurationError: an option is wrong; the message has every problem.
    """
    return _changed(spec, options, f"task {spec.name!r}")


def _changed(
    spec: TaskSpec, options: Mapping[str, Any], who: str, default: Mapping[str, Any] = NOTHING
) -> TaskSpec:
    values = _values(options, spec.kind, who)
    asked = {**spec.asked, **values.pop("asked", NOTHING), **default}
    signs = {name: options[name] for name in _SIGNS if name in options}
    if not options and not default:
        return spec
    values["given"] = given_names(spec.given, options)
    try:
        if signs:
            values["readiness"] = dataclasses.replace(spec.readiness, **signs)
        if values.get("service"):
            values["cache"] = False  # a service of an earlier run is gone
        changed = describe(dataclasses.replace(spec, **values), asked)
        _check_service(changed)
    except ConfigurationError as error:
        raise ConfigurationError(f"{who}: {error}") from None
    return changed


def _check_service(spec: TaskSpec) -> None:
    """Raise ConfigurationError if *spec* has options that only a service has, and is none."""
    if not spec.service:
        given = [name for name in _SIGNS if getattr(spec.readiness, name) is not None]
        if spec.restarts:
            given.append("restarts")
        if given:
            raise ConfigurationError(f"{', '.join(given)} is for a service: add service=True")


def check_options(options: Mapping[str, Any], kind: TaskKind) -> None:
    """Raise what `change_spec` raises, if no task of this *kind* can have *options*."""
    who = "block" if kind is TaskKind.BLOCK else f"{kind}_task"
    _changed(TaskSpec("", kind, check_options), options, who)


def _resource(key: str) -> str:
    """Return where *key* belongs, if it is a resource or resembles one; else ``""``."""
    known = [item.name for item in dataclasses.fields(Resources)]
    near = f"; did you mean {key!r}?" if key in known else closest(key, known)
    return near.replace("'", "resources={'", 1)[:-2] + "': ...}?" if near else ""


def _values(options: Mapping[str, Any], kind: TaskKind, who: str) -> dict[str, Any]:
    """Check *options*, and return them as fields of a `TaskSpec`."""
    wrong = [
        f"unknown option {key!r}{closest(key, _KNOWN) or _resource(key)}"
        for key in options
        if key not in _KNOWN
    ]
    values: dict[str, Any] = {}
    for key in _KNOWN:
        if key in options and key not in _SIGNS:
            field = "asked" if key == PARAMETER else key
            try:
                values[field] = _checked(key, options[key], kind)
                if key == "resources":
                    values["resources_of"] = _resources_of(options[key])
            except ConfigurationError as error:
                wrong.append(str(error))
    if wrong:
        known = f" (options: {', '.join(_KNOWN)})" if "unknown option" in wrong[0] else ""
        raise ConfigurationError(f"{who}: {'; '.join(wrong)}{known}")
    return values


def _checked(key: str, value: Any, kind: TaskKind) -> Any:
    """Return the *value* of the option *key* as a spec has it, or raise ConfigurationError."""
    if key == "resources":
        resources_of = _resources_of(value)
        resources = Resources.of(value) if resources_of is None else resources_of(1)
        if kind is TaskKind.BLOCK and (resources_of or resources != DEFAULT_RESOURCES):
            raise ConfigurationError(
                "a block runs in the engine's loop and takes no resources; give them to the tasks "
                "that it calls"
            )
        return resources
    if key == "retries":
        return RetryPolicy.of(value)
    if key == PARAMETER:
        return read_description(value)
    if key == "priority":
        return _checked_priority(value, kind)
    if key == "timeout":
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and value > 0):
            raise ConfigurationError(f"timeout must be seconds above 0 or None, not {value!r}")
        return value
    if key == "version":
        if not isinstance(value, str | int | float):
            raise ConfigurationError(f"version must be a string or a number, not {value!r}")
        return str(value)
    if key == "cache":
        if not isinstance(value, bool) and value != "always":
            raise ConfigurationError(f'cache must be True, False or "always", not {value!r}')
        if kind is TaskKind.BLOCK and value is not False:
            raise ConfigurationError(
                "the result of a block is not reused, those of the tasks that it calls are"
            )
        return value
    if key == "cache_key":
        if value is not None and not callable(value) and type(value).__hash__ is None:
            raise ConfigurationError(
                f"cache_key must be a plain value or a function of the arguments, not {value!r}"
            )
        return value
    if (check := _CHECKS.get(key)) is not None:
        return check(value, kind)
    if key in ("capture_stdio", "fire_and_forget", "link_dependencies", "service"):
        if not isinstance(value, bool):
            raise ConfigurationError(f"{key} must be True or False, not {value!r}")
        if value and key == "service" and kind is not TaskKind.EXECUTABLE:
            raise ConfigurationError(
                f"service is for executable tasks, not for a {kind}; a class with @flow.service "
                "is a service of functions"
            )
        for_commands = key in ("capture_stdio", "link_dependencies")
        if value and for_commands and kind is not TaskKind.EXECUTABLE:
            raise ConfigurationError(f"{key} is for executable tasks, not for a {kind}")
        return value
    if value is None and key == "backend":
        return None
    if kind is TaskKind.BLOCK and key == "backend":
        raise ConfigurationError("a block runs in the engine's loop and takes no backend")
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{key} must be a string that is not empty, not {value!r}")
    return value


def _resources_of(value: Any) -> Callable[[int], Resources] | None:
    """Return the function of the attempt that *value* is, or None if it is resources."""
    if not callable(value) or isinstance(value, Resources | Mapping):
        return None

    def resources_of(attempt: int) -> Resources:
        try:
            given = value(attempt)
        except Exception as error:
            raise ConfigurationError(
                f"the function that resources= was given raised {type(error).__name__} for "
                f"attempt {attempt}: {error}"
            ) from error
        if given is None:
            raise ConfigurationError(
                f"the function that resources= was given returned None for attempt {attempt}; it "
                "must return a mapping such as {'memory': '4GB'}"
            )
        return Resources.of(given)

    return resources_of


def _checked_mpi_result(value: Any, kind: TaskKind) -> Any:
    if value not in ("list", "root"):
        raise ConfigurationError(f'mpi_result must be "list" or "root", not {value!r}')
    if kind is not TaskKind.FUNCTION:
        raise ConfigurationError(f"mpi_result is for function tasks with ranks, not for a {kind}")
    return value


def _checked_priority(value: Any, kind: TaskKind) -> int | float:
    """Return the value of the option ``priority``."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # Larger ones, infinity and "not a number" have no place that each backend can express.
    if not number or not abs(value) <= sys.float_info.max:
        raise ConfigurationError(
            f"priority must be a number such as 1 or -0.5 (a higher one goes first), not {value!r}"
        )
    if kind is TaskKind.BLOCK and value:
        raise ConfigurationError(
            "a block runs in the engine's loop and waits for no backend, so it takes no priority; "
            "give it to the tasks that the block calls"
        )
    return cast("int | float", value)


def _checked_uses(value: Any, kind: TaskKind) -> tuple[Any, ...]:
    """Return the value of the option ``uses`` as a tuple, with its paths as text."""
    if not isinstance(value, list | tuple):
        raise ConfigurationError(
            f"uses must be a list of paths, Env(...) and values, not {value!r}; for one thing "
            "write uses=[thing]"
        )
    if kind is TaskKind.BLOCK and value:
        raise ConfigurationError(
            "the result of a block is not reused, so it declares no uses; give them to the tasks "
            "that it calls"
        )
    things = []
    for item in value:
        thing = os.fspath(item) if isinstance(item, os.PathLike) else item
        if isinstance(item, str | os.PathLike) and not (
            isinstance(thing, str) and thing and "\0" not in thing
        ):
            raise ConfigurationError(f"uses has a path that cannot be one: {item!r}")
        things.append(thing)
    return tuple(things)


def _checked_restarts(value: Any, kind: TaskKind) -> int:  # noqa: ARG001 - as the others
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ConfigurationError(f"restarts must be a whole number of at least 0, not {value!r}")
    return value


def _checked_shell(value: Any, kind: TaskKind) -> tuple[str, ...]:
    """Return the words of the option ``shell``."""
    if value is None:
        return ()
    if isinstance(value, bool):
        raise ConfigurationError(
            "shell names a shell, such as 'bash'; a str that the body returns is run by /bin/sh "
            "without this option, and a list without a shell"
        )
    if not isinstance(value, str):
        raise ConfigurationError(f"shell must be a shell such as 'bash', not {value!r}")
    try:
        words = tuple(shlex.split(value))
    except ValueError as error:
        raise ConfigurationError(f"shell {value!r} cannot be read: {error}") from None
    if not words or "\0" in value:
        raise ConfigurationError(f"shell must be a shell such as 'bash', not {value!r}")
    if "-c" in words:
        raise ConfigurationError(f"shell {value!r} has -c, which is added before the command line")
    if kind is not TaskKind.EXECUTABLE:
        raise ConfigurationError(f"shell is for executable tasks, not for a {kind}")
    return words


def _checked_container(value: Any, kind: TaskKind) -> Container | Literal[False] | None:
    """Return the value of the option ``container``."""
    if value is None or value is False:
        return value
    container = Container.of(value)
    if kind is not TaskKind.EXECUTABLE:
        raise ConfigurationError(f"container is for executable tasks, not for a {kind}")
    return container


_CHECKS: dict[str, Callable[[Any, TaskKind], Any]] = {
    "container": _checked_container,
    "mpi_result": _checked_mpi_result,
    "restarts": _checked_restarts,
    "shell": _checked_shell,
    "uses": _checked_uses,
}
"""The checks of options, where they are more than a line, by the name of the option."""


def _name(function: Callable[..., Any]) -> str:
    inner = _inner(function)
    return str(getattr(inner, "__name__", type(inner).__name__))


def _is_async(function: Callable[..., Any]) -> bool:
    inner = _inner(function)
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(_call_of(inner))


def _is_generator_function(function: Callable[..., Any]) -> bool:
    inner = _inner(function)
    return any(
        inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each)
        for each in (inner, _call_of(inner))
    )


def _inner(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function of a `functools.partial`; any other callable is returned as it is."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _call_of(function: Callable[..., Any]) -> Any:
    """Return what a call of an object runs; None for a class, whose call makes an object."""
    if isinstance(function, type):
        return None
    return getattr(type(function), "__call__", None)  # noqa: B004 - what it is, not whether
