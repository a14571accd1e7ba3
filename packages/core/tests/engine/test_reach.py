"""What a function can reach counts, and what of it cannot be compared is named."""

from __future__ import annotations

import _statistics
import asyncio
import functools
import importlib
import importlib.util
import os
import shutil
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from radical.asyncflow import ConfigurationError, WorkflowEngine
from radical.asyncflow._resume import distributions
from radical.asyncflow._resume.identity import Calls, Descriptions, Unidentified, content
from radical.asyncflow.journal import Journal, read
from radical.asyncflow.report import Reuse

from .resuming import Program, Sources


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


# ------------------------------------------------------- what cannot be compared

LOCK = threading.Lock()
GENERATOR = (number for number in range(3))


class Holder:
    lock = threading.Lock()


class Unpicklable:
    def __reduce__(self) -> Any:
        raise ValueError("not this one")


UNPICKLABLE = Unpicklable()
SETTINGS = SimpleNamespace(inner={"lock": LOCK})


def with_lock() -> Any:
    return LOCK


def helper() -> Any:
    return with_lock()


def with_generator() -> Any:
    return GENERATOR


def with_class() -> Any:
    return Holder


def with_object() -> Any:
    return UNPICKLABLE


def with_settings() -> Any:
    return SETTINGS


def with_eval() -> Any:
    return eval("1")


def with_globals() -> Any:
    return globals()


def with_import() -> Any:
    return importlib.import_module("json")


def with_modules() -> Any:
    return sys.modules["json"]


def with_subclasses() -> Any:
    return Holder.__subclasses__()


def with_missing_module() -> Any:
    import no_such_module  # type: ignore[import-not-found]

    return no_such_module


HERE = __name__


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (with_lock, f"{HERE}.LOCK: a lock cannot be pickled"),
        (helper, f"{HERE}.LOCK: a lock cannot be pickled"),
        (with_generator, f"{HERE}.GENERATOR: a generator cannot be pickled"),
        (with_class, "Holder.lock: a lock cannot be pickled"),
        (with_object, f"{HERE}.UNPICKLABLE: a Unpicklable cannot be pickled: not this one"),
        (with_settings, f"{HERE}.SETTINGS: a lock cannot be pickled"),
        (with_eval, "eval() is used"),
        (with_globals, "globals() is used"),
        (with_import, "import_module() is used"),
        (with_modules, "sys.modules is used"),
        (with_subclasses, "with_subclasses() uses __subclasses__"),
        (with_missing_module, "the module no_such_module cannot be found"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_what_cannot_be_compared_has_its_task_run_and_is_named(
    program: Program, function: Callable[[], Any], why: str
) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        task = flow.function_task(name="task")(function)
        return await asyncio.gather(task(), return_exceptions=True)

    for _ in range(2):
        assert await program.run(main) == ["task"]
        assert why in str(program.why("task"))


# ------------------------------------------------------------- values that change


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("K = 2", "K = 3", "what it uses changed since RUN: K"),
        ("y * 10", "y * 11", "what it uses changed since RUN: the code of helper()"),
        ("helper(x) + K", "helper(x) - K", "its source changed since RUN ("),
    ],
)
async def test_a_run_explains_which_part_changed(
    program: Program, before: str, after: str, why: str
) -> None:
    text = """
        K = 2
        def helper(y): return y * 10
        def body(x): return helper(x) + K
    """
    for source in (text, text.replace(before, after)):
        around: dict[str, Any] = {"__name__": "__main__"}
        exec(textwrap.dedent(source), around)

        async def main(flow: WorkflowEngine, body: Any = around["body"]) -> Any:
            return await flow.function_task(body)(1)

        assert await program.run(main) == ["body"]
    runs = read(program.path)
    (task,) = runs[-1].tasks.values()
    (reason,) = Reuse(runs, runs[-1]).explain(task).reasons
    assert reason.startswith(why.replace("RUN", runs[0].uid))


