"""Which backends there are, and how one is loaded: by name, when it is asked for."""

from __future__ import annotations

import difflib
import importlib
import logging
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypedDict

import pluggy

from . import hookspecs
from ._config import merge, validate
from ._discovery import (
    AVAILABLE,
    DISABLE,
    OFFICIAL,
    Declaration,
    Status,
    Verdict,
    is_disabled,
    judge,
    judge_requirements,
    load_reference,
    scan,
)
from .backend import API_VERSION, BackendSpec, Capabilities, ExecutionBackend
from .errors import (
    AsyncFlowError,
    BackendBrokenError,
    BackendError,
    BackendIncompatibleError,
    BackendNotFoundError,
    BackendStartError,
    ConfigurationError,
)
from .version import __version__

__all__ = ["BackendInfo", "Registry", "registry"]

_log = logging.getLogger("radical.asyncflow")
_ERRORS: Mapping[Status, type[BackendError]] = {
    Status.NOT_INSTALLED: BackendNotFoundError,
    Status.MISSING_DEPENDENCY: BackendNotFoundError,
    Status.INCOMPATIBLE: BackendIncompatibleError,
    Status.BROKEN: BackendBrokenError,
}


class BackendInfo(TypedDict):
    """One backend in `Registry.list_available_backends`.

    ``distribution`` and ``version`` are None for a backend that is not installed, or
    was registered by this program; ``failure_reason`` is None for an available one.
    """

    available: bool
    installation_hint: str
    status: str
    distribution: str | None
    version: str | None
    summary: str
    failure_reason: str | None


class _Registration(NamedTuple):
    """A backend that this program registered."""

    name: str
    factory: str | Callable[..., ExecutionBackend]
    summary: str
    config_model: str | type | None
    capabilities: Capabilities | None


class _Entry(NamedTuple):
    """A name, what stands behind it (None if nothing does), and what can be said of it."""

    name: str
    source: Declaration | _Registration | None
    verdict: Verdict

    @property
    def summary(self) -> str:
        if self.source is not None:
            return self.source.summary
        return OFFICIAL[self.name].summary if self.name in OFFICIAL else ""

    def info(self) -> BackendInfo:
        status, reason, hint, _ = self.verdict
        installed = self.source if isinstance(self.source, Declaration) else None
        return BackendInfo(
            available=status is Status.AVAILABLE,
            installation_hint=hint,
            status=status.value,
            distribution=installed.distribution if installed else None,
            version=installed.version if installed else None,
            summary=self.summary,
            failure_reason=reason or None,
        )


