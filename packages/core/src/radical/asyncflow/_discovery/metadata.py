"""The installed entry points and their distributions, read from metadata alone.

Nothing here imports a plugin.  Entry points are read one distribution at a time, because
`importlib.metadata.entry_points` raises for all of them if one ``entry_points.txt`` on
the path has a line that it cannot parse.
"""

from __future__ import annotations

import enum
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .._reference import import_path, is_reference
from ..version import __version__

if TYPE_CHECKING:
    from importlib.metadata import Distribution

    from packaging.requirements import Requirement
    from packaging.version import Version

__all__ = [
    "CORE",
    "DISABLE",
    "OFFICIAL",
    "Availability",
    "Declaration",
    "Official",
    "Status",
    "canonical",
    "check_distribution",
    "check_requirements",
    "find_distribution",
    "folder_of",
    "is_disabled",
    "is_local",
    "may_have",
    "scan",
    "upgrade_hint",
]

CORE = "radical.asyncflow"
DISABLE = "ASYNCFLOW_DISABLE_PLUGINS"

_log = logging.getLogger("radical.asyncflow")


class Official(NamedTuple):
    """A backend of this project, which can be listed before it is installed.

    Attributes:
        able: the kinds of task and the resources that it declares, ``"service"`` and
            ``"instances"`` if it runs services, of commands and of functions, and
            ``"priority"`` if it takes one: what is said of it before it is installed.
    """

    distribution: str
    extra: str
    summary: str
    able: tuple[str, ...] = ()

    @property
    def hint(self) -> str:
        """The command that installs it."""
        return f"Try: pip install '{CORE}[{self.extra}]'"


_PARSL_ROWS = (
    *("function", "executable", "cores", "gpus", "memory", "ranks"),
    *("service", "instances", "priority"),
)
OFFICIAL = {
    "noop": Official("asyncflow-backend-noop", "noop", "Runs nothing, for dry runs and tests"),
    "concurrent": Official(
        "asyncflow-backend-concurrent",
        "concurrent",
        "Threads and processes of this machine",
        (
            *("function", "executable", "cores", "gpus", "memory", "ranks"),
            *("service", "instances", "priority"),
        ),
    ),
    "dask": Official(
        "asyncflow-backend-dask",
        "dask",
        "Workers of a Dask cluster",
        (
            *("function", "executable", "cores", "gpus", "memory", "ranks"),
            *("service", "instances", "priority"),
        ),
    ),
    "radical_pilot": Official(
        "asyncflow-backend-radical",
        "radicalpilot",
        "Nodes of an HPC machine, through RADICAL-Pilot",
        ("function", "executable", "cores", "gpus", "memory", "ranks", "service"),
    ),
    "parsl": Official(
        "asyncflow-backend-parsl",
        "parsl",
        "Nodes of a cluster with any batch system, through Parsl",
        _PARSL_ROWS,
    ),
    "slurm": Official(
        "asyncflow-backend-parsl", "parsl", "Nodes of a Slurm cluster, through Parsl", _PARSL_ROWS
    ),
    "pbs": Official(
        "asyncflow-backend-parsl", "parsl", "Nodes of a PBS cluster, through Parsl", _PARSL_ROWS
    ),
    "inference": Official(
        "asyncflow-backend-inference",
        "inference",
        "Prompts, answered by a server for models",
        ("prompt", "priority"),
    ),
    "rhapsody": Official(
        "asyncflow-backend-rhapsody",
        "rhapsody",
        "The backends of RHAPSODY, such as its dask and radical_pilot",
        ("function", "executable", "priority"),
    ),
}


class Status(enum.StrEnum):
    """The state of a backend on this machine."""

    AVAILABLE = "available"
    MISSING_DEPENDENCY = "missing-dependency"
    INCOMPATIBLE = "incompatible"
    NOT_INSTALLED = "not-installed"
    BROKEN = "broken"


class Availability(NamedTuple):
    """A status; unless it is AVAILABLE also the reason, how to fix it, and the original error."""

    status: Status
    reason: str = ""
    hint: str = ""
    cause: BaseException | None = None


