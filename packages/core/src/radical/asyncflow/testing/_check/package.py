"""The checks of an installed distribution: its entry point, its plugin and its metadata."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import Distribution, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from ..._catalog.settings import settings_of
from ..._discovery.metadata import CORE, Declaration, canonical, is_disabled, scan
from ..._discovery.registry import registry
from ..._quality.report import Outcome
from ...errors import BackendError
from ...hookspecs import BACKEND_GROUP
from ...version import __version__
from .imports import MOST_MS, measure_import

__all__ = ["Result", "check", "declarations"]

_NAME = re.compile(r"[a-z0-9]([a-z0-9_.-]*[a-z0-9])?", re.IGNORECASE)
_SHORTEST_README = 100
_CLASSIFIERS = ("Development Status :: ", "Programming Language :: Python :: 3")


class Result(NamedTuple):
    """The end of one check."""

    name: str
    outcome: Outcome
    message: str = ""


def declarations(name: str) -> list[Declaration]:
    """Return the entry points of the name *name* that are not switched off, the usual one first.

    Raises:
        BackendNotFoundError: there is none; the error names the nearest.
    """
    found = [one for one in scan(BACKEND_GROUP) if one.name == name and not is_disabled(one)]
    if not found:
        registry.get_backend_spec(name)  # says what is missing, and where to get it
        raise BackendError(
            f"Backend {name!r} was registered by a program; only what is installed can be checked."
        )
    return sorted(found, key=lambda one: not one.is_official)


def check(found: Sequence[Declaration]) -> Iterator[Result]:
    """Yield the results of all checks of the distribution that *found* comes from."""
    declaration = found[0]
    yield _judge("name clash", _clash(found))
    problem = _entry_point(declaration)
    yield _judge("entry point", problem)
    if problem:
        names = ("import cost", "light import", "described settings")
        yield from (Result(name, "not run", "the plugin cannot be loaded") for name in names)
    else:
        yield from _imports(declaration)
        yield _settings(declaration.name)
    yield _judge("requirement of the core", _requirement(declaration))
    yield _judge("py.typed", _typed(declaration))
    for name, problem_of in _METADATA.items():
        yield _judge(name, problem_of(distribution(declaration.distribution)))


def _judge(name: str, problem: str) -> Result:
    return Result(name, "failed" if problem else "passed", problem)


def _clash(found: Sequence[Declaration]) -> str:
    others = {canonical(one.distribution): one.label for one in found}
    if len(others) < 2:
        return ""
    return f"{' and '.join(others.values())} all declare a backend {found[0].name!r}"


def _entry_point(declaration: Declaration) -> str:
    if not _NAME.fullmatch(declaration.name):
        return f"the name {declaration.name!r} has other characters than letters, digits and _.-"
    if ":" in declaration.value:
        module = declaration.value.partition(":")[0]
        return f"its value is {declaration.value!r}; name the module alone: {module!r}"
    try:
        registry.get_backend_spec(declaration.name)
        registry.load_factory(declaration.name)
    except BackendError as error:
        return str(error)
    facts = registry.describe(declaration.name)
    return "" if "capabilities" in facts else str(facts["failure_reason"])


def _imports(declaration: Declaration) -> Iterator[Result]:
    spec = registry.get_backend_spec(declaration.name)
    named = [part for part in (spec.factory, spec.config_model) if isinstance(part, str)]
    found = measure_import(declaration.value)
    cost = f"{found.milliseconds:.1f} ms of CPU time; at most {MOST_MS:g} ms are fine"
    if found.milliseconds <= MOST_MS:
        yield Result("import cost", "passed", cost)
    else:
        yield Result("import cost", "failed", f"the import of {declaration.value} takes {cost}")
    problems = [f"it imports {', '.join(found.foreign)}"] if found.foreign else []
    homes = {part.partition(":")[0] for part in named} & found.modules
    homes.discard(declaration.value)
    if homes:
        problems.append(f"it imports {', '.join(sorted(homes))}, which only its use should import")
    kinds = [part for part in (spec.factory, spec.config_model) if isinstance(part, type)]
    if kinds:
        names = ", ".join(kind.__name__ for kind in kinds)
        problems.append(f"it names {names} as a class, and not as the text 'module:Class'")
    yield _judge("light import", "; ".join(problems))


def _settings(name: str) -> Result:
    schema = registry.describe(name)["config_schema"]
    if schema is None:
        return Result("described settings", "not applicable", "the backend has no settings")
    bare = [one.key for one in settings_of(schema) if not one.description]
    return _judge("described settings", f"no description: {', '.join(bare)}" if bare else "")


def _requirement(declaration: Declaration) -> str:
    advice = f"require '{CORE}>={_minor(__version__)},<{Version(__version__).major + 1}'"
    specifiers = [need.specifier for need in _needs_of_core(declaration)]
    if not specifiers:
        return f"{declaration.label} does not require {CORE}: {advice}"
    allowed = SpecifierSet(",".join(map(str, specifiers)))
    if allowed.contains(f"{Version(__version__).major + 1}.0"):
        return f"{CORE}{allowed} allows the next major version, which may refuse it: {advice}"
    if allowed.contains("0.0.1"):
        return f"{CORE}{allowed} allows versions that are too old for it: {advice}"
    return ""


def _minor(version: str) -> str:
    return ".".join(map(str, Version(version).release[:2]))


def _needs_of_core(declaration: Declaration) -> Iterator[Requirement]:
    for text in declaration.requires:
        try:
            need = Requirement(text)
        except InvalidRequirement:
            continue  # the list of backends takes it as absent, too
        applies = need.marker is None or need.marker.evaluate({"extra": ""})
        if applies and canonical(need.name) == canonical(CORE):
            yield need


def _typed(declaration: Declaration) -> str:
    parts = declaration.value.split(":")[0].split(".")
    for name in (".".join(parts[:length]) for length in range(1, len(parts) + 1)):
        try:
            spec = find_spec(name)
        except (ImportError, ValueError):
            spec = None
        if spec is None:
            return f"the package {name} cannot be found"
        if spec.origin is None:  # of a namespace package, which belongs to nobody
            continue
        places = [*(spec.submodule_search_locations or ())]
        if not places:
            return f"{name} is a module; put it into a package with a file py.typed"
        if not any((Path(place) / "py.typed").is_file() for place in places):
            return f"there is no file py.typed in {places[0]}"
        return ""
    return f"{declaration.value} is a namespace package"


def _summary(of: Distribution) -> str:
    text = _field(of, "Summary")
    return "" if text and text != "UNKNOWN" else "there is no description in [project]"


def _readme(of: Distribution) -> str:
    text = _field(of, "Description") or str(of.metadata.get_payload() or "")  # type: ignore[attr-defined]
    if len(text.strip()) < _SHORTEST_README:
        return (
            f"its README has {len(text.strip())} characters, and not {_SHORTEST_README} or more: "
            'write one, and readme = "README.md" into [project]'
        )
    return ""


def _licence(of: Distribution) -> str:
    if _field(of, "License-Expression") or _field(of, "License"):
        return ""
    if any(line.startswith("License ::") for line in of.metadata.get_all("Classifier") or ()):
        return ""
    return 'there is no license in [project], such as license = "MIT"'


def _classifiers(of: Distribution) -> str:
    lines = of.metadata.get_all("Classifier") or []
    missing = [start for start in _CLASSIFIERS if not any(line.startswith(start) for line in lines)]
    return f"there is no classifier {' and no '.join(map(repr, missing))}" if missing else ""


def _python(of: Distribution) -> str:
    text = _field(of, "Requires-Python")
    if not text:
        return 'there is no requires-python in [project], such as requires-python = ">=3.11"'
    version = ".".join(map(str, sys.version_info[:3]))
    if not SpecifierSet(text).contains(version, prereleases=True):
        return f"it requires Python {text}; this is {version}"
    return ""


def _field(of: Distribution, key: str) -> str:
    return str(of.metadata[key] or "") if key in of.metadata else ""


_METADATA: dict[str, Callable[[Distribution], str]] = {
    "summary": _summary,
    "README": _readme,
    "licence": _licence,
    "classifiers": _classifiers,
    "supported Python": _python,
}
