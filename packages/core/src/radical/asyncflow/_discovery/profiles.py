"""Profiles: the backends, with their settings, for a program that names none.

Profiles are read from the nearest ``asyncflow.toml``, in the current folder or above it
(or from the file that ``ASYNCFLOW_CONFIG`` names), then from the user's own
``$XDG_CONFIG_HOME/asyncflow/asyncflow.toml``, then from plugins (profiles of a site): those of
the entry points in ``radical.asyncflow.profiles``, each of which has the name of its profile, then
those of the hook ``asyncflow_profiles``.
A file that was found, and not named, is passed over if others could have written it.
Of two profiles with one name the first counts::

    default = "laptop"

    [profiles.laptop]
    backend = "concurrent"
    config = { max_workers = 4 }

    [profiles.cluster]
    backends = [
        { backend = "dask", config = { scheduler = "tcp://head:8786" } },
        { backend = "concurrent", name = "local" },
    ]

    [profiles.anywhere]
    prefer = ["radical_pilot", { backend = "dask", config = { n_workers = 4 } }, "concurrent"]

The last one has one backend: the first of the list that can be used.  Beside a ``backend``
there may be a ``container``, an image or a table, in which the commands of its tasks run.
A file with a single profile may have ``backend``, ``config`` and ``container``, or ``prefer``,
at its top; that profile is the default.
"""

from __future__ import annotations

import logging
import os
import stat
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from .._groups import PROFILE_GROUP
from .._text import closest, safe_str
from ..errors import AsyncFlowError, ConfigurationError, PluginBrokenError
from ..model import Container
from .registry import registry
from .settings import BACKEND, CONFIG, PROFILE, inherited, overlay, parse_settings
from .trust import reason_for_distrust

__all__ = ["Choice", "Profile", "Profiles", "files", "load", "preferred", "resolve"]

FILE = "asyncflow.toml"
FALLBACK_BACKEND = "concurrent"

_KEYS = ("backend", "backends", "prefer", "config", "container")
"""The keys of a profile."""

_log = logging.getLogger("radical.asyncflow")


class Choice(NamedTuple):
    """A backend to create: ``create(choice.name, choice.config)``.

    Attributes:
        instead: those to take in its place, in this order, if it cannot be used.
        container: that in which the commands of its tasks run, unless they have another.
    """

    name: str
    config: Mapping[str, Any]
    instead: tuple[Choice, ...] = ()
    container: Container | None = None

    @property
    def instance(self) -> str:
        """The name by which tasks ask for it."""
        return str(self.config.get("name", self.name))

    @property
    def candidates(self) -> tuple[Choice, ...]:
        """This choice and those to take in its place, the preferred one first."""
        return (self._replace(instead=()), *self.instead)


class Profile(NamedTuple):
    """A named choice of backends; the first is the default of the engine."""

    name: str
    choices: tuple[Choice, ...]
    source: str
    """The file or plugin that it comes from."""


@dataclass
class Profiles:
    """All profiles that are visible from the current folder."""

    default: str | None = None
    profiles: dict[str, Profile] = field(default_factory=dict)

    def add(self, default: str | None, profiles: Iterable[Profile]) -> None:
        """Add the profiles of one source; earlier profiles with the same name stay."""
        self.default = self.default or default
        for profile in profiles:
            self.profiles.setdefault(profile.name, profile)

    def add_site(self) -> None:
        """Add the profiles of plugins; those that are wrong are left out, with a warning."""
        for declaration, given in registry.named.load_all(PROFILE_GROUP):
            self._add_plugin(declaration.title, partial(_table, declaration.name, given))
        self.add_hooks()

    def add_hooks(self) -> None:
        """Add the profiles that plugins give through their hook."""
        for plugin, hook in registry.hooks("asyncflow_profiles"):
            self._add_plugin(plugin, hook)

    def _add_plugin(self, plugin: str, make: Callable[[], Any]) -> None:
        source = f"plugin {plugin}"
        try:
            self.add(None, _read({"profiles": make()}, source)[1])
        except Exception as error:
            _log.warning("profiles of %s are left out: %s", source, error, exc_info=error)

    def __getitem__(self, name: str) -> Profile:
        """Return the profile *name*; of those that plugins declare by name, import only this one.

        Raises:
            ConfigurationError: there is no such profile, or it is wrong.
            PluginError: the plugin that declares it cannot be used.
        """
        if name in self.profiles:
            return self.profiles[name]
        declared = registry.named.found(PROFILE_GROUP)
        if name in declared:
            made = _call(name, registry.named.load(PROFILE_GROUP, name))
            source = declared[name].source
            assert source is not None
            self.add(None, _read({"profiles": {name: made}}, f"plugin {source.title}")[1])
        else:
            self.add_hooks()
        if name not in self.profiles:
            names = [*self.profiles, *declared]
            known = ", ".join(names) or f"none; write them into {FILE}"
            raise ConfigurationError(f"no profile {name!r}{closest(name, names)} (known: {known})")
        return self.profiles[name]


