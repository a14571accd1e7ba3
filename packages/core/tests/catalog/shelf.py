"""Wheels made by hand, good ones and bad ones, and the reports about what is in them."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from radical.asyncflow._quality.levels import GROUPS
from radical.asyncflow._quality.report import MANIFEST, Benchmark, Check, Manifest, Report
from radical.asyncflow.hookspecs import BACKEND_GROUP

DAY = (2026, 3, 14, 12, 0, 0)
SETTINGS = {
    "properties": {
        "max_workers": {
            "type": "integer",
            "minimum": 1,
            "default": 4,
            "description": "How many threads there are.",
        },
        "grace": {"type": "number", "default": 5.0, "unit": "seconds"},
    }
}
CAPABILITIES = {
    "kinds": ["function", "executable"],
    "resources": ["cores"],
    "pickles": True,
    "isolates": False,
    "limits": ["it is slow on Mondays"],
}
PORTABILITY = {"function": "", "`gpus`": "it has no GPUs"}


def make_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    metadata: str = "",
    readme: str = "",
    entry_points: str | None = None,
    files: Mapping[str, str | bytes] | None = None,
    manifest: str | bytes | None = None,
    day: tuple[int, int, int, int, int, int] = DAY,
    compression: int = zipfile.ZIP_DEFLATED,
) -> Path:
    """Write a wheel with a backend *name*, whose module raises if anybody imports it."""
    package = f"asyncflow_{name}"
    stem = f"{package}-{version}"
    if entry_points is None:
        entry_points = f"[{BACKEND_GROUP}]\n{name} = {package}.plugin\n"
    content: dict[str, str | bytes] = {
        f"{package}/__init__.py": "raise RuntimeError('code of a plugin runs')\n",
        f"{package}/plugin.py": "raise RuntimeError('code of a plugin runs')\n",
        f"{stem}.dist-info/METADATA": (
            f"Metadata-Version: 2.4\nName: asyncflow-{name}\nVersion: {version}\n{metadata}\n"
            f"{readme}"
        ),
        f"{stem}.dist-info/entry_points.txt": entry_points,
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\n",
        **(files or {}),
    }
    if manifest is not None:
        content[f"{package}/{MANIFEST}"] = manifest
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for member, data in content.items():
            archive.writestr(zipfile.ZipInfo(member, day), data, compression)
    return path


def make_report(
    name: str = "crew",
    version: str = "1.0",
    outcomes: Mapping[str, str] | None = None,
    **changes: Any,
) -> Report:
    """Return a report in which each group has a check; those of *outcomes* ended so."""
    checks = [
        Check(
            name=f"test_{group}",
            group=group,
            outcome=(outcomes or {}).get(group, "passed"),  # type: ignore[arg-type]
            promise=f"The promise about {group}.",
            page="writing-a-backend.md#the-contract",
            message="it did not hold" if outcomes and group in outcomes else "",
        )
        for group in GROUPS
    ]
    facts: dict[str, Any] = {
        "backend": name,
        "distribution": f"asyncflow-{name}",
        "version": version,
        "core": "1.0.0",
        "python": "3.11.7",
        "platform": "Linux-6.1-x86_64",
        "date": "2026-03-15T12:00:00+00:00",
        "load": 10_000,
        "given": {"max_workers": "2"},
        "checks": checks,
        "benchmarks": [Benchmark(name="bag", tasks=10_000, microseconds=20.5, engine=10)],
        "capabilities": CAPABILITIES,
        "settings": SETTINGS,
        "portability": PORTABILITY,
    }
    return Report(**(facts | changes))


def make_manifest(name: str = "crew", **changes: Any) -> str:
    """Return the manifest of a backend whose checks all passed."""
    made = Manifest.of(make_report(name), "Runs functions in a crew of threads")
    return made.model_copy(update=changes).to_json()
