"""The folder of a catalog: where its entries come from, and the files that are written into it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any, NamedTuple

from .._discovery.metadata import find_distribution, scan
from .._groups import GROUPS
from .._quality.report import Report
from .._text import printable, shorten
from ..errors import ConfigurationError
from .entries import Distribution, Plugin, Problem, newest, read_distribution, with_reports
from .installed import InstalledFiles
from .pages import Catalog, index_page, plugin_page, report_path
from .wheels import WheelFiles

__all__ = ["INSTALLED", "build_catalog"]

INSTALLED = "installed"
"""The source that stands for the distributions of this environment."""

_INDEX = "catalog.json"
_OURS = re.compile(r"(plugins/[a-z0-9-]+\.html|reports/[a-z0-9-]+\.\d+\.json)")


class Found(NamedTuple):
    """The distributions that were read, and the problems with those that were not."""

    distributions: list[Distribution]
    problems: list[Problem]


def build_catalog(
    out: Path, sources: Sequence[str], reports: Path | None = None, *, title: str
) -> Catalog:
    """Write the catalog of what *sources* have into the folder *out*.

    No code of a plugin runs: wheels are read as archives, and installed distributions by their
    metadata.

    Args:
        sources: folders of wheels; `INSTALLED` for the distributions of this environment.
        reports: a folder of reports, searched with all folders in it.

    Raises:
        ConfigurationError: *out* has files of somebody else, a folder is missing, or there is no
            plugin at all.
    """
    before = _files_before(out)
    found = _read_sources(sources)
    chosen = newest(found.distributions)
    if not chosen:
        reasons = "".join(f"\n  {one.origin}: {one.reason}" for one in found.problems)
        raise ConfigurationError(f"there is no plugin in {', '.join(sources)}{reasons}")
    given, problems = _read_reports(reports, out, {one.name for one in chosen})
    chosen = [with_reports(one, given) for one in chosen]
    catalog = Catalog(title, chosen, [*found.problems, *problems, *_manifests(chosen)], _today())
    files = dict(_files(catalog))
    files[_INDEX] = _json({**_index(catalog), "files": sorted(files)})
    _write(out, files, before)
    return catalog


def _today() -> date:
    """Return the day to write into pages: that of ``SOURCE_DATE_EPOCH``, if it is set."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if not epoch:
        return datetime.now(UTC).date()
    try:
        return datetime.fromtimestamp(int(epoch), UTC).date()
    except (ValueError, OverflowError, OSError):
        raise ConfigurationError(
            f"SOURCE_DATE_EPOCH is {shorten(epoch, 50)!r}, and not a number of seconds since 1970"
        ) from None


def _read_sources(sources: Sequence[str]) -> Found:
    found = Found([], [])
    for source in sources:
        if source == INSTALLED:
            _read_installed(found)
            continue
        folder = Path(source)
        if not folder.is_dir():
            raise ConfigurationError(
                f"{source} is no folder of wheels; name one, or write {INSTALLED!r}"
            )
        for path in sorted(folder.glob("*.whl")):
            try:
                with WheelFiles(path) as files:
                    _add(found, read_distribution(files), files.name, files.version)
            except ConfigurationError as error:
                found.problems.append(Problem(printable(path.name), str(error)))
    return found


def _add(found: Found, one: Distribution | None, name: str, version: str) -> None:
    if one is None:
        return
    if (one.name, one.version) != (name, version):
        raise ConfigurationError(
            f"its metadata are those of {one.name} {one.version}, and its name says otherwise"
        )
    found.distributions.append(one)


def _read_installed(found: Found) -> None:
    for name in sorted({one.distribution for one in scan(*GROUPS)}):
        try:
            one = read_distribution(InstalledFiles(find_distribution(name), name))
        except PackageNotFoundError:
            found.problems.append(Problem(printable(name), "its metadata have no name"))
        except ConfigurationError as error:
            found.problems.append(Problem(printable(name), str(error)))
        else:
            found.distributions.extend([one] if one else ())