def _table(name: str, given: Any) -> dict[str, Any]:
    return {name: _made(given)}


def _made(given: Any) -> Any:
    """Return the table of a profile, which a plugin gave as a table or as a function."""
    return given if isinstance(given, Mapping) else given()


def _call(name: str, given: Any) -> Any:
    """Do the same for the profile *name*, and raise what the plugin raises as an error of it."""
    try:
        return _made(given)
    except AsyncFlowError:
        raise
    except Exception as error:
        raise PluginBrokenError(f"the profile {name} does not work: {safe_str(error)}") from error


def load() -> Profiles:
    """Return the profiles of the files; those of plugins are added when a name is missing.

    Raises:
        ConfigurationError: a file cannot be read, is not TOML, or has mistakes, which the
            message names all.
    """
    profiles = Profiles()
    for path in files():
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{path} is not TOML: {error}") from error
        profiles.add(*_read(document, str(path)))
    return profiles


def files() -> list[Path]:
    """Return the files that hold profiles, the nearest first.

    One that others could have written is left out, with a warning, unless the user named it.
    """
    named = os.environ.get(CONFIG)
    files = [Path(named)] if named else list(islice(filter(_may_be_obeyed, _nearest()), 1))
    user = _of_user()
    if user is not None and user not in files and _may_be_obeyed(user):
        files.append(user)
    return files


def _nearest() -> Iterator[Path]:
    """Yield where a file may lie: the current folder, if it still exists, and those above."""
    try:
        here = Path.cwd()
    except OSError as error:
        _log.debug("there is no current folder, so no %s in it: %s", FILE, error)
        return
    for folder in (here, *here.parents):
        yield folder / FILE


def _of_user() -> Path | None:
    """Return where the user's own file lies; None for a user without a home."""
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    try:
        return Path(home).expanduser().absolute() / "asyncflow" / FILE
    except (OSError, RuntimeError) as error:
        _log.debug("this user has no folder for an %s: %s", FILE, error)
        return None