AVAILABLE = Availability(Status.AVAILABLE)


@dataclass(frozen=True, slots=True)
class Declaration:
    """One line of an ``entry_points.txt``, with the metadata of its distribution."""

    name: str
    value: str
    distribution: str
    version: str
    summary: str
    requires_python: str
    requires: tuple[str, ...]
    group: str

    @property
    def is_official(self) -> bool:
        """True if this project publishes the distribution."""
        ours = OFFICIAL.get(self.name)
        return ours is not None and canonical(self.distribution) == ours.distribution

    @property
    def label(self) -> str:
        """The distribution and its version, for messages."""
        return f"{self.distribution} {self.version}".rstrip()

    @property
    def title(self) -> str:
        """The name and where it comes from, for messages."""
        return f"{self.name} of {self.label}"


def canonical(distribution: str) -> str:
    """Return the name of a distribution as PEP 503 normalizes it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def scan(*groups: str) -> list[Declaration]:
    """Return every entry point of *groups*, also those that are disabled or invalid.

    Of two distributions with the same name the first on ``sys.path`` counts, and of two in one
    folder the newer one, because an update may leave the metadata of the old version behind.
    Nothing is cached, so a distribution that was installed a moment ago is found.
    """
    from importlib.metadata import distributions

    found: list[Declaration] = []
    seen: set[str] = set()
    everything = list(distributions(path=import_path()))
    for distribution in everything:
        if _folder_name(distribution).startswith("~"):
            continue  # pip moves what it replaces to such a name, and may not come to delete it
        try:
            text = distribution.read_text("entry_points.txt")
        except (OSError, UnicodeError) as error:
            _log.debug("entry points of %r cannot be read: %s", distribution, error)
            continue
        if not text or not any(group in text for group in groups):
            continue
        lines = [(*line, group) for group in groups for line in _section(text, group)]
        if lines:
            facts = _facts(distribution)
            distribution_name = canonical(facts[0])
            if distribution_name not in seen and not _is_left_over(distribution, everything):
                seen.add(distribution_name)
                found += (Declaration(name, value, *facts, group) for name, value, group in lines)
    return found


def may_have(group: str) -> bool:
    """Tell whether some distribution may have entry points of *group*.

    The answer False is certain, and costs a tenth of `scan`: it needs no `importlib.metadata`.
    """
    others = [finder for finder in sys.meta_path if finder is not PathFinder]
    if any(hasattr(finder, "find_distributions") for finder in others):
        return True
    for entry in import_path():
        try:
            with os.scandir(entry or os.curdir) as found:
                names = [each.name for each in found]
        except NotADirectoryError:
            return True  # an archive
        except OSError as error:
            _log.debug("%s holds no distributions: %s", entry, error)
            continue
        if any(name.endswith(".egg") for name in names):
            return True
        folders = [name for name in names if name.endswith((".dist-info", ".egg-info"))]
        if any(_mentions(Path(entry, name, "entry_points.txt"), group) for name in folders):
            return True
    return False


def _mentions(path: Path, group: str) -> bool:
    try:
        return group.encode() in path.read_bytes()
    except OSError:
        return False  # most distributions have no such file


def _folder_name(distribution: Distribution) -> str:
    """Return the name of the folder of the metadata; "" if they lie in none."""
    return str(getattr(getattr(distribution, "_path", None), "name", ""))


def _place(distribution: Distribution) -> str:
    """Return the folder in which *distribution* is installed; "" if it is in none."""
    return str(getattr(getattr(distribution, "_path", None), "parent", ""))


def _is_left_over(distribution: Distribution, everything: Iterable[Distribution]) -> bool:
    """Tell whether the metadata of a newer version lie beside those of *distribution*."""
    name = _folder_name(distribution)
    stem = _stem(name)
    beside = [
        other
        for other in everything
        if _stem(folder := _folder_name(other)) == stem
        and folder != name
        and _place(other) == _place(distribution)
    ]
    if not beside:
        return False
    facts = _facts(distribution)
    own = _comparable(facts[1])
    for other in map(_facts, beside):
        if canonical(other[0]) == canonical(facts[0]) and _comparable(other[1]) > own:
            path = f"{_place(distribution)}/{name}"
            if path not in _left_over:
                _left_over.add(path)
                _log.warning(
                    "%s: the metadata of version %s are passed over, because those of version %s "
                    "lie beside them; %s can be removed",
                    *(facts[0], facts[1], other[1], path),
                )
            return True
    return False


_left_over: set[str] = set()
"""The folders of old metadata of which a warning was given."""


def _stem(folder: str) -> str:
    """Return the name of a distribution as the name of its folder of metadata has it."""
    return folder.removesuffix(".egg-info").partition("-")[0].lower().replace(".", "_")


def _comparable(version: str) -> tuple[int, Version | str]:
    """Return *version* as something to compare; what is no version is older than any that is."""
    from packaging.version import InvalidVersion, Version

    try:
        return 1, Version(version)
    except InvalidVersion:
        return 0, version


def _section(text: str, group: str) -> Iterator[tuple[str, str]]:
    """Yield the names and values below ``[group]``; a value is "" if its line has none."""
    inside = False
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            inside = line[1:].rstrip("]").strip() == group
        elif inside:
            name, _, value = line.partition("=")
            if name.strip():
                yield name.strip(), value.strip()


def _facts(distribution: Distribution) -> tuple[str, str, str, str, tuple[str, ...]]:
    try:
        fields = distribution.metadata
        keys = "Name", "Version", "Summary", "Requires-Python"
        # No get(): the type of metadata has none.  A missing field will be a KeyError.
        facts = [(fields[key] if key in fields else "") or "" for key in keys]  # noqa: SIM401
        # `Distribution.requires` would parse the metadata again; only an egg needs it, which
        # has its requirements in a file of their own.
        requires = tuple(fields.get_all("Requires-Dist") or distribution.requires or ())
    except Exception as error:
        _log.debug("metadata of %r cannot be read: %s", distribution, error)
        facts, requires = ["", "", "", ""], ()
    name, version, summary, python = (str(fact) for fact in facts)
    return name or "a distribution without a name", version, summary, python, requires


def is_disabled(declaration: Declaration) -> bool:
    """Tell whether ``ASYNCFLOW_DISABLE_PLUGINS`` switches *declaration* off.

    ``1`` or ``all`` switches everything off that this project does not publish.  Any other
    value is a list of entry points and distributions, separated by commas.
    """
    setting = os.environ.get(DISABLE, "").strip()
    if setting.lower() in {"1", "all", "true", "yes"}:
        return not declaration.is_official
    words = {word.strip() for word in setting.split(",")} - {""}
    return declaration.name in words or canonical(declaration.distribution) in set(
        map(canonical, words)
    )


def is_local(distribution: str) -> bool:
    """Tell whether *distribution* was installed from a folder (PEP 610), not from an index."""
    return folder_of(distribution) is not None


def folder_of(distribution: str) -> str | None:
    """Return the folder that *distribution* was installed from; None if it was from an index."""
    import json
    from importlib.metadata import PackageNotFoundError
    from urllib.parse import unquote, urlsplit

    try:
        origin = json.loads(find_distribution(distribution).read_text("direct_url.json") or "{}")
        return unquote(urlsplit(origin["url"]).path) if "dir_info" in origin else None
    except (PackageNotFoundError, OSError, ValueError, TypeError, KeyError) as error:
        _log.debug("the origin of %r cannot be read: %s", distribution, error)
        return None


def check_distribution(declaration: Declaration) -> Availability:
    """Check that *declaration* fits this core, this Python and the installed packages."""
    if not is_reference(declaration.value):
        return Availability(
            Status.BROKEN,
            f"{declaration.label} declares the entry point {declaration.value!r}, "
            "which names no module",
            upgrade_hint(declaration.distribution),
        )
    python = ".".join(map(str, sys.version_info[:3]))
    if not _allows(declaration.requires_python, python):
        need = declaration.requires_python
        return Availability(
            Status.INCOMPATIBLE,
            f"{declaration.label} needs Python {need}; this is {python}",
            f"Try: Python {need}",
        )
    official = OFFICIAL[declaration.name].hint if declaration.is_official else ""
    return check_requirements(declaration.requires, declaration.label, hint=official)


def upgrade_hint(distribution: str) -> str:
    """Return what brings a newer *distribution*: an index, or the folder that it came from."""
    folder = folder_of(distribution)
    if folder is not None:
        return f"Try: update {folder}, where it was installed from, and install it again"
    return f"Try: pip install --upgrade '{distribution}'"


def _other_core(wanted: str, specifier: str) -> str:
    """Return what brings a core that fits *specifier*: an index, or the folder it came from."""
    folder = folder_of(CORE)
    if folder is not None:
        return f"Try: get version {specifier} of {folder}, where this one is from, and install it"
    return f"Try: pip install '{wanted}'"


def check_requirements(requirements: Iterable[str], who: str, *, hint: str = "") -> Availability:
    """Check that every requirement that applies here is installed in a version that fits.

    Args:
        who: what has the requirements, for the reason.
        hint: replaces the hint that would name the missing requirements.
    """
    from importlib.metadata import PackageNotFoundError

    missing: list[tuple[str, str]] = []
    cause: PackageNotFoundError | None = None
    for text in requirements:
        need = _applicable(text)
        if need is None:
            continue
        wanted = f"{need.name}{need.specifier}"
        if canonical(need.name) == canonical(CORE):
            if not _allows(str(need.specifier), __version__):
                return Availability(
                    Status.INCOMPATIBLE,
                    f"{who} needs {wanted}; this is {__version__}",
                    _other_core(wanted, str(need.specifier)),
                )
            continue
        try:
            version = _installed(need.name)
        except PackageNotFoundError as error:
            cause = cause or error
            missing.append((wanted, "is not installed"))
        else:
            if not _allows(str(need.specifier), version):
                missing.append((wanted, f"is installed as {version}"))
    if not missing:
        return AVAILABLE
    names = " ".join(f"'{wanted}'" for wanted, _ in missing)
    reason = "; ".join(f"{wanted}, which {how}" for wanted, how in missing)
    return Availability(
        Status.MISSING_DEPENDENCY,
        f"{who} needs {reason}",
        hint or f"Try: pip install {names}",
        cause,
    )


def _installed(name: str) -> str:
    """Return the version of an installed distribution; "" if its metadata has none.

    Raises:
        PackageNotFoundError: it is not installed.
    """
    return str(find_distribution(name).metadata["Version"] or "")


def find_distribution(name: str) -> Distribution:
    """Return the installed distribution *name*; of several in one folder the newest.

    Raises:
        PackageNotFoundError: it is not installed.
    """
    from importlib.metadata import PackageNotFoundError, distributions

    found = list(distributions(name=name, path=import_path()))
    if not found:
        raise PackageNotFoundError(name)
    if len(found) == 1:
        return found[0]
    beside = [one for one in found if _place(one) == _place(found[0])]
    return max(beside, key=lambda one: _comparable(_facts(one)[1]))


def _applicable(text: str) -> Requirement | None:
    """Parse a requirement; return None if it cannot be read or does not apply here.

    A requirement that nobody can read does not count against the plugin: its import will
    show whether it works.
    """
    from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        need = Requirement(text)
        if need.marker is None or need.marker.evaluate({"extra": ""}):
            return need
    except (InvalidRequirement, UndefinedComparison, UndefinedEnvironmentName) as error:
        _log.debug("requirement %r is ignored: %s", text, error)
    return None


def _allows(specifier: str, version: str) -> bool:
    """Tell whether *version* fits *specifier*; True if either of them cannot be read."""
    if not specifier:
        return True
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion

    try:
        return SpecifierSet(specifier).contains(version, prereleases=True)
    except (InvalidSpecifier, InvalidVersion) as error:
        _log.debug("version %r is not compared with %r: %s", version, specifier, error)
        return True