class Registry:
    """The backends and plugins that this process can see.

    Every method may be called from any thread.  Listing reads metadata only; a plugin
    is imported when its backend is asked for, and a failure of that is remembered
    until `refresh`, or until another version of its distribution is installed.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._registered: dict[str, _Registration] = {}
        self.refresh()

    def refresh(self) -> None:
        """Forget every load, good or failed; what was registered by hand stays."""
        with self._lock:
            importlib.invalidate_caches()
            self._specs: dict[Hashable, BackendSpec] = {}
            self._failures: dict[Hashable, Verdict] = {}
            self._plugins = pluggy.PluginManager(hookspecs.PROJECT)
            self._plugins.add_hookspecs(hookspecs)
            self._plugins_loaded = False

    def register_backend(
        self,
        name: str,
        factory: str | Callable[..., ExecutionBackend],
        *,
        summary: str = "",
        config_model: str | type | None = None,
        capabilities: Capabilities | None = None,
    ) -> None:
        """Make *factory* known as *name*, in this process and before any installed one.

        Args:
            factory: an `ExecutionBackend` class, ``"module:Class"`` for one, or a
                callable; called with the validated settings and ``name=`` as keywords.
            config_model: as in `BackendSpec`; without one the backend takes no settings.
            capabilities: those of the class, if not given.

        Raises:
            ConfigurationError: *name* is registered already, or *factory* cannot be one.
        """
        if not isinstance(name, str) or not name.strip():
            raise ConfigurationError(f"the name of a backend must be a text, not {name!r}")
        _check_factory(name, factory)
        with self._lock:
            if name in self._registered:
                raise ConfigurationError(
                    f"backend {name!r} is registered already; call unregister_backend first"
                )
            self._registered[name] = _Registration(
                name, factory, summary, config_model, capabilities
            )

    def unregister_backend(self, name: str) -> None:
        """Take back `register_backend`.

        Raises:
            BackendNotFoundError: nothing of this name was registered by this program.
        """
        with self._lock:
            source = self._registered.pop(name, None)
            if source is None:
                raise BackendNotFoundError(f"Backend {name!r} was not registered by this program.")
            self._specs.pop(source, None)
            self._failures.pop(source, None)

    def list_available_backends(self) -> dict[str, BackendInfo]:
        """Every known backend by name: ours first, then the others in alphabetical order."""
        return {entry.name: entry.info() for entry in self._entries()}

    def get_backend_spec(self, name: str) -> BackendSpec:
        """What the backend *name* declares; loads its plugin, but not its class.

        Raises:
            BackendNotFoundError: unknown, not installed, or without a requirement.
            BackendBrokenError: it does not load; ``__cause__`` is the real error.
            BackendIncompatibleError: written for another core, contract or Python.
        """
        with self._lock:
            entry = self._entry(name)
            if entry.source is None or entry.verdict.status is not Status.AVAILABLE:
                raise self._unavailable(entry)
            return self._spec(entry.source)

    def create(
        self, name: str, /, config: Mapping[str, Any] | None = None, **more: Any
    ) -> ExecutionBackend:
        """A new instance of the backend *name*, not started.

        The settings are *config* and *more* together.  ``name`` among them is the
        instance's own name, for an engine with several backends of one kind.

        Raises:
            BackendError: as `get_backend_spec`; or the instance could not be made.
            ConfigurationError: names everything that is wrong with the settings.
        """
        spec = self.get_backend_spec(name)
        settings = merge(config, more, backend=name)
        own_name = settings.pop("name", name)
        if not isinstance(own_name, str) or not own_name:
            raise ConfigurationError(
                f"config of backend {name!r}: 'name' must be a text, not {own_name!r}"
            )
        model = self._load(name, spec.config_model)
        factory = self._load(name, spec.factory)
        values = validate(model, settings, backend=name)
        try:
            backend = factory(**values, name=own_name)
        except AsyncFlowError:
            raise
        except Exception as error:
            raise BackendStartError(
                f"Backend {name!r} could not be made: {type(error).__name__}: {error}"
            ) from error
        return _check_instance(name, backend)

    def describe(self, name: str) -> dict[str, Any]:
        """Everything ``asyncflow backends show`` says of *name*, ready for JSON.

        The keys of `BackendInfo`, and for an available backend ``capabilities``,
        ``config_schema`` (JSON schema, or None if it takes no settings),
        ``requirements`` and ``api_version``; these are None for any other.

        Raises:
            BackendNotFoundError: no backend of this name is known.
        """
        details: dict[str, Any] = dict.fromkeys(
            ("capabilities", "config_schema", "requirements", "api_version")
        )
        try:
            spec = self.get_backend_spec(name)
            model = self._load(name, spec.config_model)
            details |= {
                "capabilities": _plain(spec.capabilities),
                "config_schema": model.model_json_schema() if model else None,
                "requirements": list(spec.requirements),
                "api_version": ".".join(map(str, spec.api_version)),
            }
        except BackendError:
            # Known, but out of order: the entry below says why.
            if self._entry(name).source is None and name not in OFFICIAL:
                raise
        return {
            "name": name,
            **self._entry(name).info(),
            **details,
            "core_version": __version__,
            "core_api_version": ".".join(map(str, API_VERSION)),
        }

    def load_plugins(self) -> pluggy.PluginManager:
        """Load the group ``radical.asyncflow.plugins`` once; what is broken is logged and left out."""
        with self._lock:
            if not self._plugins_loaded:
                self._plugins_loaded = True
                for declaration in scan(hookspecs.PLUGIN_GROUP):
                    if not is_disabled(declaration):
                        self._load_plugin(declaration)
            return self._plugins

    def hooks(self, hook: str) -> list[tuple[str, Callable[..., Any]]]:
        """The implementations of *hook*, each with its plugin's name, to be called one by one.

        So that a caller can guard each: pluggy's own call ends at the first that raises.
        """
        caller: pluggy.HookCaller = getattr(self.load_plugins().hook, hook)
        return [(impl.plugin_name, impl.function) for impl in caller.get_hookimpls()]

    def _entries(self) -> list[_Entry]:
        with self._lock:
            found = self._by_name()
            others = sorted({*found, *self._registered} - {*OFFICIAL})
            return [self._judge(name, found.get(name, [])) for name in (*OFFICIAL, *others)]

    def _entry(self, name: str) -> _Entry:
        if name in self._registered:
            return self._judge(name, [])
        return self._judge(name, self._by_name().get(name, []))

    def _by_name(self) -> dict[str, list[Declaration]]:
        found: dict[str, list[Declaration]] = {}
        for declaration in scan(hookspecs.BACKEND_GROUP):
            if not is_disabled(declaration):
                found.setdefault(declaration.name, []).append(declaration)
        return found

    def _judge(self, name: str, found: list[Declaration]) -> _Entry:
        source: Declaration | _Registration | None = self._registered.get(name)
        if source is None:
            found = [one for one in found if one.is_official] or found
            if not found:
                hint = OFFICIAL[name].hint if name in OFFICIAL else ""
                return _Entry(name, None, Verdict(Status.NOT_INSTALLED, hint=hint))
            source = found[0]
            if len(found) > 1:
                labels = " and ".join(one.label for one in found)
                return _Entry(
                    name,
                    source,
                    Verdict(
                        Status.BROKEN,
                        f"{labels} both declare a backend {name!r}",
                        f"Uninstall one of them, or name it in {DISABLE}",
                    ),
                )
        verdict = self._failures.get(source) or (
            judge(source) if isinstance(source, Declaration) else AVAILABLE
        )
        spec = self._specs.get(source)
        if spec is not None and verdict.status is Status.AVAILABLE:
            verdict = judge_requirements(spec.requirements, f"backend {name!r}")
        return _Entry(name, source, verdict)

    def _unavailable(self, entry: _Entry) -> BackendError:
        name, (status, reason, hint, cause) = entry.name, entry.verdict
        entries = self._entries()
        usable = [one.name for one in entries if one.verdict.status is Status.AVAILABLE]
        lines = [f"Backend {name!r} is not available."]
        disabled = next(
            (one for one in scan(hookspecs.BACKEND_GROUP) if one.name == name and is_disabled(one)),
            None,
        )
        if disabled is not None and entry.source is None:
            reason = f"{disabled.label} is disabled by {DISABLE}"
            hint = f"Take it out of {DISABLE}"
        if reason:
            lines.append(f"Reason: {reason}")
        lines.append(f"Available backends: {', '.join(usable) or 'none'}")
        if hint:
            lines.append(f"Installation hint: {hint}")
        elif status is Status.NOT_INSTALLED:
            near = difflib.get_close_matches(name, [one.name for one in entries])
            lines.append(
                f"Closest known names: {', '.join(near)}"
                if near
                else "No known name is close to it."
            )
        error = _ERRORS[status]("\n".join(lines))
        error.__cause__ = cause
        return error

    def _spec(self, source: Declaration | _Registration) -> BackendSpec:
        spec = self._specs.get(source)
        if spec is None:
            with self._guard(source):
                if isinstance(source, Declaration):
                    spec = self._declared(source)
                else:
                    spec = _registered_spec(source)
                self._specs[source] = spec
            entry = self._judge(source.name, [source] if isinstance(source, Declaration) else [])
            if entry.verdict.status is not Status.AVAILABLE:
                raise self._unavailable(entry)
        assert spec is not None
        return spec

    def _load(self, name: str, reference: Any) -> Any:
        """The object behind ``"module:Class"``; anything else is returned as it is."""
        if not isinstance(reference, str):
            return reference
        source = self._entry(name).source
        assert source is not None
        with self._lock, self._guard(source):
            return load_reference(reference)

    @contextmanager
    def _guard(self, source: Declaration | _Registration) -> Iterator[None]:
        """Remember whatever foreign code raises, and raise it as one of our errors.

        SystemExit and the like at import are failures of the plugin; only Ctrl-C is not.
        """
        try:
            yield
        except KeyboardInterrupt:
            raise
        except _ContractError as error:
            verdict = Verdict(Status.INCOMPATIBLE, str(error), error.hint)
        except BaseException as error:
            verdict = _broken(source, error)
        else:
            return
        self._failures[source] = verdict
        raise self._unavailable(_Entry(source.name, source, verdict))

    def _declared(self, declaration: Declaration) -> BackendSpec:
        module = load_reference(declaration.value)
        spec = self._call_own_hook(f"backend {declaration.name} of {declaration.label}", module)
        if not isinstance(spec, BackendSpec):
            raise TypeError(
                f"{declaration.value} has no @hookimpl asyncflow_backend() that returns a "
                f"BackendSpec (got {spec!r})"
            )
        _check_api(spec.api_version, declaration)
        if spec.name != declaration.name:
            raise ValueError(
                f"its spec is named {spec.name!r}, its entry point {declaration.name!r}"
            )
        return spec

    def _call_own_hook(self, title: str, plugin: Any) -> Any:
        """Register *plugin* and call its ``asyncflow_backend``, and no other plugin's."""
        manager = self._plugins
        known = manager.is_registered(plugin)
        self._register(title, plugin)
        try:
            others = [one for one in manager.get_plugins() if one is not plugin]
            return manager.subset_hook_caller("asyncflow_backend", others)()
        except BaseException:
            if not known:
                manager.unregister(plugin)
            raise

    def _register(self, title: str, plugin: Any) -> None:
        """Register *plugin*; raises, and leaves nothing behind, if it has an unknown hook."""
        manager = self._plugins
        if manager.is_registered(plugin):
            return
        try:
            manager.register(plugin, name=title)
            manager.check_pending()
        except BaseException:
            if manager.is_registered(plugin):
                manager.unregister(plugin)
            raise

    def _load_plugin(self, declaration: Declaration) -> None:
        title = f"{declaration.name} of {declaration.label}"
        verdict = judge(declaration)
        cause: BaseException | None = None
        if verdict.status is Status.AVAILABLE:
            try:
                self._register(title, load_reference(declaration.value))
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                cause = error
                verdict = _broken(declaration, error)
        if verdict.status is not Status.AVAILABLE:
            _log.warning("plugin %s is left out: %s", title, verdict.reason, exc_info=cause)


