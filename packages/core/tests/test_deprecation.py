"""What warns of its removal: whom it tells, what, and where."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest
from radical.asyncflow import AsyncFlowDeprecationWarning, WorkflowEngine, deprecation
from radical.asyncflow._discovery.registry import registry
from radical.asyncflow.deprecation import deprecated, deprecated_parameter, warn_deprecated
from radical.asyncflow.hookspecs import OBSERVER_GROUP, STORE_GROUP
from radical.asyncflow.testing import ScriptedBackend

from .conftest import Distribution


@deprecated(since="1.2", removal="2.0", instead="use fresh()")
def old(number: int) -> int:
    """Return the next number."""
    return number + 1


class Thing:
    @deprecated(since="1.2", removal="2.0", instead="use fresh()")
    def method(self) -> str:
        return type(self).__name__


@deprecated_parameter("retry", new="on", since="1.3", removal="2.0")
def policy(*, on: str = "all") -> str:
    return on


@deprecated_parameter("speed", since="1.3", removal="2.0", instead="leave it out")
def move(speed: int = 1) -> int:
    return speed


def test_a_deprecated_function_warns_and_works() -> None:
    with pytest.warns(AsyncFlowDeprecationWarning) as caught:
        assert old(1) == 2
    (one,) = caught
    assert str(one.message) == (
        "old() is deprecated since version 1.2 and will be removed in 2.0: use fresh()"
    )
    assert one.filename == __file__


def test_a_deprecated_method_is_named_with_its_class() -> None:
    with pytest.warns(AsyncFlowDeprecationWarning, match=r"^Thing.method\(\) is deprecated"):
        assert Thing().method() == "Thing"


def test_a_deprecated_function_keeps_its_name_and_its_text() -> None:
    assert (old.__name__, old.__doc__) == ("old", "Return the next number.")


def test_a_renamed_parameter_warns_and_is_passed_on() -> None:
    with pytest.warns(AsyncFlowDeprecationWarning, match=r"policy\(retry=...\) .* 2.0: use on="):
        assert policy(retry="some") == "some"


def test_a_parameter_that_goes_warns_and_is_passed_on() -> None:
    with pytest.warns(AsyncFlowDeprecationWarning, match=r"move\(speed=...\) .*: leave it out$"):
        assert move(speed=3) == 3


def test_without_the_old_parameter_nothing_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (policy(on="some"), policy(), move(), move(2)) == ("some", "all", 1, 2)


def test_both_names_of_one_parameter_are_refused() -> None:
    with (
        pytest.warns(AsyncFlowDeprecationWarning),
        pytest.raises(TypeError, match=r"policy\(\) got on= and retry=, its former name"),
    ):
        policy(on="some", retry="all")


def test_the_warning_says_when_what_goes_and_travels() -> None:
    warning = AsyncFlowDeprecationWarning("old()", "1.2", "2.0", "use fresh()")
    twin = pickle.loads(pickle.dumps(warning))
    assert (twin.what, twin.since, twin.removal, twin.instead) == warning.args
    assert str(twin) == str(warning)


def test_users_see_it_without_an_option_wherever_their_code_is(tmp_path: Path) -> None:
    # A DeprecationWarning would be hidden: the line stands in no main script.
    (tmp_path / "helpers.py").write_text("from machinery import setting\nsetting()\n")
    (tmp_path / "machinery.py").write_text(
        textwrap.dedent("""
            from radical.asyncflow.deprecation import warn_deprecated
            __name__ = "radical.asyncflow.machinery"
            def setting():
                warn_deprecated("'size'", since="1.2", removal="2.0", instead="use 'length'")
        """)
    )
    done = subprocess.run(
        [sys.executable, "-c", "import helpers"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == (
        f"{tmp_path / 'helpers.py'}:2: AsyncFlowDeprecationWarning: 'size' is deprecated since "
        "version 1.2 and will be removed in 2.0: use 'length'\n  setting()\n"
    )


def test_a_warning_of_a_program_made_of_ours_alone_has_a_line_too() -> None:
    frames = {"__name__": "radical.asyncflow.cli", "warn": warn_deprecated}
    code = "warn('x', since='1.2', removal='2.0', instead='y')"
    with pytest.warns(AsyncFlowDeprecationWarning) as caught:
        exec(code, frames)
    assert caught[0].filename == __file__


PLUGIN = """
    from radical.asyncflow import RetryPolicy
    from radical.asyncflow.deprecation import deprecated, warn_deprecated

    def observer(run, text):
        for _ in range(3):
            RetryPolicy(retry=ValueError)
        return list

    def calls(function):
        return function()

    @deprecated(since="0.1", removal="1.0", instead="use fresh()")
    def of_its_own():
        return inner()

    def inner():
        warn_deprecated("the setting 'x'", since="0.1", removal="1.0", instead="leave it out")
        return "done"
