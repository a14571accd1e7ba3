"""What an import of the package brings along."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "click",
    "cloudpickle",
    "fsspec",
    "numpy",
    "pluggy",
    "psutil",
    "pydantic",
    "pytest",
    "rich",
    "tenacity",
}


def imported(statement: str) -> set[str]:
    """Top-level modules in memory after *statement* in a fresh interpreter."""
    program = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    modules = set(done.stdout.split())
    assert {"sys", "radical"} <= modules
    return modules


def test_the_package_alone_imports_no_dependency_and_no_asyncio() -> None:
    assert not imported("import radical.asyncflow") & (HEAVY | {"asyncio", "subprocess"})


@pytest.mark.parametrize(
    "statement",
    [
        "from radical.asyncflow import WorkflowEngine",
        "import radical.asyncflow.engine",
        "from radical.asyncflow import TaskFuture, Resources, RetryPolicy, Command, TaskEvent",
    ],
)
def test_the_engine_imports_nothing_heavy(statement: str) -> None:
    assert not imported(statement) & (HEAVY - {"pluggy"})


def test_no_backend_is_imported_with_the_engine() -> None:
    modules = imported("from radical.asyncflow import WorkflowEngine, factory, registry")
    assert not {name for name in modules if name.startswith("asyncflow_backend")}
    assert not modules & {"dask", "distributed"}


def test_every_public_name_can_be_imported() -> None:
    program = "import radical.asyncflow as a\nassert [getattr(a, name) for name in a.__all__]"
    assert imported(program) >= {"asyncio", "pluggy"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    program = "import radical.asyncflow as a\nassert not hasattr(a, 'Nonsense')"
    assert imported(program)


def test_a_worker_starts_without_the_engine() -> None:
    assert "rich" not in imported("import radical.asyncflow.worker")
