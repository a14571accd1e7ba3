"""The backends of RHAPSODY: how they are found and made, and what is known of each.

RHAPSODY is imported where this module is used, and not before.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

from radical.asyncflow.backend import Capabilities
from radical.asyncflow.config import close_matches
from radical.asyncflow.errors import BackendNotFoundError, ConfigurationError
from radical.asyncflow.worker import safe_str, usable_cores

from .capabilities import ELSEWHERE, HERE, MARKERS, PROGRAMS
from .config import RhapsodyConfig

__all__ = ["Foreign", "Way", "field_of", "known_names", "reason_of"]

GROUP = "rhapsody.backends"
"""The entry points by which any distribution may publish a backend for RHAPSODY."""

_PROMPTS = frozenset({"ai", "vllm", "dragon_vllm_inference"})


class Way(NamedTuple):
    """The way in which a backend of RHAPSODY runs tasks.

    Attributes:
        place: in threads of this program, in other processes, as programs, or nowhere.
        capabilities: what it declares therefore.
        module: what must be importable for it.
        extra: the extra of rhapsody-py that brings this.
        repeats: whether it may run a task again without a word, when a worker has died.
    """

    place: Literal["here", "elsewhere", "programs", "nowhere"]
    capabilities: Capabilities
    module: str = "rhapsody"
    extra: str = ""
    repeats: bool = False


_WAYS = {
    "ConcurrentExecutionBackend": Way("here", HERE),
    "NoopExecutionBackend": Way("nowhere", MARKERS),
    "DaskExecutionBackend": Way("elsewhere", ELSEWHERE, "distributed", "dask", repeats=True),
    "RadicalExecutionBackend": Way("programs", PROGRAMS, "radical.pilot", "radical-pilot"),
    "DragonExecutionBackend": Way("elsewhere", ELSEWHERE, "dragon", "dragon"),
    "OrbitExecutionBackend": Way("elsewhere", ELSEWHERE, "radical.orbit", "orbit"),
}
"""What is known of the classes of RHAPSODY, by their names."""

_UNKNOWN = Way("elsewhere", ELSEWHERE, repeats=True)
_PROCESSES = Way("elsewhere", ELSEWHERE)


class Foreign:
    """A backend of RHAPSODY that is not started: what makes it, or the object itself.

    Attributes:
        title: its name, for messages.
        way: how it runs tasks.
        adopted: whether the program made it.
    """

    def __init__(self, title: str, way: Way, make: Callable[[], Any], adopted: bool) -> None:
        self.title = title
        self.way = way
        self.adopted = adopted
        self._make = make
        self._client: Any = None

    @classmethod
    def named(cls, settings: RhapsodyConfig) -> Foreign:
        """Find the backend that *settings* name.

        Raises:
            BackendNotFoundError: it is not installed, or lacks a requirement.
            ConfigurationError: its class does not take the options.
        """
        made = _load(settings.backend)
        way = _way_of(made)
        if not _is_importable(way.module):
            raise BackendNotFoundError(
                f"RHAPSODY's backend {settings.backend!r} needs {way.module}, which is not "
                f"installed.\nInstallation hint: Try: pip install 'rhapsody-py[{way.extra}]'"
            )
        options = _checked_options(made, settings)
        if made.__name__ == "ConcurrentExecutionBackend" and (
            settings.executor_type == "process" or _is_process_pool(options.get("executor"))
        ):
            way = _PROCESSES
        foreign = cls(settings.backend, way, lambda: made(**options), False)
        if made.__name__ == "ConcurrentExecutionBackend" and "executor" not in options:
            foreign._make = lambda: made(executor=_executor(settings))
        elif made.__name__ == "DaskExecutionBackend" and not options.keys() & {"client", "cluster"}:
            foreign._make_client = lambda: _dask_client(options.get("resources") or {})
            foreign._make = lambda: made(client=foreign._client)
        elif made.__name__ == "RadicalExecutionBackend":
            resources = {
                "resource": "local.localhost",
                "runtime": 60,
                "cores": usable_cores(),
                **(options.get("resources") or {}),
            }
            # By default RADICAL-Pilot would end the program with a pilot that fails.
            resources.setdefault("exit_on_error", False)
            foreign._make = lambda: made(**{**options, "resources": resources})
        return foreign

    @classmethod
    def given(cls, backend: Any) -> Foreign:
        """Take *backend*, which the program made."""
        way = _way_of(type(backend))
        if _is_process_pool(getattr(backend, "executor", None)):
            way = _PROCESSES
        return cls(str(backend.name), way, lambda: backend, True)

    _make_client: Callable[[], Any] | None = None

    async def up(self) -> Any:
        """Make it and start it; called where it lives."""
        if self._make_client is not None:
            self._client = await self._make_client()
        backend = self._make()
        # Those of RHAPSODY start when they are awaited, and do nothing the second time.
        return await backend if hasattr(backend, "__await__") else backend

    async def down(self, backend: Any) -> None:
        """Shut *backend* down; called where it lives."""
        try:
            await backend.shutdown()
        finally:
            client, self._client = self._client, None
            if client is not None:
                await client.close()

    def watch(self, backend: Any, lost: Callable[[str], None]) -> None:
        """Have *lost* called, in any thread, when *backend* cannot run tasks any more."""
        pilots = getattr(backend, "pilot_manager", None)
        if pilots is None:
            return

        def look(pilot: Any, state: Any) -> None:
            if state in ("DONE", "FAILED", "CANCELED"):
                lost(f"{pilot.uid} is {state}")

        pilots.register_callback(look)

    async def places(self, backend: Any) -> int | None:
        """Return how many tasks it runs at once; None for any number."""
        if self.way.place == "nowhere":
            return None
        workers = getattr(getattr(backend, "executor", None), "_max_workers", None)
        if isinstance(workers, int):
            return workers
        client = self._client or getattr(backend, "_client", None)
        if client is not None and hasattr(client, "scheduler"):
            workers = (await client.scheduler.identity())["workers"].values()
            return sum(worker["nthreads"] for worker in workers) or None
        cores = getattr(backend, "resources", None)
        if isinstance(cores, Mapping) and isinstance(cores.get("cores"), int):
            return int(cores["cores"])
        return usable_cores()


def field_of(task: Any, name: str) -> Any:
    """Return a field of what RHAPSODY tells about a task: a dictionary, or an object."""
    return task.get(name) if isinstance(task, Mapping) else getattr(task, name, None)


def reason_of(task: Any, default: str) -> str:
    """Return why a task of RHAPSODY has failed, as far as it says."""
    error = field_of(task, "exception")
    if isinstance(error, BaseException):
        return safe_str(error)
    return str(error or field_of(task, "stderr") or default)


def known_names() -> list[str]:
    """Return the names of all backends that RHAPSODY offers, whether they can be used or not."""
    from rhapsody.backends import BackendRegistry

    return sorted({*BackendRegistry.list_backends(), *_published()} - _PROMPTS)


def _published() -> dict[str, importlib.metadata.EntryPoint]:
    return {one.name: one for one in importlib.metadata.entry_points(group=GROUP)}


def _load(name: str) -> Any:
    """Return the class of the backend *name*."""
    from rhapsody.backends import BackendRegistry

    if name in _PROMPTS:
        raise ConfigurationError(
            f"RHAPSODY's backend {name!r} answers prompts inside of a Dragon runtime; run it as a "
            "service of its own (use_service=True), and have the backend 'inference' ask that"
        )
    try:
        if (published := _published().get(name)) is not None:
            return published.load()
        if name in BackendRegistry.list_backends():
            return BackendRegistry.get_backend_class(name)
    except (ImportError, AttributeError) as error:
        raise BackendNotFoundError(
            f"RHAPSODY's backend {name!r} cannot be imported: {safe_str(error)}"
        ) from error
    known = known_names()
    near = close_matches(name, known)
    raise BackendNotFoundError(
        f"RHAPSODY has no backend {name!r}"
        + (f"; did you mean {near[0]!r}?" if near else "")
        + f" It has: {', '.join(known)}"
    )


def _way_of(made: type) -> Way:
    for base in made.__mro__:
        if base.__module__.startswith("rhapsody.") and base.__name__ in _WAYS:
            return _WAYS[base.__name__]
    return _UNKNOWN


def _is_importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it is missing
        return False


def _checked_options(made: type, settings: RhapsodyConfig) -> dict[str, Any]:
    """Return the options of *settings*.

    Raises:
        ConfigurationError: *made* does not take them.
    """
    taken = inspect.signature(made).parameters
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in taken.values()):
        return settings.options
    names = [name for name in taken if name != "name"]
    if unknown := [name for name in settings.options if name not in names]:
        raise ConfigurationError(
            f"options: RHAPSODY's backend {settings.backend!r} takes no "
            f"{', '.join(map(repr, unknown))}; it takes: {', '.join(names) or 'none'}"
        )
    return settings.options


def _is_process_pool(executor: Any) -> bool:
    """Return whether functions on *executor* run in other processes, as far as is known."""
    return isinstance(executor, Executor) and not isinstance(executor, ThreadPoolExecutor)


def _executor(settings: RhapsodyConfig) -> Executor:
    workers = settings.max_workers or usable_cores()
    if settings.executor_type == "process":
        return ProcessPoolExecutor(workers)
    return ThreadPoolExecutor(workers, thread_name_prefix="rhapsody")


def _dask_client(resources: Mapping[str, Any]) -> Any:
    from distributed import Client

    return Client(asynchronous=True, **resources)
