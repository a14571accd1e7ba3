"""The ``task_description`` of a task: in the decorator, in the body's signature and in a call.

Some of its keys mean the same on every backend: resources, how a command runs, a name, a time
limit.  They become what the options of the same meaning are.  The rest is for the backend.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import sys
from collections.abc import Callable, Mapping, Set
from types import FunctionType
from typing import Any

from ..errors import ConfigurationError
from ..model import (
    DEFAULT_RESOURCES,
    DESCRIPTION_KEYS,
    CommandOptions,
    Resources,
    TaskKind,
    TaskSpec,
    parse_size,
)

__all__ = [
    "PARAMETER",
    "default_description",
    "describe",
    "given_names",
    "place_of_parameter",
    "read_description",
    "whole_description",
]

PARAMETER = "task_description"
"""The name of the option, of the parameter of a body, and of the keyword of a call."""

_MEGABYTE = 2**20
_RESOURCES = {
    "ranks": "ranks",
    "cores_per_rank": "cores",
    "gpus_per_rank": "gpus",
    "mem_per_rank": "memory",
}
_COMMAND = {"shell": "shell", "cwd": "cwd", "environment": "env"}
_OTHER_NAMES = {
    "cpu_processes": "ranks",
    "cpu_threads": "cores_per_rank",
    "gpu_processes": "gpus_per_rank",
    "mem_per_process": "mem_per_rank",
    "env": "environment",
}
"""Older names of keys, and those that other backends have for them."""


def read_description(value: Any) -> dict[str, Any]:
    """Return the ``task_description`` that *value* is, with one name for each thing.

    Raises:
        ConfigurationError: it is no mapping of names to plain values.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ConfigurationError(f"{PARAMETER} must map names to values, not {value!r}")
    read: dict[str, Any] = {}
    for given, what in value.items():
        key = _OTHER_NAMES.get(str(given), str(given))
        if key in read:
            raise ConfigurationError(
                f"two keys of {PARAMETER} mean the same, {key!r}: leave one of them out"
            )
        if _has_awaitable(what):
            raise ConfigurationError(
                f"{PARAMETER} has a future at {given!r}, and has to be known at the call: await "
                "it first"
            )
        read[key] = what
    return read


def _has_awaitable(value: Any) -> bool:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(_has_awaitable, value))
    return hasattr(type(value), "__await__")


