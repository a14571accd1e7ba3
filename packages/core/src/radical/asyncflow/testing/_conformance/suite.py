"""What all checks share: the settings, the fixtures, what is skipped and why."""

from __future__ import annotations

import asyncio
import functools
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, cast

import pytest
import pytest_asyncio

from ...backend import Capabilities, ExecutionBackend
from ...engine import WorkflowEngine
from ...model import TaskKind
from .. import _functions as functions
from .._leaks import LeakGuard
from .bare import Bare

_Check = TypeVar("_Check", bound=Callable[..., Any])

_NEEDS: dict[str, Callable[[Suite, Capabilities], bool]] = {
    "function": lambda _, able: TaskKind.FUNCTION in able.kinds,
    "executable": lambda _, able: TaskKind.EXECUTABLE in able.kinds,
    "prompt": lambda _, able: TaskKind.PROMPT in able.kinds,
    "executes": lambda _, able: able.executes,
    "markers": lambda _, able: not able.executes,
    "kills functions": lambda _, able: TaskKind.FUNCTION in able.kills_running,
    "spares functions": lambda _, able: TaskKind.FUNCTION not in able.kills_running,
    "kills executables": lambda _, able: TaskKind.EXECUTABLE in able.kills_running,
    "cores": lambda _, able: "cores" in able.resources,
    "pickles": lambda _, able: able.pickles,
    "shares memory": lambda _, able: not able.pickles,
    "isolates": lambda _, able: able.isolates,
    "native dependencies": lambda _, able: able.native_dependencies,
    "chains": lambda _, able: able.chains,
    "remote results": lambda _, able: able.remote_results,
    "slots": lambda suite, _: suite.slots is not None,
    "workers": lambda suite, _: not suite.inline,
}
"""What a check may need, and how to tell; these words stand in `expected_skips`."""


def needs(*words: str) -> Callable[[_Check], _Check]:
    """Mark a check as one that only a backend with all of these has to pass."""
    unknown = set(words) - _NEEDS.keys()
    if unknown:
        raise ValueError(f"unknown needs: {sorted(unknown)}")

    def mark(check: _Check) -> _Check:
        @functools.wraps(check)
        async def bounded(self: Suite, *args: Any, **kwargs: Any) -> None:
            # A backend that loses a task shall fail the check, not hang the run.
            async with asyncio.timeout(4 * self.patience):
                await check(self, *args, **kwargs)

        bounded._needs = words  # type: ignore[attr-defined]
        return cast(_Check, bounded)

    return mark


class _Shared:
    """What the checks of one class have in common with ``backend_scope = "class"``."""

    def __init__(self) -> None:
        self.flow: WorkflowEngine | None = None
        self.bare: Bare | None = None


