"""The files that ``asyncflow backends check`` writes, and their readers.

A `Report` says how each check ended; a `Manifest` is the part of it that belongs into a wheel.
Both are JSON.  The readers take whatever a third party wrote: what is no such file is refused
with an error that names what is wrong, and keys that a reader does not know are ignored.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    computed_field,
)

from ..errors import ConfigurationError
from .levels import level_of

__all__ = [
    "MANIFEST",
    "Benchmark",
    "Check",
    "Manifest",
    "Outcome",
    "Report",
    "ShortCheck",
    "own_manifest",
]

MANIFEST = "asyncflow-manifest.json"
"""The name of a manifest; it lies beside the module of the entry point."""


def own_manifest(backend: str) -> str:
    """Return the name of a manifest where one folder has the modules of several backends."""
    return f"asyncflow-manifest.{backend}.json"


_LONGEST_FILE = 10_000_000
"""The bytes that a reader takes; a report has some 100,000."""

Outcome = Literal["passed", "failed", "not applicable", "not run"]
"""The way in which a check ended.

It is not applicable to a backend that does not declare what it is about, and not run if the run
was to be fast or broke off.
"""


def _is_version(text: str) -> str:
    from packaging.version import Version

    Version(text)
    return text


def _is_date(text: str) -> str:
    datetime.fromisoformat(text)
    return text


_Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_Line = Annotated[str, StringConstraints(max_length=2_000)]
_Version = Annotated[str, AfterValidator(_is_version)]
_Date = Annotated[str, AfterValidator(_is_date)]
_Settings = dict[str, Any] | None


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class ShortCheck(_Strict):
    """The end of one check.

    Attributes:
        name: of the check: a function of the kit, or a name such as ``"entry point"``.
        group: what it is about, a key of `levels.GROUPS`.
    """

    name: _Name
    group: _Name
    outcome: Outcome


class Check(ShortCheck):
    """The end of one check, and what the check is about.

    Attributes:
        promise: the sentence that it proves.
        page: the page that explains that, and the anchor on it: ``"page.md#anchor"``.
        seconds: how long it took.
        message: why it failed, or was left out; several lines.
    """

    promise: _Line = ""
    page: _Line = ""
    seconds: float = Field(default=0.0, ge=0)
    message: str = ""


class Benchmark(_Strict):
    """The cost of a piece of work, in microseconds for each task.

    Attributes:
        tasks: how many there were.
        microseconds: of wall clock, the median of the rounds.
        engine: the same of a backend that runs nothing, measured in the same rounds.
    """

    name: _Name
    tasks: int = Field(ge=1)
    microseconds: float = Field(ge=0)
    engine: float = Field(ge=0)


class _File(_Strict):
    """The base of both files, which are read and written in the same way."""

    format: Literal[1] = 1
    backend: _Name

    @classmethod
    def from_json(cls, text: str | bytes, *, origin: str = "the text") -> Self:
        """Read what `to_json` wrote.

        Raises:
            ConfigurationError: *text* is no such file; the error begins with *origin*.
        """
        if len(text) > _LONGEST_FILE:
            raise ConfigurationError(f"{origin}: {len(text):,} bytes are too long for {_a(cls)}")
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            found = [_sentence(problem["loc"], problem["msg"]) for problem in error.errors()]
            more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
            problems = "; ".join(found[:5]) + more
            raise ConfigurationError(f"{origin} is not {_a(cls)}: {problems}") from None

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read the file *path*.

        Raises:
            ConfigurationError: it cannot be read, or is no such file.
        """
        try:
            with Path(path).open("rb") as file:
                text = file.read(_LONGEST_FILE + 1)
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror or error}") from error
        return cls.from_json(text, origin=str(path))

    def to_json(self) -> str:
        """Return the text of the file; the same content gives the same text."""
        return self.model_dump_json(indent=2) + "\n"

    def write(self, path: str | Path) -> None:
        """Write the file *path*."""
        Path(path).write_text(self.to_json(), encoding="utf-8")


class Report(_File):
    """The findings of ``asyncflow backends check`` about one backend.

    Attributes:
        distribution: the name of its distribution.
        version: of the distribution.
        core: the version of radical.asyncflow that checked it.
        python: the version of Python.
        platform: such as ``"Linux-6.1-x86_64"``.
        date: when the run began, in UTC, as ISO 8601 has it.
        given: the settings that were not the defaults, as text; none that is a secret.
        load: how many tasks the biggest bag had.
        conditions: how the kit was run: the attributes of its test class.
        capabilities: the declared `Capabilities` in types of JSON.
        settings: the JSON schema of the config model; None if there is no model.
        portability: for each row of the page "Portability" ``""``, or what is lacking.
    """

    distribution: _Name
    version: _Line
    core: _Version
    python: _Line
    platform: _Line
    date: _Date
    given: dict[str, str] = {}
    load: int = Field(default=0, ge=0)
    conditions: dict[str, Any] = {}
    checks: tuple[Check, ...]
    benchmarks: tuple[Benchmark, ...] = ()
    capabilities: dict[str, Any] = {}
    settings: _Settings = None
    portability: dict[str, str] = {}

    @computed_field  # type: ignore[prop-decorator]
    @property
    def level(self) -> str | None:
        """The level that this report alone reaches; what a file says of it is not read."""
        return level_of([self])

    @property
    def failed(self) -> list[Check]:
        """The checks that failed."""
        return [check for check in self.checks if check.outcome == "failed"]


class Manifest(_File):
    """The description of a backend in its wheel, which can be shown without an import of it.

    Attributes:
        summary: one line, as `BackendSpec.summary` has it.
        core: the version of radical.asyncflow that checked it.
        checks: how each check ended.
    """

    summary: _Line = ""
    core: _Version
    date: _Date
    load: int = Field(default=0, ge=0)
    capabilities: dict[str, Any] = {}
    settings: _Settings = None
    portability: dict[str, str] = {}
    checks: tuple[ShortCheck, ...] = ()

    @classmethod
    def of(cls, report: Report, summary: str) -> Self:
        """Make the manifest of a backend that was checked."""
        same = ("backend", "core", "date", "load", "capabilities", "settings", "portability")
        checks = [
            ShortCheck(name=check.name, group=check.group, outcome=check.outcome)
            for check in report.checks
        ]
        return cls(
            summary=summary, checks=tuple(checks), **{key: getattr(report, key) for key in same}
        )


def _a(cls: type[_File]) -> str:
    return f"a {cls.__name__.lower()} of asyncflow backends check"


def _sentence(place: tuple[int | str, ...], message: str) -> str:
    where = ".".join(map(str, place))
    return f"{where}: {message}" if where else message