async def test_a_global_counts_by_its_value_when_the_task_is_sent(program: Program) -> None:
    settings = SimpleNamespace(k=1)

    def body(x: int) -> int:
        return int(settings.k) * x

    async def main(flow: WorkflowEngine, values: list[int]) -> list[int]:
        task = flow.function_task(body)
        results = []
        for value in values:
            settings.k = value
            results.append(await task(1))
        return results

    await program.run(lambda flow: main(flow, [1, 2, 3]))
    assert program.result == [1, 2, 3]
    assert await program.run(lambda flow: main(flow, [2, 4, 1])) == ["body"]
    assert program.result == [2, 4, 1]


async def test_a_result_is_not_kept_if_what_its_task_uses_changed_while_it_ran(
    program: Program,
) -> None:
    async def main(flow: WorkflowEngine) -> int:
        total = [0]

        def count(x: int) -> int:
            total[0] += x
            return total[0]

        task = flow.function_task(count)
        return await task(1) + await task(2)

    for _ in range(2):
        assert await program.run(main) == ["count", "count"]
        assert program.result == 4
    assert "total in" in str(program.why("count"))
    assert "changed while it ran" in str(program.why("count"))


async def test_a_result_is_not_kept_if_its_task_is_the_first_that_imports_a_module(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "late_rate.py").write_text("RATE = 2\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    async def main(flow: WorkflowEngine) -> int:
        def scale(x: int) -> int:
            import late_rate  # type: ignore[import-not-found]

            return x * late_rate.RATE

        return await flow.function_task(scale)(3)

    assert await program.run(main) == ["scale"]
    assert program.result == 6
    del sys.modules["late_rate"]
    assert "the module late_rate was imported while it ran" in str(program.why("scale"))


class Lazy:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    @functools.cached_property
    def table(self) -> list[int]:
        return [self.factor]


async def test_a_cached_property_that_stores_its_value_is_no_change(program: Program) -> None:
    async def main(flow: WorkflowEngine, factor: int) -> list[int]:
        lazy = Lazy(factor)

        def body(x: int) -> int:
            return lazy.table[0] * x

        task = flow.function_task(body)
        return await asyncio.gather(task(1), task(2))

    assert await program.run(lambda flow: main(flow, 3)) == ["body", "body"]
    assert await program.run(lambda flow: main(flow, 3)) == []
    assert await program.run(lambda flow: main(flow, 4)) == ["body", "body"]
    assert program.result == [4, 8]


def test_a_description_holds_until_something_changes(tmp_path: Path) -> None:
    module = Sources(tmp_path).load(
        "K = [1]\ndef helper():\n    return K\ndef body():\n    return helper()\n"
    )
    descriptions = Descriptions()
    first = descriptions.describe(module.body)
    descriptions.look_again()
    assert descriptions.describe(module.body) is first
    module.K.append(2)
    assert descriptions.describe(module.body) is first  # it is looked at once a turn
    descriptions.look_again()
    second = descriptions.describe(module.body)
    assert second.digest != first.digest
    module.K.pop()
    descriptions.look_again()
    assert descriptions.describe(module.body).digest == first.digest


# ------------------------------------------------------------------- distributions


def forget() -> None:
    """Look up again what is installed, which does not change while a program runs."""
    for name in ("home_of_file", "_metadata", "_text", "_home_of"):
        getattr(distributions, name).cache_clear()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that installs the distribution ``guest-tools`` and imports its module."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def install(version: str, text: str, *, listed: bool = True, local: bool = False) -> Any:
        for old in folder.glob("*.dist-info"):
            shutil.rmtree(old)
        info = folder / f"guest_tools-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: guest-tools\nVersion: {version}\n"
        )
        (folder / "guest.py").write_text(text)
        record = f"guest.py,sha256={hash(text)},{len(text)}\n" if listed else ""
        (info / "RECORD").write_text(f"guest_tools/nothing.py,,\n{record}")
        if local:
            (info / "direct_url.json").write_text('{"url": "file:///here", "dir_info": {}}')
        for known in (
            distributions.home_of_file,
            distributions._metadata,
            distributions._text,
            distributions._home_of,
        ):
            known.cache_clear()
        sys.modules.pop("guest", None)
        importlib.invalidate_caches()
        return importlib.import_module("guest")

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield install
    sys.modules.pop("guest", None)
    for known in (
        distributions.home_of_file,
        distributions._metadata,
        distributions._text,
        distributions._home_of,
    ):
        known.cache_clear()


