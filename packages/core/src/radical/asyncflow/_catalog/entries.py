"""The entries of a catalog: what distributions say of themselves and of their plugins.

All of it was written by others.  It is read as text, cut where it is too long, and never run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from email.message import Message
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from .._groups import BACKEND_GROUP, GROUPS
from .._quality.levels import Gap, gaps, level_of
from .._quality.report import MANIFEST, Manifest, Report, own_manifest
from .._reference import is_reference
from .._text import first_line, shorten
from ..errors import ConfigurationError

__all__ = [
    "Distribution",
    "Files",
    "Link",
    "Plugin",
    "Problem",
    "newest",
    "read_distribution",
    "with_reports",
]

CORE = "radical-asyncflow"
OURS = "radical.asyncflow."
"""The beginning of the names of all groups of entry points that are ours."""

LONGEST_README = 20_000
"""The characters of a README that a catalog shows."""

MOST_PLUGINS = 100
"""The plugins of one distribution that a catalog shows."""

MOST_LINKS = 20
"""The links of one distribution that a catalog shows."""

_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


class Files(Protocol):
    """The files of a distribution, in a wheel or installed."""

    @property
    def origin(self) -> str: ...
    def info(self, name: str) -> str: ...
    def beside(self, module: str, name: str) -> bytes | None: ...
    def released(self) -> date | None: ...


class Link(NamedTuple):
    """A link of a distribution; its address is one of the web, or "" if it is none."""

    title: str
    address: str


class Problem(NamedTuple):
    """Something that is not in the catalog, and why."""

    origin: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plugin of a distribution.

    Attributes:
        name: of the entry point, which is that of the backend.
        group: of the entry point.
        manifest: what its author ships with it; None if there is nothing.
        problem: why the manifest that is there cannot be used; "" if it can.
        reports: those that the catalog was given, about this version.
    """

    name: str
    group: str
    manifest: Manifest | None = None
    problem: str = ""
    reports: tuple[Report, ...] = ()

    @property
    def kind(self) -> str:
        """The kind of plugin in a word, such as ``"backend"``."""
        if self.group in GROUPS:
            return GROUPS[self.group].noun
        return self.group.removeprefix(OURS).replace("_", " ")  # one of a newer core

    @property
    def source(self) -> Manifest | Report | None:
        """The newest description of capabilities and settings; that of a report if there is one."""
        return max(self.reports, key=lambda report: report.date, default=None) or self.manifest

    @property
    def judged(self) -> Sequence[Manifest | Report]:
        """The reports, or else the manifest, from which its level is computed."""
        if self.reports:
            return self.reports
        return (self.manifest,) if self.manifest and self.manifest.checks else ()

    @property
    def level(self) -> str | None:
        """The level that it reaches; None if it reaches none, or if nothing was checked."""
        return level_of(self.judged) if self.judged else None

    @property
    def gaps(self) -> list[Gap]:
        """The reasons why its level is not gold."""
        return gaps(self.judged) if self.judged else []


@dataclass(frozen=True, slots=True)
class Distribution:
    """A distribution, as it describes itself.

    Attributes:
        name: normalized, so that it can be the name of a page.
        title: the name as its author writes it.
        released: the day on which its wheel was made; None if that is not known.
        core: the versions of the core that it takes, as a specifier; "" if it names no bound.
        requires: its other requirements that always apply.
        readme: the beginning of its description.
        earlier: its other versions in this catalog, the newest first.
    """

    name: str
    title: str
    version: str
    summary: str
    licence: str
    author: str
    released: date | None
    python: str
    core: str
    requires: tuple[str, ...]
    links: tuple[Link, ...]
    readme: str
    plugins: tuple[Plugin, ...]
    earlier: tuple[str, ...] = ()


def read_distribution(files: Files) -> Distribution | None:
    """Read what *files* say; return None if none of the entry points is for AsyncFlow.

    Raises:
        ConfigurationError: the files cannot be read, or are not those of a distribution.
    """
    declared = list(_entry_points(files.info("entry_points.txt")))
    if not declared:
        return None
    if len(declared) > MOST_PLUGINS:
        raise ConfigurationError(f"it declares {len(declared):,} plugins")
    fields = _metadata(files.info("METADATA") or files.info("PKG-INFO"))
    title, version = _field(fields, "Name", 200), _field(fields, "Version", 100)
    core, requires = _requirements(fields)
    return Distribution(
        name=_normalized(title),
        title=title,
        version=_version(version),
        summary=_field(fields, "Summary", 500),
        licence=_licence(fields),
        author=_author(fields),
        released=files.released(),
        python=_field(fields, "Requires-Python", 100),
        core=core,
        requires=requires,
        links=tuple(_links(fields)),
        readme=_readme(fields),
        plugins=tuple(_plugin(files, group, name, value) for group, name, value in declared),
    )


def newest(found: Iterable[Distribution]) -> list[Distribution]:
    """Return the newest version of each distribution, by name, with the earlier ones noted.

    A version that is no pre-release counts as newer than any that is.
    """
    from packaging.version import Version

    by_name: dict[str, dict[str, Distribution]] = {}
    for one in found:
        by_name.setdefault(one.name, {}).setdefault(one.version, one)

    def age(version: str) -> tuple[bool, Version]:
        parsed = Version(version)
        return not parsed.is_prerelease, parsed

    chosen = []
    for name in sorted(by_name):
        last, *earlier = sorted(by_name[name], key=age, reverse=True)
        chosen.append(replace(by_name[name][last], earlier=tuple(earlier)))
    return chosen