class _ContractError(Exception):
    """The plugin was written for a contract that this core does not speak."""

    def __init__(self, text: str, hint: str) -> None:
        self.hint = hint
        super().__init__(text)


def _broken(source: Declaration | _Registration, error: BaseException) -> Verdict:
    hint = ""
    if isinstance(source, Declaration):
        hint = f"Try: pip install --upgrade '{source.distribution}'"
        if source.is_official:
            hint = OFFICIAL[source.name].hint.replace("install", "install --upgrade", 1)
    return Verdict(Status.BROKEN, f"{type(error).__name__}: {error}".rstrip(": "), hint, error)


def _check_api(version: Any, declaration: Declaration) -> None:
    ours = ".".join(map(str, API_VERSION))
    match version:
        case (int(major), int(minor)):
            pass
        case _:
            raise TypeError(f"its api_version must be two whole numbers, not {version!r}")
    text = f"{declaration.label} was written for version {major}.{minor} of the backend contract"
    if (major, minor) > API_VERSION:
        hint = "Try: pip install --upgrade 'radical.asyncflow'"
        raise _ContractError(f"{text}; this core speaks {ours} and is too old for it", hint)
    if major < API_VERSION[0]:
        hint = f"Try: pip install --upgrade '{declaration.distribution}'"
        raise _ContractError(f"{text}; this core speaks {ours} and is too new for it", hint)