def user_of(guest: Any) -> Callable[[], Any]:
    def body() -> Any:
        return guest.work()

    return body


OLD, NEW = "def work():\n    return 1\n", "def work():\n    return 22\n"


def test_what_is_installed_counts_by_its_version(site: Any) -> None:
    first = content(user_of(site("1.0", OLD)))
    assert content(user_of(site("1.0", NEW))) == first
    assert content(user_of(site("1.1", OLD))) != first


def test_versions_can_be_left_out(site: Any) -> None:
    def described(ignored: Any) -> list[bytes]:
        made = [Descriptions(ignored).describe(user_of(site(v, OLD))) for v in ("1.0", "1.1")]
        return [description.digest for description in made]

    for ignored, count in ((["guest-tools"], 1), (True, 1), (["numpy"], 2), (False, 2)):
        assert len(set(described(ignored))) == count


def test_what_was_installed_from_a_folder_counts_by_what_was_installed(site: Any) -> None:
    first = content(user_of(site("1.0", OLD, local=True)))
    assert content(user_of(site("1.0", OLD, local=True))) == first
    assert content(user_of(site("1.0", NEW, local=True))) != first


def test_a_file_that_no_distribution_has_counts_by_its_code(site: Any) -> None:
    first = content(user_of(site("1.0", OLD, listed=False)))
    assert content(user_of(site("1.1", OLD, listed=False))) == first
    assert content(user_of(site("1.0", NEW, listed=False))) != first


