"""Fixtures of this backend's tests: an empty folder, and an engine on one pilot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import chdir
from pathlib import Path

import pytest
import pytest_asyncio
from asyncflow_backend_radical import RadicalExecutionBackend
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.testing import LeakGuard
from slurm_cluster import cut_off_node_if_allowed, three_nodes

__all__ = ["cut_off_node_if_allowed", "three_nodes"]

_OWN_PILOT = frozenset(
    {
        "test_a_function_of_a_module_beside_the_script_runs",
        "test_a_service_ends_with_the_engine",
        "test_shutdown_ends_the_process_tree_of_a_function",
        "test_shutdown_ends_the_whole_process_tree",
    }
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out the checks of the kit that each start a pilot: together they take minutes."""
    for item in items:
        name = getattr(item, "originalname", "")
        family = getattr(getattr(item, "cls", None), "__mro__", ())
        home = next((cls.__name__ for cls in family if name in vars(cls)), "")
        if home == "Lifecycle" or name in _OWN_PILOT:
            item.add_marker(pytest.mark.soak)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Run the test in an empty folder, and check that it leaves no file there."""
    folder = tmp_path_factory.mktemp("cwd")
    with chdir(folder):
        yield folder
        assert [path.name for path in folder.iterdir() if path.name != "asyncflow-runs"] == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def flow() -> AsyncIterator[WorkflowEngine]:
    """Give the tests of a module one engine with a pilot; check that nothing of it is left."""
    async with LeakGuard():
        flow = await WorkflowEngine.create(RadicalExecutionBackend(walltime=20))
        place = flow.work_dir.with_name(f"{flow.work_dir.name}-radical")
        assert [*place.glob("*/host.log")] != []
        yield flow
        await flow.shutdown()
        assert not place.exists()  # after a success