def _may_be_obeyed(path: Path) -> bool:
    """Tell whether *path* is a file that only this user and root could have written.

    Where it is not, a warning says so, once.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        reason = reason_for_distrust(path)
    except OSError as error:
        _log.debug("%s is not looked at: %s", path, error)
        return False
    if reason is None:
        return True
    if (path, reason) not in _passed_over:
        _passed_over.add((path, reason))
        _log.warning(
            "%s is passed over, because %s, and such a file may run programs; if it is right, "
            "name it yourself: asyncflow run --config FILE, or %s=FILE",
            path,
            reason,
            CONFIG,
        )
    return False


_passed_over: set[tuple[Path, str]] = set()
"""The files of which a warning was given, and why."""


def _read(document: Mapping[str, Any], source: str) -> tuple[str | None, list[Profile]]:
    """Return the name of the default and the profiles of one document."""
    problems: list[str] = []
    _check_keys(document, ("default", "profiles", *_KEYS), "", problems)
    default = document.get("default")
    if not isinstance(default, str | None):
        problems.append(f"default must be the name of a profile, not {default!r}")
    tables = document.get("profiles", {})
    if not isinstance(tables, Mapping):
        problems.append(f"profiles must be a table of profiles, not {tables!r}")
        tables = {}
    tables = {str(name): table for name, table in tables.items()}
    single = {key: document[key] for key in _KEYS if key in document}
    if single:
        if default is not None:
            problems.append("a file with a backend at its top cannot have a default too")
        default = source
        tables[source] = single
    profiles = [
        Profile(
            name, _choices(table, "" if name == source else f"profiles.{name}", problems), source
        )
        for name, table in tables.items()
    ]
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise ConfigurationError(f"{source}:{lines}")
    return default, profiles


def _choices(table: Any, where: str, problems: list[str]) -> tuple[Choice, ...]:
    if not isinstance(table, Mapping):
        problems.append(f"{where} must be a table, not {table!r}")
        return ()
    if "backends" not in table:
        return tuple(_choice(table, where, problems))
    _check_keys(table, ("backends",), where, problems)
    entries = table["backends"]
    if not isinstance(entries, Sequence) or isinstance(entries, str) or not entries:
        problems.append(f"{_at(where, 'backends')} must be a list of tables, not {entries!r}")
        return ()
    choices = [
        choice
        for index, entry in enumerate(entries)
        for choice in _choice(entry, f"{_at(where, 'backends')}[{index}]", problems)
    ]
    names = [one.instance for choice in choices for one in choice.candidates]
    problems += (
        f"{_at(where, 'backends')}: two backends are named {name!r}: give one of them a name"
        for name in _twice(names)
    )
    return tuple(choices)


def _choice(table: Any, where: str, problems: list[str]) -> list[Choice]:
    """Return the choice of *table* in a list, which is empty if the table is wrong."""
    if not isinstance(table, Mapping):
        problems.append(f"{where} must be a table, not {table!r}")
        return []
    if "prefer" in table:
        return _preference(table, where, problems)
    before = len(problems)
    _check_keys(table, ("backend", "name", "config", "container"), where, problems)
    container = None
    if "container" in table:
        try:
            container = Container.of(table["container"])
        except ConfigurationError as error:
            problems.append(f"{where}: {error}" if where else str(error))
    backend, name, config = table.get("backend"), table.get("name"), table.get("config", {})
    if not isinstance(backend, str) or not backend:
        missing = "backend" not in table
        wrong = "is missing" if missing else f"must be the name of a backend, not {backend!r}"
        problems.append(f"{_at(where, 'backend')} {wrong}")
    if name is not None and (not isinstance(name, str) or not name):
        problems.append(f"{_at(where, 'name')} must be a string, not {name!r}")
    if not isinstance(config, Mapping):
        problems.append(f"{_at(where, 'config')} must be a table, not {type(config).__name__}")
    if len(problems) > before:
        return []
    settings = {**config, "name": name} if name else dict(config)
    return [Choice(str(backend), settings, container=container)]


def _preference(table: Mapping[str, Any], where: str, problems: list[str]) -> list[Choice]:
    """Return the choice of a *table* that lists backends in the order of preference."""
    before = len(problems)
    _check_keys(table, ("prefer",), where, problems)
    entries = table["prefer"]
    where = _at(where, "prefer")
    if not isinstance(entries, Sequence) or isinstance(entries, str) or not entries:
        problems.append(f"{where} must be a list of names and tables, not {entries!r}")
        return []
    found = [
        choice
        for index, entry in enumerate(entries)
        for choice in _choice(
            {"backend": entry} if isinstance(entry, str) else entry, f"{where}[{index}]", problems
        )
    ]
    if any(choice.instead for choice in found):
        problems.append(f"{where}: a list of preference cannot hold another one")
    names = [choice.instance for choice in found]
    problems += (f"{where}: {name!r} is there twice" for name in _twice(names))
    if len(problems) > before:
        return []
    first, *instead = found
    return [first._replace(instead=tuple(instead))]


def _twice(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


def _check_keys(
    table: Mapping[str, Any], known: tuple[str, ...], where: str, problems: list[str]
) -> None:
    problems += (
        f"unknown key {_at(where, str(key))!r}{closest(str(key), known)}"
        for key in table
        if key not in known
    )


def _at(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def resolve(
    backend: str | None = None,
    config: Mapping[str, Any] | None = None,
    profile: str | None = None,
    overrides: Iterable[str] = (),
) -> list[Choice]:
    """Return the backends to create; the first is the default.

    The first of these that is given decides: *backend*, ``ASYNCFLOW_BACKEND``, *profile*,
    ``ASYNCFLOW_PROFILE``, the default of the files, and at last ``concurrent``.  A backend
    that is chosen by name takes its settings from the chosen profile, if it is part of it.
    Several names, with commas between them, are in the order of preference.

    These override the settings, each the one before: *config*, ``ASYNCFLOW_SET`` (unless
    *backend* is given), and *overrides*, which are texts as for `parse_settings`.  If there
    are several backends, or some to take in place of another, the first key of such a
    setting is the name of one.

    Raises:
        ConfigurationError: a file, a profile or a setting is wrong.
    """
    named = backend or os.environ.get(BACKEND)
    asked = profile or os.environ.get(PROFILE)
    if named:
        choices = [preferred(named, load()[asked] if asked else None)]
    else:
        profiles = load()
        asked = asked or profiles.default
        choices = list(profiles[asked].choices) if asked else [Choice(FALLBACK_BACKEND, {})]
    settings = parse_settings(overrides)
    outer = inherited()
    if backend is None:
        settings = overlay(outer, settings)
    elif outer:
        _log.warning(
            "the program itself names the backend %r, so the settings of --set and ASYNCFLOW_SET "
            "are not used: %s; leave the name out there, or give the settings there",
            backend,
            ", ".join(outer),
        )
    if len(choices) == 1:
        only = choices[0]
        if only.instead:
            return _spread([only], overlay(config or {}, settings))
        laid = overlay({**only.config, **(config or {})}, settings)
        return [only._replace(config=laid)]
    if config:
        raise ConfigurationError(
            f"config= is for one backend, but profile {asked!r} has {len(choices)}: "
            "name a backend, or write the settings into the profile"
        )
    return _spread(choices, settings)


def preferred(names: str, profile: Profile | None = None) -> Choice:
    """Return the choice that *names* says: one name, or several with commas between them.

    Raises:
        ConfigurationError: a name is empty, or there twice.
    """
    words = [name.strip() for name in names.split(",")]
    if len(words) == 1:
        return _named(names, profile)
    if not all(words):
        raise ConfigurationError(f"backend {names!r} has a comma without a name on both sides")
    if twice := _twice(words):
        raise ConfigurationError(f"backend {names!r} has {twice[0]!r} twice")
    first, *instead = (_named(word, profile) for word in words)
    return first._replace(instead=tuple(instead))


def _named(backend: str, profile: Profile | None) -> Choice:
    for choice in profile.choices if profile else ():
        for one in choice.candidates:
            if backend in (one.name, one.instance):
                return one
    return Choice(backend, {})


def _spread(choices: Sequence[Choice], settings: Mapping[str, Any]) -> list[Choice]:
    """Return *choices*, each with the *settings* below its own name."""
    names = [one.instance for choice in choices for one in choice.candidates]
    for key, value in settings.items():
        if key not in names or not isinstance(value, Mapping):
            raise ConfigurationError(
                f"setting {key!r}: say which backend it is for, as {names[0]}.key=value "
                f"(backends: {', '.join(names)})"
            )

    def laid_over(choice: Choice) -> Choice:
        return choice._replace(
            config=overlay(choice.config, settings.get(choice.instance, {})),
            instead=tuple(map(laid_over, choice.instead)),
        )

    return [laid_over(choice) for choice in choices]
