"""What users import says where they import it from."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import pickle
import pkgutil
import re
import subprocess
import sys
import textwrap
import typing
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import radical.asyncflow
from radical.asyncflow import Resources, RetryPolicy, TaskFuture
from radical.asyncflow._public import WRITTEN_IN, public

PACKAGES = [
    "radical.asyncflow",
    *sorted(
        module.name for module in pkgutil.iter_modules() if module.name.startswith("asyncflow_")
    ),
]
TASKS_PAGE = Path(__file__).parents[3] / "docs/reference/tasks.md"
NEEDS = {
    "asyncflow_backend_dask": "distributed",
    "asyncflow_backend_inference": "httpx",
    "asyncflow_backend_parsl": "zmq",
    "asyncflow_backend_rhapsody": "rhapsody",
}


def public_modules(name: str) -> Iterator[ModuleType]:
    """The module *name*, and all below it whose path has no private part."""
    module = import_module(name)
    yield module
    for found in pkgutil.iter_modules(getattr(module, "__path__", ())):
        if not found.name.startswith("_"):
            yield from public_modules(f"{name}.{found.name}")


def public_names(package: str) -> Iterator[tuple[str, Any]]:
    """Every class and function in an ``__all__`` of *package*, with the path it is asked for."""
    for module in public_modules(package):
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isroutine(thing):
                yield f"{module.__name__}.{name}", thing


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_says_the_public_module_that_has_it(package: str) -> None:
    if not find_spec(NEEDS.get(package, "sys")):
        pytest.skip(f"{NEEDS[package]} is not installed")
    wrong = []
    for path, thing in public_names(package):
        module, name = thing.__module__, thing.__qualname__
        private = any(part.startswith("_") for part in module.split("."))
        if private or getattr(import_module(module), name, None) is not thing:
            wrong.append(f"{path} says {module}.{name}")
    assert wrong == []


def test_the_names_of_the_package_are_among_them() -> None:
    found = {path for path, _ in public_names("radical.asyncflow")}
    assert {
        f"radical.asyncflow.{name}" for name in ("TaskFuture", "Resources", "cancelled")
    } <= found
    assert len(found) > 100


def test_the_errors_of_the_package_are_named_by_their_module_in_a_traceback() -> None:
    assert radical.asyncflow.TaskError.__module__ == "radical.asyncflow.errors"


# -------------------------------------------------------- what reads the module


def test_type_hints_can_be_had_as_far_as_in_the_module_that_has_the_code() -> None:
    wrong = []
    for path, thing in public_names("radical.asyncflow"):
        try:
            hints = typing.get_type_hints(thing)
        except NameError as error:
            # What only type checkers import is not there in the real module either.
            real = WRITTEN_IN.get(f"{thing.__module__}.{thing.__qualname__}", thing.__module__)
            if hasattr(import_module(real), error.name):
                wrong.append(f"{path}: {error}")
        else:
            if any(isinstance(hint, str | typing.ForwardRef) for hint in hints.values()):
                wrong.append(f"{path}: {hints}")
    assert wrong == []


def test_a_pydantic_model_may_have_fields_of_our_dataclasses() -> None:
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model(
        "Settings", resources=(Resources, ...), retries=(RetryPolicy, ...)
    )
    settings = model(resources={"cores": 2}, retries={"attempts": 4})
    assert (settings.resources, settings.retries) == (Resources(cores=2), RetryPolicy(attempts=4))


def test_a_marked_value_is_pickled_by_its_public_name() -> None:
    value = Resources(cores=2)
    pickled = pickle.dumps(value)
    assert b"_resources" not in pickled
    assert pickle.loads(pickled) == value


@pytest.mark.parametrize("name", ["Resources", "Command", "RetryPolicy"])
def test_unpickling_a_value_imports_no_engine(name: str) -> None:
    arguments = {"Resources": "cores=2", "Command": "'ls'", "RetryPolicy": "attempts=2"}[name]
    pickled = pickle.dumps(eval(f"radical.asyncflow.{name}({arguments})"))
    program = f"""
        import pickle, sys
        print(repr(pickle.loads({pickled!r})))
        rooms = {{module.split(".")[2] for module in sys.modules if module.count(".") > 1}}
        assert not rooms & {{"engine", "_dispatch", "_task", "_graph", "backend"}}, rooms
        assert "asyncio" not in sys.modules
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout[: len(name)]) == (0, name), done.stderr


def test_the_source_of_a_marked_function_is_found() -> None:
    from radical.asyncflow.model import parse_size

    assert "def parse_size" in inspect.getsource(parse_size)


# ------------------------------------------------------------------ the decorator


@public("textwrap")
@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    make: Callable[[], int]
    again: Frozen | None = None


@public("textwrap")
class Pair(NamedTuple):
    make: Callable[[], int]
    second: Any = None


@public("textwrap")
class Options(typing.TypedDict, total=False):
    make: Callable[[], int]


@public("textwrap")
class Half:
    known: Callable[[], int]
    unknown: NoSuchName  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("kind", "last"), [(Frozen, {"again": Frozen | None}), (Pair, {"second": Any}), (Options, {})]
)
def test_the_hints_of_a_marked_class_can_still_be_had(kind: type, last: dict[str, Any]) -> None:
    assert kind.__module__ == "textwrap"
    assert typing.get_type_hints(kind) == {"make": Callable[[], int], **last}


def test_the_fields_of_a_marked_dataclass_have_types() -> None:
    assert dataclasses.fields(Frozen)[0].type == Callable[[], int]


def test_a_hint_that_cannot_be_had_stays_a_text() -> None:
    assert Half.__annotations__ == {"known": Callable[[], int], "unknown": "NoSuchName"}


def test_the_real_module_is_kept_for_the_documentation() -> None:
    assert WRITTEN_IN["textwrap.Frozen"] == Frozen.__init__.__module__ == __name__


# --------------------------------------------------------- the attributes of futures


def test_a_future_shows_the_documented_attributes_and_those_of_asyncio() -> None:
    own = {name for name in dir(TaskFuture) if not name.startswith("_")} - {*dir(asyncio.Future)}
    documented = re.search(r"these public attributes:(.*?)\.\n", TASKS_PAGE.read_text(), re.DOTALL)
    assert documented
    assert own == set(re.findall(r"`(\w+)`", documented[1]))
