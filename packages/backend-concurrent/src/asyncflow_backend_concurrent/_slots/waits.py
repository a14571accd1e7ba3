"""Tell what the tasks of a backend wait for, in words; made when somebody asks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from radical.asyncflow.backend import Resources, TaskId, TaskRequest, Wait, WaitKind

from .queue import place_of
from .resources import MachineResources
from .seats import Admission

__all__ = ["Scene", "queue_places", "waits_in"]

_MOST_PLACES = 50  # more tasks than this get no place in the order, which is of no use then
_GB = 1e9


class Scene(NamedTuple):
    """The state of a backend at one moment.

    Attributes:
        name: that of the backend.
        size: how many slots it has.
        running: the tasks that run.
        taken: the tasks that a slot has taken and not begun.
        admitted: the special tasks that run.
        specials: those that wait, in order.
        queue: the ordinary tasks that wait, in order; it may have some that wait no longer.
        waiting: all that wait.
    """

    name: str
    size: int
    running: Sequence[TaskId]
    taken: Collection[TaskId]
    admitted: Sequence[Admission]
    specials: Sequence[TaskRequest]
    queue: Iterable[TaskRequest]
    waiting: Mapping[TaskId, TaskRequest]


def waits_in(
    scene: Scene, resources: MachineResources, asked: Collection[TaskId]
) -> dict[TaskId, Wait]:
    """Return what those of the *asked* tasks wait for that have not begun."""
    special = {request.task_id: request for request in scene.specials}
    found: dict[TaskId, Wait] = {}
    ordinary: set[TaskId] = set()
    running = frozenset(scene.running)
    for task_id in asked:
        if task_id in running:
            continue
        if task_id in special:
            found[task_id] = _special_wait(scene, resources, special[task_id])
        elif task_id in scene.waiting or task_id in scene.taken:
            ordinary.add(task_id)
    if not ordinary:
        return found
    places: dict[TaskId, tuple[int, int]] = {}
    if len(ordinary) <= _MOST_PLACES:
        queue = [each for each in scene.queue if scene.waiting.get(each.task_id) is each]
        places = queue_places(queue, ordinary, len(scene.taken))
    text = _slot_text(scene)
    for task_id in ordinary:
        ahead, outranked = places.get(task_id, (None, 0))
        found[task_id] = Wait(
            kind=WaitKind.SLOT,
            text=text,
            holders=scene.running,
            held_by=len(scene.running),
            ahead=ahead,
            outranked=outranked,
        )
    return found


def queue_places(
    queue: Iterable[TaskRequest], wanted: Collection[TaskId], taken: int = 0
) -> dict[TaskId, tuple[int, int]]:
    """Return how many tasks begin before each of those *wanted*, and how many of them came later.

    Args:
        queue: what waits, in the order in which it begins.
        taken: the number of tasks that begin before all of them.
    """
    places: dict[TaskId, tuple[int, int]] = {}
    before: list[TaskRequest] = []
    for request in queue:
        if request.task_id in wanted:
            later = sum(other.task_id > request.task_id for other in before)
            places[request.task_id] = taken + len(before), later
            if len(places) == len(wanted):
                break
        before.append(request)
    return places


def _slot_text(scene: Scene) -> str:
    lent = sum(len(admission.lent) for admission in scene.admitted)
    busy = min(scene.size, len(scene.running) + lent)
    if busy >= scene.size:
        which = "the only slot" if scene.size == 1 else f"one of the {scene.size} slots"
        return f"{which} of backend {scene.name!r}, {'which is' if scene.size == 1 else 'all'} busy"
    still = " and some stand still for a wide task" if scene.specials else ""
    return f"its turn on backend {scene.name!r}, where {busy} of {scene.size} slots are busy{still}"


def _special_wait(scene: Scene, resources: MachineResources, request: TaskRequest) -> Wait:
    """Return what *request* waits for, in the same order of reasons as it is admitted."""
    asked = request.spec.resources
    before = scene.specials[: scene.specials.index(request)]
    services = [each for each in scene.admitted if each.request.spec.service]
    serving = sum(each.request.spec.resources.total_cores for each in services)
    if services and asked.total_cores > scene.size - serving:
        return _held(
            WaitKind.SLOT,
            f"{_slots(asked)} of backend {scene.name!r}, of which services have {serving} of "
            f"{scene.size} until they are stopped",
            [each.request.task_id for each in services],
        )
    for kind, name in ((WaitKind.GPUS, "gpus"), (WaitKind.MEMORY, "memory")):
        if not getattr(asked, name):
            continue
        if not resources.fits(Resources(**{name: getattr(asked, name)}, ranks=asked.ranks)):
            holders = [
                each.request.task_id
                for each in scene.admitted
                if getattr(each.request.spec.resources, name)
            ]
            return _held(kind, _scarce(scene, resources, asked, name), holders, len(before))
        rivals = [
            each.task_id
            for each in before
            if getattr(each.spec.resources, name) and not resources.fits(each.spec.resources)
        ]
        if rivals:
            what = "GPUs" if name == "gpus" else "memory"
            return _held(
                kind, f"its turn: what begins before it waits for more {what}", rivals, len(before)
            )
    earlier = [
        each
        for each in scene.queue
        if scene.waiting.get(each.task_id) is each and place_of(each) < place_of(request)
    ]
    at_once = " at once" if asked.total_cores > 1 else ""
    return Wait(
        kind=WaitKind.SLOT,
        text=f"{_slots(asked)} of backend {scene.name!r}{at_once}",
        holders=scene.running,
        held_by=len(scene.running),
        ahead=len(before) + len(earlier),
    )


def _held(kind: WaitKind, text: str, holders: Sequence[TaskId], ahead: int | None = None) -> Wait:
    return Wait(kind=kind, text=text, holders=holders, held_by=len(holders), ahead=ahead)


def _slots(asked: Resources) -> str:
    cores = asked.total_cores
    return f"{cores} slots" if cores > 1 else "a slot"


def _scarce(scene: Scene, resources: MachineResources, asked: Resources, name: str) -> str:
    ranks = f" for each of {asked.ranks} ranks" if asked.ranks > 1 else ""
    if name == "gpus":
        number = f"{asked.gpus:g} {'GPU' if asked.gpus <= 1 else 'GPUs'}"
        return (
            f"{number}{ranks}, and {resources.free_gpus:g} of the {len(resources.gpus)} of backend "
            f"{scene.name!r} are free"
        )
    return (
        f"{(asked.memory or 0) / _GB:.3g} GB of memory{ranks}, and "
        f"{resources.free_memory / _GB:.3g} of the {resources.memory / _GB:.3g} GB of backend "
        f"{scene.name!r} are free"
    )
