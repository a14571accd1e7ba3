"""What every test of the core gets: a leak guard, and Hypothesis under control."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import os
import sys
import tempfile
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import chdir
from pathlib import Path

import hypothesis
import pytest
from radical.asyncflow._discovery.registry import registry
from radical.asyncflow._resume import opening as _journaling
from radical.asyncflow.engine import _engine as engine
from radical.asyncflow.journal import Journal
from radical.asyncflow.testing import LeakGuard

from .simulation.world import VirtualLoop

Distribution = Callable[..., Path]

# The machine of a test run may be slow, so no example has a time limit; what failed
# elsewhere must fail here, so the examples follow from the test, not from chance.
hypothesis.settings.register_profile("default", deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile("long", deadline=None, max_examples=2_000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_itemcollected(item: pytest.Item) -> None:
    """Guards the loop's tasks too, where a test has a loop of its own."""
    mark = item.get_closest_marker("asyncio")
    own_loop = mark is None or mark.kwargs.get("loop_scope", "function") == "function"
    if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj) and own_loop:
        names = item.fixturenames
        names.insert(names.index("leak_guard") + 1, "task_guard")


@pytest.fixture(scope="session")
def _empty_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def leak_guard(_empty_folder: Path) -> Iterator[None]:
    """A test leaves nothing behind; it runs in an empty folder, where a new file is seen."""
    with chdir(_empty_folder), LeakGuard():
        yield


@pytest.fixture(autouse=bool(os.environ.get("ASYNCFLOW_TEST_JOURNALS")))
def journals(leak_guard: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every engine gets a journal of its own, except in virtual time, which no thread has."""
    numbers = itertools.count()

    def journal_of(given: object) -> Journal | None:
        if isinstance(asyncio.get_running_loop(), VirtualLoop):
            return None
        return _journaling.journal_of(given or tmp_path / f"journal-{next(numbers)}")

    monkeypatch.setattr(engine, "journal_of", journal_of)


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Distribution]:
    """Return a function that installs a distribution, with its entry points and its modules.

    Its modules are forgotten afterwards, and the registry of this process with them.
    """
    site = tmp_path / "plugins"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    path = filter(None, (str(site), os.environ.get("PYTHONPATH")))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))

    def write(
        name: str,
        entries: Mapping[str, Mapping[str, str]],
        modules: Mapping[str, str],
        *,
        version: str = "1.0",
        headers: str = "",
    ) -> Path:
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        fields = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{headers}"
        (info / "METADATA").write_text(fields)
        text = ""
        for group, lines in entries.items():
            text += f"[radical.asyncflow.{group}]\n"
            text += "".join(f"{key} = {value}\n" for key, value in lines.items())
        (info / "entry_points.txt").write_text(text)
        for module, code in modules.items():
            (site / f"{module}.py").write_text(textwrap.dedent(code))
        registry.refresh()
        return site

    yield write
    for module in [*sys.modules.values()]:
        if str(getattr(module, "__file__", None)).startswith(str(site)):
            del sys.modules[module.__name__]
    registry.refresh()


@pytest.fixture
async def task_guard() -> AsyncIterator[None]:
    """A test leaves no asyncio task behind, before its loop closes and hides it."""
    async with LeakGuard():
        yield
