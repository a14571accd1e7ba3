"""Check the files that a release uploads: ``python scripts/check_wheels.py dist``."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from email.parser import Parser
from pathlib import Path

NAMESPACE = "radical/__init__.py"


def main(folder: Path) -> int:
    """Print every problem, and return the exit code."""
    wheels, archives = sorted(folder.glob("*.whl")), sorted(folder.glob("*.tar.gz"))
    problems = [f"{path.name}: {text}" for path in wheels for text in check_wheel(path)]
    problems += [f"{path.name}: {text}" for path in archives for text in check_archive(path)]
    if not wheels or len(wheels) != len(archives):
        problems.append(f"{folder}: {len(wheels)} wheels and {len(archives)} source archives")
    print("\n".join(problems) or f"{len(wheels)} wheels and as many source archives are good")
    return 1 if problems else 0


def check_wheel(path: Path) -> Iterator[str]:
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
        yield from check_metadata(wheel.read(metadata).decode())
    if not any(name.endswith("/py.typed") for name in names):
        yield "has no py.typed"
    if not any("/licenses/" in name for name in names):
        yield "has no license"
    yield from check_names(names, lambda name: name.startswith(("radical/", "asyncflow_")))


def check_archive(path: Path) -> Iterator[str]:
    with tarfile.open(path) as archive:
        names = archive.getnames()
        member = archive.extractfile(next(name for name in names if name.endswith("/PKG-INFO")))
        assert member is not None
        yield from check_metadata(member.read().decode())
    yield from check_names(names, lambda _: True)


def check_names(names: list[str], ours: Callable[[str], bool]) -> Iterator[str]:
    if any(f"/{name}".endswith(f"/{NAMESPACE}") for name in names):
        yield f"has {NAMESPACE}, but the namespace radical also belongs to other projects"
    for name in names:
        if "__pycache__" in name or (".dist-info/" not in name and not ours(name)):
            yield f"has {name}"


def check_metadata(text: str) -> Iterator[str]:
    metadata = Parser().parsestr(text)
    for requirement in metadata.get_all("Requires-Dist") or []:
        if "file:" in requirement:
            yield f"requires a folder on the machine that built it: {requirement}"
    for field in ("Summary", "License-Expression", "Requires-Python"):
        if not metadata[field]:
            yield f"has no {field}"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