def test_the_metadata_of_a_source_tree_installs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    info = tmp_path / "guest_tools.egg-info"
    info.mkdir()
    (info / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: guest-tools\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("guest\n")
    digests = []
    for text in (OLD, NEW):
        (tmp_path / "guest.py").write_text(text)
        forget()
        importlib.invalidate_caches()
        monkeypatch.delitem(sys.modules, "guest", raising=False)
        digests.append(content(user_of(importlib.import_module("guest"))))
    assert digests[0] != digests[1]
    forget()


def test_a_function_that_replaces_an_installed_one_counts_by_its_code(site: Any) -> None:
    guest = site("1.0", f"class Worker:\n    def work(self):\n        return 1\n{OLD}")

    def body() -> Any:
        return guest.Worker().work()

    def two(self: Any) -> int:
        return 2

    def three(self: Any) -> int:
        return 3

    first = content(body)
    guest.Worker.work = two
    second = content(body)
    guest.Worker.work = three
    assert len({first, second, content(body)}) == 3


GUEST = """
RATE = 2
class Tool:
    def rate(self):
        return RATE
def work(x):
    return Tool().rate() * x
"""


def uses_function(x: int) -> Any:
    import guest  # type: ignore[import-not-found]

    return guest.work(x)


def uses_class(x: int) -> Any:
    from guest import Tool

    return Tool().rate() * x


def uses_whole(x: int) -> Any:
    import guest

    return vars(guest)["work"](x)


def uses_constant(x: int) -> Any:
    import guest

    return guest.RATE * x


async def scaled(flow: WorkflowEngine, function: Any) -> list[int]:
    task = flow.function_task(function)
    return [await task(x) for x in (1, 2)]


@pytest.mark.parametrize("function", [uses_function, uses_class, uses_whole])
async def test_a_task_that_is_the_first_to_import_what_is_installed_is_reused(
    program: Program, site: Any, function: Any
) -> None:
    site("1.0", GUEST)
    sys.modules.pop("guest")
    name = function.__name__
    assert await program.run(lambda flow: scaled(flow, function)) == [name, name]
    sys.modules.pop("guest")
    assert await program.run(lambda flow: scaled(flow, function)) == []  # before the import
    assert program.result == [2, 4]
    importlib.import_module("guest")
    assert await program.run(lambda flow: scaled(flow, function)) == []  # and after it
    site("1.1", GUEST.replace("RATE = 2", "RATE = 3"))
    assert await program.run(lambda flow: scaled(flow, function)) == [name, name]
    assert program.result == [3, 6]


async def test_a_constant_of_what_is_installed_is_known_only_when_it_is_imported(
    program: Program, site: Any
) -> None:
    site("1.0", GUEST)
    sys.modules.pop("guest")
    assert len(await program.run(lambda flow: scaled(flow, uses_constant))) == 2
    assert "the module guest was imported while it ran" in str(program.why("uses_constant"))
    assert len(await program.run(lambda flow: scaled(flow, uses_constant))) == 1
    assert await program.run(lambda flow: scaled(flow, uses_constant)) == []
    importlib.import_module("guest").RATE = 5
    assert len(await program.run(lambda flow: scaled(flow, uses_constant))) == 2
    assert program.result == [5, 10]


async def test_what_replaces_something_installed_counts_also_after_a_first_import(
    program: Program, site: Any
) -> None:
    site("1.0", GUEST)
    sys.modules.pop("guest")

    async def main(flow: WorkflowEngine, factor: int) -> list[int]:
        tasks = [flow.function_task(each) for each in (uses_function, uses_class)]
        results = [await task(1) for task in tasks]
        guest = importlib.import_module("guest")
        guest.Tool.rate = lambda self: factor  # noqa: ARG005
        guest.work = lambda x: factor * x
        results += [await task(1) for task in tasks]
        return results

    names = ["uses_function", "uses_class"]
    assert await program.run(lambda flow: main(flow, 10)) == names * 2
    assert program.result == [2, 2, 10, 10]
    sys.modules.pop("guest")
    assert await program.run(lambda flow: main(flow, 20)) == names
    assert program.result == [2, 2, 20, 20]


def test_what_an_import_inside_of_a_function_reaches_is_told_apart(site: Any) -> None:
    guest = site("1.0", GUEST + "def other(x):\n    return x\n")

    def body(x: int) -> Any:
        import guest

        return guest.work(x) + guest.other(x)

    def mine(x: int) -> int:
        return 7 * x

    work, other = guest.work, guest.other
    first = content(body)
    guest.work = mine
    second = content(body)
    guest.work, guest.other = work, mine
    third = content(body)
    guest.other = other
    assert len({first, second, third}) == 3
    assert content(body) == first
    sys.modules.pop("guest")
    assert content(body) == first


def test_numbers_that_are_known_count_before_their_module_is_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def body(x: float) -> Any:
        import cmath

        return cmath.pi * x

    def reads(x: float) -> Any:
        import cmath

        return cmath.log(cmath.tau * x)

    cmath = importlib.import_module("cmath")
    for function in (body, reads):
        after = content(function)
        monkeypatch.delitem(sys.modules, "cmath")
        assert content(function) == after
        monkeypatch.setitem(sys.modules, "cmath", cmath)
        monkeypatch.setattr(cmath, "pi", 3.0)
        assert (content(function) == after) is (function is reads)
        monkeypatch.undo()


def test_a_file_of_the_user_s_that_has_the_name_of_a_module_of_python_counts_by_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "chunk", raising=False)

    def body() -> Any:
        import chunk

        return chunk.SIZE  # type: ignore[attr-defined]

    digests = []
    for size in (1, 2):
        (tmp_path / "chunk.py").write_text(f"SIZE = {size}{' ' * size}\n")
        importlib.invalidate_caches()
        digests.append(content(body))
    assert digests[0] != digests[1]