def _read_reports(
    folder: Path | None, out: Path, names: set[str]
) -> tuple[list[Report], list[Problem]]:
    """Read the reports below *folder*, each once, but none that a build has copied into *out*."""
    if folder is None:
        return [], []
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is no folder of reports")
    found: dict[str, Report] = {}
    problems = []
    for path in sorted(folder.rglob("*.json")):
        if path.resolve().is_relative_to(out.resolve()):
            continue
        origin = printable(str(path.relative_to(folder)))
        try:
            report = Report.read(path)
        except ConfigurationError as error:
            # The page is read elsewhere, where the path of this machine says nothing.
            problems.append(Problem(origin, printable(str(error).replace(str(path), "it", 1))))
            continue
        if re.sub(r"[-_.]+", "-", report.distribution).lower() in names:
            found.setdefault(report.to_json(), report)
        else:
            text = f"it is about {report.distribution}, which is not in the catalog"
            problems.append(Problem(origin, printable(text)))
    return list(found.values()), problems


def _manifests(chosen: Iterable[Distribution]) -> Iterator[Problem]:
    for one in chosen:
        for plugin in one.plugins:
            if plugin.problem:
                yield Problem(f"{one.name} {one.version}", plugin.problem)


def _files(catalog: Catalog) -> Iterator[tuple[str, bytes]]:
    yield "index.html", _encoded(index_page(catalog))
    for one in catalog.distributions:
        yield f"plugins/{one.name}.html", _encoded(plugin_page(catalog, one))
        number = 0
        for plugin in one.plugins:
            for report in plugin.reports:
                yield report_path(one, number), _encoded(report.to_json())
                number += 1


def _index(catalog: Catalog) -> dict[str, Any]:
    """Return the catalog for programs."""
    return {
        "format": 1,
        "title": catalog.title,
        "built": catalog.built.isoformat(),
        "plugins": [_line(one, plugin) for one in catalog.distributions for plugin in one.plugins],
        "left_out": [each._asdict() for each in catalog.problems],
    }


def _line(one: Distribution, plugin: Plugin) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "kind": plugin.kind,
        "distribution": one.title,
        "version": one.version,
        "summary": one.summary,
        "licence": one.licence,
        "released": one.released.isoformat() if one.released else None,
        "python": one.python,
        "core": one.core,
        "level": plugin.level,
        "level_from": ("reports" if plugin.reports else "manifest") if plugin.judged else None,
        "capabilities": plugin.source.capabilities if plugin.source else None,
        "portability": plugin.source.portability if plugin.source else None,
        "page": f"plugins/{one.name}.html",
    }


def _json(value: dict[str, Any]) -> bytes:
    return _encoded(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _files_before(out: Path) -> set[str]:
    """Return the files that an earlier build has written into *out*.

    Raises:
        ConfigurationError: somebody else has written into it.
    """
    if not out.exists():
        return set()
    if not out.is_dir():
        raise ConfigurationError(f"{out} is no folder")
    if not any(out.iterdir()):
        return set()
    try:
        before = json.loads((out / _INDEX).read_bytes())
        files = before["files"] if before["format"] == 1 else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        files = None
    if not isinstance(files, list):
        raise ConfigurationError(
            f"{out} has files, and no catalog: name a new folder, an empty one, or one that "
            "asyncflow catalog build has written"
        )
    # The names come from a file, so only those that a build writes are taken from there.
    return {name for name in files if isinstance(name, str) and _OURS.fullmatch(name)}


def _write(out: Path, files: dict[str, bytes], before: set[str]) -> None:
    """Write the files, each at once, and remove those that belong to an earlier build only."""
    for name, data in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        part.write_bytes(data)
        part.replace(path)
    for name in before - files.keys():
        with suppress(FileNotFoundError):
            (out / name).unlink()
