from __future__ import annotations

import pickle
import sys
import types
from typing import Any

import pytest
from radical.asyncflow.errors import RemoteError, RemoteTraceback
from radical.asyncflow.worker import Failure


class PlainError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code

    def __reduce__(self) -> Any:
        return PlainError, (self.code,)


class LoudError(Exception):
    def __str__(self) -> str:
        raise SystemExit("from __str__")


class UnpicklableError(Exception):
    def __reduce__(self) -> Any:
        raise KeyboardInterrupt("from __reduce__")


class StatelessError(Exception):
    def __getstate__(self) -> Any:
        raise ValueError("from __getstate__")

    def __reduce_ex__(self, protocol: Any) -> Any:
        return StatelessError, (), self.__getstate__()


class TwoArgumentsError(Exception):
    """The classic: its ``args`` do not fit its ``__init__``."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


def _leave() -> None:
    sys.exit("from unpickling")


class LeaverError(Exception):
    def __reduce__(self) -> Any:
        return _leave, ()


class ImpostorError(Exception):
    def __reduce__(self) -> Any:
        return int, (3,)


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as exc:
        return exc


def there_and_back(error: BaseException) -> BaseException:
    return pickle.loads(pickle.dumps(Failure.pack(error))).rebuild()  # type: ignore[no-any-return]


def test_the_original_type_and_attributes_come_back() -> None:
    error = there_and_back(raised(PlainError(7)))
    assert type(error) is PlainError
    assert error.code == 7


def test_the_cause_is_the_traceback_of_the_other_side() -> None:
    error = there_and_back(raised(ValueError("x")))
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "in raised" in error.__cause__.text
    assert "ValueError: x" in error.__cause__.text


def test_a_cause_of_its_own_is_kept_and_the_traceback_stands_behind_it() -> None:
    error = there_and_back(raised(ValueError("x"), raised(KeyError("y"))))
    assert type(error.__cause__) is KeyError
    assert isinstance(error.__cause__.__cause__, RemoteTraceback)
    assert "KeyError: 'y'" in error.__cause__.__cause__.text


def test_a_cause_that_cannot_be_pickled_costs_no_more_than_itself() -> None:
    error = there_and_back(raised(ValueError("x"), raised(UnpicklableError("secret"))))
    assert type(error) is ValueError
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "secret" in error.__cause__.text


def test_a_circle_of_causes_ends() -> None:
    one, two = ValueError("one"), KeyError("two")
    one.__cause__, two.__cause__ = two, one
    error = there_and_back(one)
    assert error.__cause__ is not None
    assert isinstance(error.__cause__.__cause__, RemoteTraceback)


def test_notes_survive() -> None:
    error = raised(ValueError("x"))
    error.add_note("look here")
    assert there_and_back(error).__notes__ == ["look here"]


def test_notes_survive_a_reduce_that_forgets_them() -> None:
    error = raised(PlainError(1))
    error.add_note("look here")
    assert there_and_back(error).__notes__ == ["look here"]


@pytest.mark.parametrize("error", [UnpicklableError("x"), StatelessError("x")])
def test_what_cannot_be_pickled_or_rebuilt_becomes_a_remote_error(error: Exception) -> None:
    rebuilt = there_and_back(raised(error))
    assert isinstance(rebuilt, RemoteError)
    assert rebuilt.type_name == f"{__name__}.{type(error).__name__}"
    assert rebuilt.message == str(error)
    assert isinstance(rebuilt.__cause__, RemoteTraceback)


class KeywordError(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class WordyError(Exception):
    """Python would rebuild it with another message."""

    def __init__(self, what: str) -> None:
        super().__init__(f"no {what}")


class FileError(FileNotFoundError):
    def __init__(self, *, path: str) -> None:
        super().__init__(2, "not there", path)


class ExitError(SystemExit):
    def __init__(self, *, number: int) -> None:
        super().__init__(number)


class GroupError(ExceptionGroup[Exception]):
    def __init__(self, _message: str, errors: list[Exception]) -> None:
        self.size = len(errors)


@pytest.mark.parametrize(
    "error",
    [
        TwoArgumentsError("a", "b"),
        KeywordError(code=3),
        WordyError("bread"),
        FileError(path="/a/b"),
        ExitError(number=3),
        GroupError("several", [ValueError("x"), KeywordError(code=4)]),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
        OSError(5, "input/output", "/a"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_comes_back_as_it_was_whatever_its_init_takes(error: BaseException) -> None:
    rebuilt = there_and_back(raised(error))
    assert type(rebuilt) is type(error)
    assert str(rebuilt) == str(error)
    assert repr(rebuilt.args) == repr(error.args)
    for name in ("code", "filename", "errno", "size", "object", "reason"):
        assert getattr(rebuilt, name, None) == getattr(error, name, None)
    assert isinstance(rebuilt.__cause__, RemoteTraceback)


def test_unpickling_that_exits_becomes_a_remote_error() -> None:
    assert isinstance(there_and_back(raised(LeaverError("x"))), RemoteError)


def test_unpickling_to_something_else_becomes_a_remote_error_that_says_so() -> None:
    error = there_and_back(raised(ImpostorError("x")))
    assert isinstance(error, RemoteError)
    assert "type int" in error.__notes__[0]


def test_an_absent_module_becomes_a_remote_error(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("only_on_the_other_side")
    exec("class Odd(Exception): pass", module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    failure = Failure.pack(raised(module.Odd("x")))
    monkeypatch.delitem(sys.modules, module.__name__)
    error = failure.rebuild()
    assert isinstance(error, RemoteError)
    assert error.type_name == "only_on_the_other_side.Odd"
    assert "No module named" in error.__notes__[0]


def test_broken_bytes_become_a_remote_error() -> None:
    assert isinstance(Failure("X", "m", "t", b"garbage").rebuild(), RemoteError)


def test_a_str_method_that_raises_does_not_stop_it() -> None:
    failure = Failure.pack(raised(LoudError("x")))
    assert failure.message == "(its text cannot be read: SystemExit)"
    assert type(failure.rebuild()) is LoudError


def test_a_builtin_has_its_bare_name() -> None:
    assert Failure.pack(ValueError()).type_name == "ValueError"


def test_a_huge_message_is_cut_in_the_middle() -> None:
    failure = Failure.pack(raised(ValueError("begin" + "x" * 1_000_000 + "end")))
    assert len(failure.traceback) <= 64 * 1024
    assert failure.traceback.startswith("Traceback")
    assert failure.traceback.rstrip().endswith("end")
    assert len(failure.message) <= 64 * 1024


def test_a_deep_recursion_has_a_short_text() -> None:
    def dive() -> None:
        dive()

    try:
        dive()
    except RecursionError as exc:
        failure = Failure.pack(exc)
    assert len(failure.traceback) <= 64 * 1024
    assert type(failure.rebuild()) is RecursionError


def test_a_group_brings_its_members() -> None:
    error = there_and_back(raised(ExceptionGroup("several", [ValueError("a"), KeyError("b")])))
    assert isinstance(error, ExceptionGroup)
    assert [type(member) for member in error.exceptions] == [ValueError, KeyError]