@pytest.mark.asyncio(loop_scope="class")
class Suite:
    """Base of the themes; see `BackendConformance` for what a subclass sets."""

    slots: ClassVar[int | None]
    inline: ClassVar[bool]
    load: ClassVar[int]
    patience: ClassVar[float]
    travel: ClassVar[float]
    backend_scope: ClassVar[Literal["test", "class"]]
    backend_name: ClassVar[str | None]
    expected_skips: ClassVar[Collection[str] | None]

    def make_backend(self) -> ExecutionBackend | Awaitable[ExecutionBackend]:
        raise NotImplementedError

    async def new_backend(self) -> ExecutionBackend:
        made = self.make_backend()
        return await made if isinstance(made, Awaitable) else made

    async def new_flow(self, **options: Any) -> WorkflowEngine:
        return await WorkflowEngine.create(await self.new_backend(), **options)

    async def unmet(self) -> set[str]:
        """Which needs of the kit's checks this backend does not meet, by what it declares."""
        able = await self.capabilities()
        return {word for word, is_met in _NEEDS.items() if not is_met(self, able)}

    # Autouse, so that the loop of the class is there before any guard of a single check.
    @pytest_asyncio.fixture(scope="class", loop_scope="class", autouse=True)
    @classmethod
    async def _shared(cls) -> AsyncIterator[_Shared]:
        shared = _Shared()
        async with LeakGuard():
            yield shared
            if shared.flow is not None:
                await shared.flow.shutdown()
            if shared.bare is not None:
                await shared.bare.close()

    @pytest_asyncio.fixture(loop_scope="class", autouse=True)
    async def _declared(self, request: pytest.FixtureRequest) -> None:
        """Skips what the backend does not declare."""
        words = getattr(request.function, "_needs", ())
        if not words:
            return
        missing = (await self.unmet()).intersection(words)
        if missing:
            pytest.skip(f"the backend does not meet: {', '.join(sorted(missing))}")

    async def capabilities(self) -> Capabilities:
        """Those of a new backend; asked once for each class."""
        cls = type(self)
        if "_capabilities" not in cls.__dict__:
            backend = await self.new_backend()
            cls._capabilities = backend.capabilities  # type: ignore[attr-defined]
            await backend.shutdown()
        return cls._capabilities  # type: ignore[attr-defined, no-any-return]

    @pytest.fixture(scope="class")
    @classmethod
    def _home(cls) -> Iterator[str]:
        """A folder that is there as long as what the checks of the class share."""
        with tempfile.TemporaryDirectory() as folder:
            yield folder

    @pytest.fixture(autouse=True)
    def _elsewhere(self, _home: str) -> Iterator[None]:
        """An empty current folder, in which a file that the backend left is seen.

        The workers of a shared backend stay in the folder in which they were started, so
        that one is there for as long as they are.
        """
        shared = self.backend_scope == "class"
        with tempfile.TemporaryDirectory() as folder, chdir(_home if shared else folder):
            yield

    @pytest_asyncio.fixture(loop_scope="class")
    async def guard(self, _declared: None, _elsewhere: None) -> AsyncIterator[None]:
        """Nothing is left after the check, where each has a backend of its own."""
        if self.backend_scope == "class":
            yield
        else:
            async with LeakGuard():
                yield

    @pytest_asyncio.fixture(loop_scope="class")
    async def flow(
        self,
        guard: None,  # noqa: ARG002 - it surrounds the engine
        _shared: _Shared,
    ) -> AsyncIterator[WorkflowEngine]:
        """An engine on the backend; of the class or of this check, see `backend_scope`."""
        if self.backend_scope == "class":
            if _shared.flow is None:
                _shared.flow = await self.new_flow()
            yield _shared.flow
        else:
            flow = await self.new_flow()
            yield flow
            await flow.shutdown()

    @pytest_asyncio.fixture(loop_scope="class")
    async def bare(
        self,
        guard: None,  # noqa: ARG002 - it surrounds the backend
        _shared: _Shared,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> AsyncIterator[Bare]:
        """The backend without an engine; afterwards the contract was kept."""
        if self.backend_scope == "class":
            if _shared.bare is None:
                folder = tmp_path_factory.mktemp("run")
                _shared.bare = await Bare.started(await self.new_backend(), folder)
            bare = _shared.bare
            yield bare
        else:
            folder = tmp_path_factory.mktemp("run")
            bare = await Bare.started(await self.new_backend(), folder)
            yield bare
            await bare.close()
        assert bare.sink.violations == []

    @pytest.fixture
    def folder(self, tmp_path: Path) -> str:
        """Where tasks and checks leave each other files; the workers must see it too."""
        return str(tmp_path)


async def until(condition: Callable[[], bool], what: str, deadline: float = 30.0) -> None:
    """Poll until *condition* holds; fail after *deadline* seconds, naming *what*."""
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, f"not within {deadline:g} s: {what}"
        await asyncio.sleep(0.01)


async def appears(folder: str, name: str, deadline: float = 30.0) -> None:
    """Wait for a file that a task makes."""
    path = Path(folder) / name
    await until(path.exists, f"{name} in {sorted(p.name for p in path.parent.iterdir())}", deadline)


async def falls_still(folder: str, deadline: float = 30.0) -> None:
    """Wait until the file of `functions.beat` has not grown for half a second."""
    end = time.monotonic() + deadline
    before = -1
    while before != (size := _beats(folder)):
        assert time.monotonic() < end, f"the work goes on after {deadline:g} s"
        before = size
        await asyncio.sleep(0.5)


def _beats(folder: str) -> int:
    file = Path(folder) / "beats"
    return file.stat().st_size if file.exists() else 0


def open_gate(folder: str) -> None:
    """Let every task that waits in *folder* go on."""
    (Path(folder) / "gate").touch()


def marked(mark: str) -> list[str]:
    """The live processes that carry *mark* in their environment."""
    import psutil  # type: ignore[import-untyped]

    found = []
    for process in psutil.process_iter():
        try:
            zombie = process.status() == psutil.STATUS_ZOMBIE
            if not zombie and process.environ().get(functions.MARK) == mark:
                found.append(f"{process.pid} {process.cmdline()}")
        except psutil.Error:
            # It ended meanwhile, or belongs to somebody else.
            continue
    return found