@pytest.mark.parametrize("wrong", ["numpy", 1, [1]])
def test_versions_that_are_left_out_are_named(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="ignore_versions must be a list"):
        Journal("journal", ignore_versions=wrong)


def test_a_compiled_module_of_the_user_counts_by_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = getattr(_statistics, "__file__", None)
    if file is None:
        pytest.skip("this Python has no compiled modules in files")

    def body() -> Any:
        return own._normal_dist_inv_cdf(0.5, 0.0, 1.0)

    digests = []
    for number in range(2):
        copy = tmp_path / f"{number}" / os.path.basename(file)  # noqa: PTH119
        copy.parent.mkdir()
        copy.write_bytes(Path(file).read_bytes() + b"x" * number)
        spec = importlib.util.spec_from_file_location("_statistics", copy)
        assert spec is not None
        own = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "_statistics", own)
        digests += [content(body), content(own._normal_dist_inv_cdf)]
    assert len(set(digests)) == 4


# ---------------------------------------------------------------------- arguments


def free(x: int, y: int = 1, *more: int, z: int = 2, **named: int) -> None: ...


def bare(x: int, y: int = 1) -> None: ...


def only(x: int, /, *, z: int) -> None: ...


class Thing:
    def method(self, x: int, y: tuple[int, ...] = (1,)) -> None: ...


def arguments(function: Any, *args: Any, **kwargs: Any) -> bytes:
    calls = Calls(function)
    given = calls.arrange(args, kwargs)
    plain = calls.plain(*given)
    return content(given, lambda value: repr(value).encode()) if plain is None else plain


@pytest.mark.parametrize(
    "equal",
    [
        [((1,), {}), ((), {"x": 1}), ((1, 1), {}), ((1,), {"y": 1}), ((), {"y": 1, "x": 1})],
        [((1, 2), {}), ((1,), {"y": 2}), ((), {"y": 2, "x": 1})],
    ],
)
@pytest.mark.parametrize("function", [free, bare])
def test_equal_calls_are_the_same_however_they_are_written(function: Any, equal: Any) -> None:
    assert len({arguments(function, *args, **kwargs) for args, kwargs in equal}) == 1


def test_a_default_of_a_method_that_is_spelled_out_is_the_same() -> None:
    method = Thing().method
    default = Thing.method.__defaults__ or ()
    assert arguments(method, 1) == arguments(method, x=1) == arguments(method, 1, default[0])


def test_calls_that_differ_stay_different() -> None:
    calls = [
        ((1,), {}),
        ((2,), {}),
        ((1, 2), {}),
        ((1, 1, 2), {}),
        ((1,), {"z": 3}),
        ((1,), {"w": 2}),
        ((1.0,), {}),
        ((True,), {}),
        (("<default>",), {}),
        ((1, "<default>"), {}),
        ((1, True), {}),
        ((1, 1.0), {}),
    ]
    assert len({arguments(free, *args, **kwargs) for args, kwargs in calls}) == len(calls)
    assert arguments(only, 1, z=2) != arguments(only, 2, z=1)


@pytest.mark.parametrize("digits", [10, 5_000])
def test_integers_of_any_size_count_by_their_value(digits: int) -> None:
    one, other = 10**digits, 10**digits + 1
    assert arguments(bare, one) == arguments(bare, 10**digits) != arguments(bare, other)
    assert content([one, [one]]) != content([one, [other]])


def test_an_argument_counts_with_the_code_of_its_class(tmp_path: Path) -> None:
    text = "class C:\n    def f(self):\n        return 1\n"
    sources = Sources(tmp_path)
    one, same, other = map(sources.load, (text, text, text.replace("1", "2")))
    digests = [Descriptions().content([module.C()]) for module in (one, same, other)]
    assert digests[0] == digests[1] != digests[2]


def test_an_argument_of_a_class_that_cannot_be_compared_is_named() -> None:
    with pytest.raises(Unidentified, match=r"Holder\.lock: a lock cannot be pickled"):
        Descriptions().content(Holder())
