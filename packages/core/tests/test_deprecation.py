"""What warns of its removal: whom it tells, what, and where."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest
from radical.asyncflow import AsyncFlowDeprecationWarning
from radical.asyncflow.deprecation import deprecated, deprecated_parameter, warn_deprecated


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
