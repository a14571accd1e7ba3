"""The base of all checks: the attributes that a subclass sets, and the fixtures."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Collection, Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import pytest_asyncio

from ...backend import Capabilities, ExecutionBackend
from ...engine import WorkflowEngine
from .._leaks import LeakGuard
from .bare import Bare
from .needs import DECLARED, Deselection, needs_of
from .waiting import open_gate


class _Shared:
    """The engine or backend that the checks of one class share, if the scope is the class."""

    def __init__(self) -> None:
        self.flow: WorkflowEngine | None = None
        self.bare: Bare | None = None


@pytest.mark.asyncio(loop_scope="class")
class Suite:
    """The base of the themes; see `BackendConformance` for what a subclass sets."""

    slots: ClassVar[int | None]
    inline: ClassVar[bool]
    load: ClassVar[int]
    patience: ClassVar[float]
    travel: ClassVar[float]
    backend_scope: ClassVar[Literal["test", "class"]]
    backend_name: ClassVar[str | None]
    unmet_needs: ClassVar[Collection[str] | None]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Deselect the checks that are not used.

        This is the one hook that pytest calls on a class: so it works for whoever subclasses
        the kit, without a ``conftest.py``.
        """
        Deselection.register(metafunc.config)

    def make_backend(self) -> ExecutionBackend | Awaitable[ExecutionBackend]:
        raise NotImplementedError

    async def new_backend(self) -> ExecutionBackend:
        made = self.make_backend()
        return await made if isinstance(made, Awaitable) else made

    async def new_flow(self, **options: Any) -> WorkflowEngine:
        return await WorkflowEngine.create(await self.new_backend(), **options)

    async def capabilities(self) -> Capabilities:
        """Return those of a new backend, which is made once for each class."""
        cls = type(self)
        if "_capabilities" not in cls.__dict__:
            backend = await self.new_backend()
            cls._capabilities = backend.capabilities  # type: ignore[attr-defined]
            await backend.shutdown()
        return cls._capabilities  # type: ignore[attr-defined, no-any-return]

    async def unmet(self) -> set[str]:
        """Return the needs that this backend does not meet."""
        declared = await self.capabilities()
        met = {word: is_met(declared) for word, is_met in DECLARED.items()}
        met["slots"] = self.slots is not None
        met["workers"] = not self.inline
        met["plugin"] = self.backend_name is not None
        return {word for word, is_met in met.items() if not is_met}

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
        """Skip a check that needs more than the backend declares, and was not deselected."""
        words = needs_of(request.function)
        if words and (missing := words & await self.unmet()):
            pytest.skip(
                f"the backend does not meet: {', '.join(sorted(missing))}; put that into "
                "unmet_needs, which deselects the check"
            )

    @pytest.fixture(scope="class")
    @classmethod
    def _home(cls) -> Iterator[str]:
        """Make a folder that is there as long as what the checks of the class share."""
        with tempfile.TemporaryDirectory() as folder:
            yield folder

    @pytest.fixture(autouse=True)
    def _elsewhere(self, _home: str) -> Iterator[None]:
        """Run the check in an empty folder, where a file that the backend left is noticed.

        The workers of a shared backend stay in the folder in which they were started, so
        that one is there for as long as they are.
        """
        shared = self.backend_scope == "class"
        with tempfile.TemporaryDirectory() as folder, chdir(_home if shared else folder):
            yield

    @pytest_asyncio.fixture(loop_scope="class")
    async def guard(self, _declared: None, _elsewhere: None) -> AsyncIterator[None]:
        """Fail if the check leaves anything, where each check has a backend of its own."""
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
        """Give an engine on the backend; `backend_scope` says whose it is."""
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
        """Give the backend without an engine; fail if it broke the contract."""
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
    def folder(self, tmp_path: Path) -> Iterator[str]:
        """Name the folder in which tasks and checks leave files for each other."""
        yield str(tmp_path)
        # A check that failed may not have come so far, and the backend ends only now.
        open_gate(str(tmp_path))