def _check_factory(name: str, factory: Any) -> None:
    if isinstance(factory, str):
        if not all(part.strip() for part in factory.partition(":")):
            raise ConfigurationError(
                f"backend {name!r}: {factory!r} is not of the form 'module:Class'"
            )
    elif isinstance(factory, type) and not issubclass(factory, ExecutionBackend):
        raise ConfigurationError(
            f"backend {name!r}: {factory.__qualname__} is not derived from ExecutionBackend"
        )
    elif not callable(factory):
        raise ConfigurationError(
            f"backend {name!r}: the factory must be a class, a callable or 'module:Class', "
            f"not {factory!r}"
        )


def _registered_spec(source: _Registration) -> BackendSpec:
    factory = source.factory
    capabilities = source.capabilities
    if capabilities is None:
        cls = load_reference(factory) if isinstance(factory, str) else factory
        capabilities = getattr(cls, "capabilities", None)
        if not isinstance(capabilities, Capabilities):
            raise TypeError(f"{factory!r} has no capabilities; pass capabilities= to register it")
    return BackendSpec(
        name=source.name,
        summary=source.summary,
        factory=factory,
        config_model=source.config_model,
        capabilities=capabilities,
    )


def _check_instance(name: str, backend: Any) -> ExecutionBackend:
    if not isinstance(backend, ExecutionBackend):
        raise BackendBrokenError(
            f"Backend {name!r}: its factory must return an ExecutionBackend, "
            f"not {type(backend).__name__}"
        )
    return backend


def _plain(capabilities: Capabilities) -> dict[str, Any]:
    values = {name: getattr(capabilities, name) for name in Capabilities.__dataclass_fields__}
    return {
        name: sorted(map(str, value))
        if isinstance(value, frozenset)
        else list(value)
        if isinstance(value, tuple)
        else value
        for name, value in values.items()
    }


registry = Registry()
"""The one that the engine, the factory and the command line use."""
