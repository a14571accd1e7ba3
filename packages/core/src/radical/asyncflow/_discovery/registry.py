"""List the backends that are installed, and load a backend when somebody asks for it by name."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakValueDictionary

import pluggy

from .._groups import BACKEND_GROUP, PLUGIN_GROUP
from .._reference import load_reference
from .._text import safe_str
from ..backend import API_VERSION, BackendSpec, Capabilities, ExecutionBackend
from ..backend._portability import ROWS, declared_refusal
from ..backend._sharing import MADE_OF
from ..config import check_model, merge, schema, validate
from ..errors import (
    AsyncFlowError,
    BackendBrokenError,
    BackendError,
    BackendNotFoundError,
    BackendStartError,
    ConfigurationError,
)
from ..version import __version__
from .catalogue import ListedPlugin, list_plugins
from .declared import (
    ContractError,
    Registration,
    as_plain_dict,
    check_declared,
    check_factory,
    make_backend,
)
from .listing import BackendInfo, BackendListing, ListedBackend, broken, unavailable
from .lookup import load_declared, select
from .metadata import (
    AVAILABLE,
    OFFICIAL,
    Availability,
    Declaration,
    Status,
    check_distribution,
    check_requirements,
    scan,
)
from .named import NamedPlugins
from .plugins import Plugins

__all__ = ["Registry", "registry"]


class Registry:
    """The backends and plugins that this process can see.

    Any thread may call any method.  Listing reads metadata only.  A plugin is imported when
    somebody asks for its backend; if that fails, the failure is remembered until `refresh`, or
    until another version of its distribution is installed.

    Attributes:
        named: the plugins that are no backends, and that users ask for by name.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._registered: dict[str, Registration] = {}
        self._adopted: WeakValueDictionary[int, ExecutionBackend] = WeakValueDictionary()
        self.refresh()

    def refresh(self) -> None:
        """Do what `radical.asyncflow.registry.refresh` says."""
        with self._lock:
            importlib.invalidate_caches()
            self._plugins = Plugins()
            self.named = NamedPlugins()
            self._specs: dict[Declaration | Registration, BackendSpec] = {}
            self._failures: dict[Declaration | Registration, Availability] = {}

    def register_backend(
        self,
        name: str,
        factory: str | Callable[..., ExecutionBackend],
        *,
        summary: str = "",
        config_model: str | type | None = None,
        capabilities: Capabilities | None = None,
    ) -> None:
        """Do what `radical.asyncflow.registry.register_backend` says."""
        _check_name(name)
        check_factory(name, factory)
        with self._lock:
            if name in self._registered:
                raise ConfigurationError(
                    f"backend {name!r} is registered already; call unregister_backend first"
                )
            self._registered[name] = Registration(
                name, factory, summary, config_model, capabilities
            )

    def unregister_backend(self, name: str) -> None:
        """Do what `radical.asyncflow.registry.unregister_backend` says."""
        with self._lock:
            source = self._registered.pop(name, None)
            if source is None:
                raise BackendNotFoundError(f"Backend {name!r} was not registered by this program.")
            self._specs.pop(source, None)
            self._failures.pop(source, None)

    def list_available_backends(self) -> dict[str, BackendInfo]:
        """Do what `radical.asyncflow.registry.list_available_backends` says."""
        return BackendListing({listed.name: listed.info() for listed in self._all_listed()})

    def get_backend_spec(self, name: str) -> BackendSpec:
        """Do what `radical.asyncflow.registry.get_backend_spec` says."""
        return self._find(name)[1]

    def load_factory(self, name: str) -> Callable[..., ExecutionBackend]:
        """Load the class, or another callable, that makes instances of the backend *name*.

        Raises:
            BackendError: see `get_backend_spec`.
        """
        source, spec = self._find(name)
        factory: Callable[..., ExecutionBackend] = self._load(source, spec.factory)
        return factory

    def check_settings(self, name: str, config: Mapping[str, Any]) -> None:
        """Check *config* as `create` does, and make nothing.

        Raises:
            BackendError: see `get_backend_spec`.
            ConfigurationError: the settings are wrong; the error lists every problem.
        """
        source, spec = self._find(name)
        settings = {key: value for key, value in config.items() if key != "name"}
        validate(self._model(source, spec), settings, backend=name)

    def create(
        self, name: str, /, config: Mapping[str, Any] | None = None, **more: Any
    ) -> ExecutionBackend:
        """Make an instance of the backend *name*, which is not started.

        The settings are *config* and *more* together.  A ``name`` among them is the name of the
        instance itself, for an engine with several backends of one kind.

        Raises:
            BackendError: see `get_backend_spec`; or the instance could not be made.
            ConfigurationError: the settings are wrong; the error lists every problem.
        """
        source, spec = self._find(name)
        settings = merge(config, more, backend=name)
        own_name = settings.pop("name", name)
        if not isinstance(own_name, str) or not own_name:
            raise ConfigurationError(
                f"config of backend {name!r}: 'name' must be a string that is not empty, "
                f"not {own_name!r}"
            )
        model = self._model(source, spec)
        factory = self._load(source, spec.factory)
        called = ""
        try:
            values = validate(model, settings, backend=name)
            called = "name=" if model is None else f"the {model.__name__} and name="
            backend = make_backend(factory, values, own_name)
        except AsyncFlowError:
            raise
        except Exception as error:
            text = f"Backend {name!r} could not be made: {safe_str(error)}"
            if called and isinstance(error, TypeError):
                text += f" (its factory is called with {called})"
            raise BackendStartError(text) from error
        if not isinstance(backend, ExecutionBackend):
            raise BackendBrokenError(
                f"Backend {name!r}: its factory must return an ExecutionBackend, "
                f"not {type(backend).__name__}"
            )
        return backend

    def adopt(self, foreign: object) -> ExecutionBackend | None:
        """Return the backend that a plugin makes of *foreign*; None if no plugin knows it.

        As long as that backend is not shut down, the same object gives it again, so that several
        engines can use it.

        All backends' plugins are loaded, and none of the backends; those that do not load are
        left out.

        Raises:
            BackendBrokenError: a plugin that knows it returned something else.
            Exception: whatever a plugin raises.
        """
        with self._lock:
            known = self._adopted.get(id(foreign))
            if known is not None and not known.is_shut_down and vars(known)[MADE_OF] is foreign:
                return known
            for listed in self._all_listed():
                if listed.is_available:
                    with suppress(BackendError):  # which is remembered
                        self._find(listed.name)
            adopt = self._plugins.load().hook.asyncflow_adopt_backend
        backend = adopt(backend=foreign)
        if backend is not None and not isinstance(backend, ExecutionBackend):
            raise BackendBrokenError(
                f"a plugin took a {type(foreign).__name__}, and returned no ExecutionBackend but "
                f"a {type(backend).__name__}"
            )
        if backend is not None:
            with self._lock:
                vars(backend)[MADE_OF] = foreign  # so that no other object gets its id
                self._adopted[id(foreign)] = backend
        return backend

    def describe(self, name: str) -> dict[str, Any]:
        """Do what `radical.asyncflow.registry.describe` says."""
        details: dict[str, Any] = {}
        try:
            source, spec = self._find(name)
            model = self._model(source, spec)
            details = {
                "capabilities": as_plain_dict(spec.capabilities),
                "requirements": list(spec.requirements),
                "api_version": _dotted(spec.api_version),
                "config_schema": schema(model) if model else None,
                "tasks": {row.title: declared_refusal(row, spec.capabilities) for row in ROWS},
            }
        except BackendError:
            # A known backend that does not load: its line in the list says why.
            if not self._listed(name).is_known:
                raise
        return {
            "name": name,
            **self._listed(name).info(),
            **details,
            "core_version": __version__,
            "core_api_version": _dotted(API_VERSION),
        }

    def load_plugins(self) -> pluggy.PluginManager:
        """Load the group ``radical.asyncflow.plugins``, once.

        A plugin that does not load is logged as a warning and left out.
        """
        with self._lock:
            return self._plugins.load()

    def hooks(self, hook: str) -> list[tuple[str, Callable[..., Any]]]:
        """Return the implementations of *hook*, each with the name of its plugin.

        The caller can then guard each call; pluggy's own call ends at the first that raises.
        """
        with self._lock:
            return self._plugins.hooks(hook)

    def list_plugins(self, *, load: bool = False) -> list[ListedPlugin]:
        """Return all installed plugins and backends, in every group.

        Args:
            load: import each of them, so that those that fail are seen.
        """
        with self._lock:
            return list_plugins(self._load_and_check if load else self._check, self._is_loaded)

    def _check(self, source: Declaration) -> Availability:
        """Return what is known to be wrong with *source*, without loading it."""
        if source.group == BACKEND_GROUP:
            return self._availability(source)
        if source.group == PLUGIN_GROUP:
            return self._plugins.failures.get(source) or check_distribution(source)
        return self.named.availability(source)

    def _load_and_check(self, source: Declaration) -> Availability:
        if source.group == PLUGIN_GROUP:
            self._plugins.load()
        elif source.group != BACKEND_GROUP:
            return self.named.availability(source, load=True)
        elif self._availability(source) == AVAILABLE:
            with suppress(BackendError):  # which is remembered
                self.load_factory(source.name)
        return self._check(source)

    def _is_loaded(self, source: Declaration) -> bool:
        if source.group == BACKEND_GROUP:
            return source in self._specs
        if source.group == PLUGIN_GROUP:
            return self._plugins.has(source)
        return self.named.is_loaded(source)

    def _all_listed(self) -> list[ListedBackend]:
        with self._lock:
            found = _declarations()
            others = sorted({*found, *self._registered} - {*OFFICIAL})
            listed = [self._look_up(name, found.get(name, [])) for name in (*OFFICIAL, *others)]
            return [one for one in listed if one.is_known]

    def _listed(self, name: str) -> ListedBackend:
        with self._lock:
            found = [] if name in self._registered else _declarations().get(name, [])
            return self._look_up(name, found)

    def _look_up(self, name: str, found: list[Declaration]) -> ListedBackend:
        registered = self._registered.get(name)
        if registered is not None:
            return ListedBackend(name, registered, self._availability(registered))
        source, availability = select("backend", name, found)
        if source is not None and availability == AVAILABLE:
            availability = self._availability(source)
        elif not found and name in OFFICIAL:
            availability = availability._replace(hint=OFFICIAL[name].hint)
        return ListedBackend(name, source, availability)

    def _availability(self, source: Declaration | Registration) -> Availability:
        if source in self._failures:
            return self._failures[source]
        availability = check_distribution(source) if isinstance(source, Declaration) else AVAILABLE
        spec = self._specs.get(source)
        if spec is None or availability.status is not Status.AVAILABLE:
            return availability
        return check_requirements(spec.requirements, f"backend {source.name!r}")

    def _find(self, name: str) -> tuple[Declaration | Registration, BackendSpec]:
        _check_name(name)
        with self._lock:
            source, availability = self._listed(name)[1:]
            if source is not None and source not in self._specs and availability == AVAILABLE:
                with self._guard(source):
                    self._specs[source] = self._declared(source)
                availability = self._availability(source)
            if source is None or availability.status is not Status.AVAILABLE:
                raise unavailable(ListedBackend(name, source, availability), self._all_listed())
            return source, self._specs[source]

    def _declared(self, source: Declaration | Registration) -> BackendSpec:
        if isinstance(source, Registration):
            return source.spec()
        plugin = load_declared(source)
        return check_declared(self._plugins.backend(f"backend {source.title}", plugin), source)

    def _load(self, source: Declaration | Registration, reference: Any) -> Any:
        """Load the object behind ``"module:Class"``; return any other *reference* as it is."""
        if not isinstance(reference, str):
            return reference
        with self._lock, self._guard(source, f"its factory is {reference!r}"):
            return load_reference(reference)

    def _model(self, source: Declaration | Registration, spec: BackendSpec) -> type | None:
        if spec.config_model is None:
            return None
        with self._lock, self._guard(source, f"its config_model is {spec.config_model!r}"):
            return check_model(spec.config_model)

    @contextmanager
    def _guard(self, source: Declaration | Registration, what: str = "") -> Iterator[None]:
        """Remember an error that foreign code raises, and raise it as a `BackendError`.

        A SystemExit at import is a failure of the plugin too; only a KeyboardInterrupt is not.

        Args:
            what: a text that says what is loaded, if it is not the plugin itself.
        """
        try:
            yield
        except KeyboardInterrupt:
            raise
        except ContractError as error:
            availability = Availability(Status.INCOMPATIBLE, str(error), error.hint)
        except BaseException as error:
            availability = broken(source, error, what)
        else:
            return
        self._failures[source] = availability
        raise unavailable(ListedBackend(source.name, source, availability), self._all_listed())


def _declarations() -> dict[str, list[Declaration]]:
    """Return the installed declarations by the name of their backend."""
    found: dict[str, list[Declaration]] = {}
    for declaration in scan(BACKEND_GROUP):
        found.setdefault(declaration.name, []).append(declaration)
    return found


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not name.strip():
        raise ConfigurationError(
            f"the name of a backend must be a string that is not empty, not {name!r}"
        )


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


registry = Registry()
"""The registry that the engine, the factory and the command line use."""