def default_description(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the ``task_description`` in the signature of *function*; empty if there is none.

    Raises:
        ConfigurationError: the default of that parameter is none.
    """
    parameter = _parameter(function)
    if parameter is None or parameter.default is parameter.empty:
        return {}
    return read_description(parameter.default)


def whole_description(function: Callable[..., Any], given: Any) -> dict[str, Any] | None:
    """Return the ``task_description`` that *function* gets where a call gives *given*.

    That is *given*, added to the default of the parameter; None if there is no such parameter.
    """
    parameter = _parameter(function)
    if parameter is None:
        return None
    default = {} if parameter.default is parameter.empty else parameter.default
    return {**(default or {}), **(given or {})}


def _parameter(function: Callable[..., Any]) -> inspect.Parameter | None:
    """Return the parameter of *function* for a ``task_description``."""
    if type(function) is FunctionType and not function.__dict__:  # quicker for most functions
        code = function.__code__
        if PARAMETER not in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
            return None
    try:
        found = inspect.signature(function).parameters.get(PARAMETER)
    except (TypeError, ValueError):  # a built-in that does not tell
        return None
    if found is None or found.kind in (found.VAR_POSITIONAL, found.VAR_KEYWORD):
        return None
    return found


def place_of_parameter(signature: inspect.Signature | None) -> int:
    """Return how many positional arguments come before a ``task_description`` given so."""
    if signature is not None:
        for place, parameter in enumerate(signature.parameters.values()):
            if parameter.kind not in (
                parameter.POSITIONAL_ONLY,
                parameter.POSITIONAL_OR_KEYWORD,
            ):
                break
            if parameter.name == PARAMETER:
                return place
    return sys.maxsize


def given_names(before: Set[str], options: Mapping[str, Any]) -> frozenset[str]:
    """Return which things that a ``task_description`` may hold too are given as options.

    Args:
        before: those that earlier options gave, some of which *options* replace.
    """
    names = {name for name in before if name not in options}
    names |= {name for name in ("name", "timeout", "shell") if options.get(name) is not None}
    if "resources" in options:
        names -= set(_RESOURCES.values())
        resources = options["resources"]
        if isinstance(resources, Resources):
            names |= {
                name
                for name in _RESOURCES.values()
                if getattr(resources, name) != getattr(DEFAULT_RESOURCES, name)
            }
        elif isinstance(resources, Mapping):
            names |= set(resources)
        elif resources is not None:  # a function, which may give all of them
            names |= set(_RESOURCES.values())
    return frozenset(names)


def describe(spec: TaskSpec, asked: Mapping[str, Any]) -> TaskSpec:
    """Return *spec* with *asked* as its ``task_description``, in place of the one that it has.

    Raises:
        ConfigurationError: a value is wrong, given as an option too, or nothing for this kind of
            task; the message has every problem.
    """
    asked = {
        key: value
        for key, value in asked.items()
        if value is not None or key not in DESCRIPTION_KEYS
    }
    if not asked and not spec.asked:
        return spec
    wrong = _problems(spec, asked)
    changes: dict[str, Any] = {"asked": asked}
    for field, make in (
        ("resources", _resources),
        ("command", _command),
        ("name", _name),
        ("timeout", _timeout),
    ):
        try:
            changes[field] = make(spec, asked)
        except ConfigurationError as error:
            wrong.append(f"{PARAMETER}: {error}")
    if wrong:
        raise ConfigurationError("; ".join(wrong))
    changes["description"] = {
        key: value for key, value in asked.items() if key not in DESCRIPTION_KEYS
    }
    return dataclasses.replace(spec, **changes)


def _problems(spec: TaskSpec, asked: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the keys of *asked*."""
    wrong = []
    for key in asked:
        option = _RESOURCES.get(key, key)
        what = f"resources={{{option!r}: ...}}" if key in _RESOURCES else f"{key}="
        if option in spec.given:
            wrong.append(
                f"{what} is given, and {key!r} in {PARAMETER} means the same: leave one of them out"
            )
        elif key in _COMMAND and spec.kind is not TaskKind.EXECUTABLE and asked[key] is not False:
            wrong.append(f"{key!r} in {PARAMETER} is for commands, not for a {spec.kind}")
        elif spec.kind is TaskKind.BLOCK and key not in ("name", "timeout"):
            wrong.append(
                f"a block runs in the engine's loop, so {key!r} in {PARAMETER} would do nothing: "
                "give it to the tasks that the block calls"
            )
    return wrong


def _resources(spec: TaskSpec, asked: Mapping[str, Any]) -> Resources:
    values = {name: asked[key] for key, name in _RESOURCES.items() if key in asked}
    # What the description had before is no option, so it goes back to the default.
    for key, name in _RESOURCES.items():
        if key in spec.asked and key not in asked:
            values[name] = getattr(DEFAULT_RESOURCES, name)
    if "mem_per_rank" in asked:
        values["memory"] = _bytes(values["memory"])
    try:
        return dataclasses.replace(spec.resources, **values) if values else spec.resources
    except ConfigurationError as error:
        text = str(error).removeprefix("resources: ")
        for key, name in _RESOURCES.items():
            text = text.replace(f"{name} must", f"{key!r} must")
        raise ConfigurationError(text) from None


def _bytes(value: Any) -> int:
    if isinstance(value, str):
        return parse_size(value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and 0 <= value < math.inf:
        return math.ceil(float(value) * _MEGABYTE)
    raise ConfigurationError(
        f"'mem_per_rank' must be megabytes (of 1024 kilobytes), or a size such as '4GB', not "
        f"{value!r}"
    )


def _command(spec: TaskSpec, asked: Mapping[str, Any]) -> CommandOptions | None:
    values = {name: asked[key] for key, name in _COMMAND.items() if key in asked}
    if not values or spec.kind is not TaskKind.EXECUTABLE:
        return None
    if not isinstance(values.get("env", {}), Mapping):
        raise ConfigurationError(f"'environment' must map names to strings, not {values['env']!r}")
    return CommandOptions(**values)


def _name(spec: TaskSpec, asked: Mapping[str, Any]) -> str:
    name = asked.get("name", spec.name)
    if not isinstance(name, str) or ("name" in asked and not name):
        raise ConfigurationError(f"'name' must be a string that is not empty, not {name!r}")
    return name


def _timeout(spec: TaskSpec, asked: Mapping[str, Any]) -> float | None:
    if "timeout" not in asked:
        return None if "timeout" in spec.asked else spec.timeout
    value = asked["timeout"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise ConfigurationError(f"'timeout' must be seconds, or 0 for no limit, not {value!r}")
    return value or None