def with_reports(one: Distribution, reports: Iterable[Report]) -> Distribution:
    """Return *one* with those *reports* that are about this version of it."""
    ours = [each for each in reports if is_about(each, one)]
    plugins = (
        replace(
            plugin,
            reports=tuple(
                sorted(
                    (
                        each
                        for each in ours
                        if each.backend == plugin.name and plugin.group == BACKEND_GROUP
                    ),
                    key=lambda each: each.date,
                    reverse=True,
                )
            ),
        )
        for plugin in one.plugins
    )
    return replace(one, plugins=tuple(plugins))


def is_about(report: Report, one: Distribution) -> bool:
    """Tell whether *report* is about this version of a distribution."""
    from packaging.version import InvalidVersion, Version

    try:
        same = Version(report.version) == Version(one.version)
    except InvalidVersion:
        same = False
    return same and _canonical(report.distribution) == one.name


def _entry_points(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield group, name and value of each entry point that is for AsyncFlow."""
    group = ""
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            group = line[1:].rstrip("]").strip()
        elif group.startswith(OURS):
            name, _, value = line.partition("=")
            yield shorten(group, 100), shorten(name.strip(), 200), value.strip()


def _metadata(text: str) -> Message:
    from email.parser import Parser

    fields = Parser().parsestr(text)
    for name in ("Name", "Version"):
        if not fields.get(name):
            raise ConfigurationError(f"its metadata have no {name}")
    return fields


def _field(fields: Message, name: str, limit: int) -> str:
    """Return the first line of a field, printable."""
    value = str(fields.get(name) or "")
    return "" if value.strip() == "UNKNOWN" else shorten(first_line(value), limit)


def _fields(fields: Message, name: str) -> list[str]:
    return [str(value) for value in fields.get_all(name) or ()]


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _normalized(title: str) -> str:
    name = _canonical(title)
    if not _NAME.fullmatch(name) or len(name) > 100:
        raise ConfigurationError(f"{title!r} is no name of a distribution")
    return name


def _version(text: str) -> str:
    from packaging.version import InvalidVersion, Version

    try:
        return str(Version(text))
    except InvalidVersion:
        raise ConfigurationError(f"{text!r} is no version") from None


def _licence(fields: Message) -> str:
    """Return the licence: as an expression, as a text, or as a classifier has it."""
    for name in ("License-Expression", "License"):
        if found := _field(fields, name, 100):
            return found
    for classifier in _fields(fields, "Classifier"):
        if classifier.startswith("License ::"):
            return shorten(classifier.rpartition("::")[2].strip(), 100)
    return ""


def _author(fields: Message) -> str:
    found = _field(fields, "Author", 200) or _field(fields, "Author-email", 200)
    return re.sub(r"\s*<[^>]*>", "", found) or found


def _requirements(fields: Message) -> tuple[str, tuple[str, ...]]:
    """Return the bounds on the core, and what else is always required."""
    from packaging.requirements import InvalidRequirement, Requirement

    core, others = "", []
    for text in _fields(fields, "Requires-Dist")[:500]:
        try:
            need = Requirement(text[:1000])
        except InvalidRequirement:
            others.append(shorten(text, 200))
            continue
        if need.marker is not None and "extra" in str(need.marker):
            continue
        if _canonical(need.name) == CORE:
            core = str(need.specifier) or core
        else:
            others.append(shorten(str(need), 200))
    return shorten(core, 100), tuple(others)


def _links(fields: Message) -> Iterator[Link]:
    given = [f"Home page, {url}" for url in _fields(fields, "Home-page")]
    for text in [*given, *_fields(fields, "Project-URL")][:MOST_LINKS]:
        title, _, address = text.partition(",")
        yield Link(shorten(title.strip(), 60) or "Link", web_address(address))


def web_address(text: str) -> str:
    """Return *text* if it is an address of the web, which a page may link to; "" if it is none."""
    address = text.strip()
    if len(address) > 500 or not address.isprintable() or " " in address:
        return ""
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    return address if parts.scheme in ("http", "https") and parts.hostname else ""


def _readme(fields: Message) -> str:
    body = fields.get_payload()
    text = body if isinstance(body, str) and body.strip() else str(fields.get("Description") or "")
    text = text.strip()
    if len(text) > LONGEST_README:
        text = f"{text[:LONGEST_README]}\n… ({len(text) - LONGEST_README:,} more characters)"
    return text


def _plugin(files: Files, group: str, name: str, value: str) -> Plugin:
    """Read the manifest of a plugin, which lies beside the module of its entry point."""
    if not name or not is_reference(value):
        raise ConfigurationError(
            f"its entry point {name} = {shorten(value, 100)!r} names no module"
        )
    if group != BACKEND_GROUP:
        return Plugin(name, group)
    module = value.partition(":")[0].partition("[")[0].strip()
    try:
        file = own_manifest(name)
        data = files.beside(module, file)
        if data is None:
            file = MANIFEST
            data = files.beside(module, file)
        if data is None:
            return Plugin(name, group)
        manifest = Manifest.from_json(data, origin=file)
    except ConfigurationError as error:
        return Plugin(name, group, problem=shorten(str(error), 1000))
    if manifest.backend != name:
        other = shorten(manifest.backend, 100)
        return Plugin(name, group, problem=f"{file} is about the backend {other!r}")
    return Plugin(name, group, manifest)
