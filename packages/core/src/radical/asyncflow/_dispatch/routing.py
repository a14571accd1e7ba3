"""Choose the backend of a task: the one that it names, the default, or the only one that can.

This happens once for each task, at its first call; the calls that follow cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .._text import closest
from ..backend._lane import Lane, asked_resources, missing_capabilities
from ..errors import BackendError, ConfigurationError, UnsupportedOptionError
from ..model import TaskKind, TaskSpec

__all__ = ["choose_lane", "lanes_that_can", "lanes_to_choose_from"]


def choose_lane(spec: TaskSpec, lanes: Mapping[str, Lane]) -> Lane:
    """Return the lane of *spec*; the first of *lanes* is the default.

    Raises:
        ConfigurationError: there is no such backend, or none can run the task; the error says
            which could.
        UnsupportedOptionError: the default cannot run it, and several others can.
    """
    if spec.backend is not None:
        lane = lanes.get(spec.backend)
        if lane is None:
            raise ConfigurationError(
                f"task {spec.name!r}: this engine has no backend {spec.backend!r}"
                f"{closest(spec.backend, lanes)} (it has: {', '.join(lanes)})"
            )
        others = [other for other in lanes.values() if other is not lane]
    else:
        lane, *others = lanes.values()
    try:
        lane.check(spec)
    except ConfigurationError as error:
        able, reasons = lanes_that_can(spec, others)
        if spec.backend is None and len(able) == 1:
            return able[0]
        raise _nobody(spec, lane, error, able, reasons) from error.__cause__
    return lane


def lanes_to_choose_from(
    lanes: Mapping[str, Lane], *, failover: bool, named: bool = False
) -> Mapping[str, Lane]:
    """Return those of *lanes* that a new task may go to, the default first.

    With failover a lost backend is none of them, as long as there is another.  A task whose
    backend is *named* may name it all the same, and goes to the next then.
    """
    if not failover:
        return lanes
    up = {name: lane for name, lane in lanes.items() if lane.since}
    live = {name: lane for name, lane in up.items() if lane.lost is None}
    return up if named else live or up


def lanes_that_can(
    spec: TaskSpec, lanes: Iterable[Lane]
) -> tuple[list[Lane], list[ConfigurationError]]:
    """Return those of *lanes* that can run *spec*, and why each of the others cannot."""
    able: list[Lane] = []
    reasons: list[ConfigurationError] = []
    for lane in lanes:
        try:
            lane.check(spec)
        except ConfigurationError as error:
            reasons.append(error)
        else:
            able.append(lane)
    return able, reasons


def _nobody(
    spec: TaskSpec,
    lane: Lane,
    error: ConfigurationError,
    able: list[Lane],
    reasons: list[ConfigurationError],
) -> ConfigurationError:
    """Return the error of *spec*, which *lane* cannot run, or for which it is one of several."""
    text = str(error)
    if able:
        names = " or ".join(f"backend={other.name!r}" for other in able)
        text += f"; give the task {names}"
    else:
        prefix = f"task {spec.name!r}: "
        text = "; ".join([text, *(str(reason).removeprefix(prefix) for reason in reasons)])
        text += _advice(spec, lane, error)
    made = UnsupportedOptionError if able else type(error)
    return made(text)


def _advice(spec: TaskSpec, lane: Lane, error: ConfigurationError) -> str:
    """Return which backend outside of this engine could run *spec*; "" if none is known."""
    if not isinstance(error, UnsupportedOptionError) or not missing_capabilities(
        lane.capabilities, spec
    ):
        return ""
    from .._discovery.metadata import OFFICIAL  # only for this error, for it reads metadata
    from .._discovery.registry import registry

    wanted = {str(spec.kind), *asked_resources(spec)}
    wanted |= {option for option in ("service", "priority") if getattr(spec, option)}
    if spec.service and spec.kind is TaskKind.FUNCTION:
        wanted.add("instances")
    text = ""
    installed: list[str] = []
    installable: list[str] = []
    for name, info in registry.list_available_backends().items():
        if info["available"]:
            if not _could(spec, name):
                continue
            if name == lane.name:  # so its settings keep it from that
                text = f"; with other settings {name!r} can"
            else:
                installed.append(repr(name))
        elif name in OFFICIAL and wanted <= {*OFFICIAL[name].able}:
            installable.append(f"{name!r} ({info['installation_hint']})")
    if installed:
        return f"{text}; add a backend that can to the engine: {', '.join(installed)}"
    if text:
        return text
    if installable:
        return f"; a backend that can is not installed: {', '.join(installable)}"
    return "; no backend that is known here can"


def _could(spec: TaskSpec, name: str) -> bool:
    """Tell whether the installed backend *name* could run *spec*, as far as it declares it."""
    from .._discovery.registry import registry

    try:
        capabilities: Any = registry.get_backend_spec(name).capabilities
    except BackendError:
        return False  # it does not load
    return capabilities.executes and not missing_capabilities(capabilities, spec)