"""


@pytest.fixture
def plugin(distribution: Distribution, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a plugin that uses deprecated things, and forget what others were told."""
    monkeypatch.setattr(deprecation, "_plugins", {})
    monkeypatch.setattr(deprecation, "_told", set())
    entries = {
        "observers": {"watch": "acme_old:observer"},
        "stores": {"calls": "acme_old:calls", "own": "acme_old:of_its_own"},
    }
    distribution("acme-old", entries, {"acme_old": PLUGIN}, version="0.7")


@pytest.mark.usefixtures("plugin")
async def test_a_plugin_that_uses_something_deprecated_is_named_once() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            async with WorkflowEngine.create(ScriptedBackend(), observers="watch"):
                pass
    (one,) = [each for each in caught if each.category is AsyncFlowDeprecationWarning]
    assert str(one.message) == (
        "acme-old 0.7 uses RetryPolicy(retry=...), which is deprecated since version 1.0 and "
        "will be removed in 2.0: use on="
    )
    assert Path(one.filename).name == "acme_old.py"
    assert pickle.loads(pickle.dumps(one.message)).plugin == "acme-old 0.7"


@pytest.mark.usefixtures("plugin")
def test_each_thing_that_a_plugin_uses_is_named_once() -> None:
    calls = registry.named.load(STORE_GROUP, "calls")
    with pytest.warns(AsyncFlowDeprecationWarning) as caught:
        assert [calls(each) for each in 3 * [move_old, old_zero]] == 6 * [None]
    assert [str(one.message).partition(",")[0] for one in caught] == [
        "acme-old 0.7 uses move_old()",
        "acme-old 0.7 uses old_zero()",
    ]


@deprecated(since="1.2", removal="2.0", instead="use fresh()")
def move_old() -> None: ...


@deprecated(since="1.2", removal="2.0", instead="use fresh()")
def old_zero() -> None: ...


@pytest.mark.usefixtures("plugin")
def test_what_a_plugin_announces_of_its_own_is_told_to_who_uses_it() -> None:
    own = registry.named.load(STORE_GROUP, "own")
    with pytest.warns(AsyncFlowDeprecationWarning) as caught:
        assert own() == "done"
    assert [one.filename for one in caught] == [__file__, __file__]
    assert [str(one.message).partition(" is ")[0] for one in caught] == [
        "of_its_own()",
        "the setting 'x'",
    ]


@pytest.mark.usefixtures("plugin")
def test_a_warning_that_is_an_error_stays_one() -> None:
    observer = registry.named.load(OBSERVER_GROUP, "watch")
    for _ in range(2):
        with pytest.raises(AsyncFlowDeprecationWarning, match=r"acme-old 0\.7 uses"):
            observer("run", "")


@pytest.mark.usefixtures("plugin")
def test_the_program_is_still_told_at_each_of_its_lines() -> None:
    registry.named.load(OBSERVER_GROUP, "watch")
    with pytest.warns(AsyncFlowDeprecationWarning) as caught:
        assert [old(1), old(2)] == [2, 3]
    assert [one.message.plugin for one in caught] == ["", ""]  # type: ignore[union-attr]
