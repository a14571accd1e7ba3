"""The backend of the guide is found, runs and passes the kit: its blocks, as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[4] / "docs" / "writing-a-backend.md"
BLOCK = re.compile(r"^```(?:python|toml)\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

PROGRAM = """
import asyncio
from radical.asyncflow import WorkflowEngine, factory

async def main():
    async with WorkflowEngine.create(backend="crew", config={"max_workers": 2}) as flow:
        print(await flow.function_task(lambda: 42)(), type(flow.backend).__name__)

print(factory.list_available_backends()["crew"]["status"])
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the guide builds, installed as far as metadata goes."""
    folder = tmp_path_factory.mktemp("asyncflow-crew")
    blocks = dict(BLOCK.findall(GUIDE.read_text()))
    for path, text in blocks.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (folder / "src/asyncflow_crew/__init__.py").touch()
    information = folder / "src/asyncflow_crew-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: asyncflow-crew\nVersion: 1.0\n"
    )
    points = re.search(r'entry-points\."(\S+)"\]\n(.*?)\n\n', blocks["pyproject.toml"], re.DOTALL)
    assert points is not None
    line = points[2].replace('"', "")
    (information / "entry_points.txt").write_text(f"[{points[1]}]\n{line}\n")
    return folder


def _python(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def test_it_is_discovered_and_runs(project: Path) -> None:
    ended = _python(project, "-c", PROGRAM)
    assert ended.stdout == "available\n42 CrewBackend\n", ended.stderr


@pytest.mark.slow
def test_it_passes_the_kit_in_strict_mode(project: Path) -> None:
    ended = _python(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert ended.returncode == 0, ended.stdout[-5000:]
    assert re.search(r"\d{3} passed, \d+ deselected", ended.stdout)
