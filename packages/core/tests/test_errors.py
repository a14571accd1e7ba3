"""The errors: their tree, their texts, and that they can travel."""

from __future__ import annotations

import inspect
import pickle

import pytest
from radical.asyncflow import errors
from radical.asyncflow.errors import (
    AsyncFlowError,
    DependencyFailureError,
    ExecutableError,
    RemoteError,
    RemoteTraceback,
    SerializationError,
    ServiceLostError,
    ServiceStoppedError,
    ServiceTimeoutError,
    TaskExitError,
    TaskTimeoutError,
    WorkerLostError,
)

WITH_ATTRIBUTES: list[AsyncFlowError] = [
    ExecutableError("ls /nowhere", 2, "out", "err"),
    TaskTimeoutError("slow", 1.5),
    DependencyFailureError("leaf", ["a", "b"], "root", ValueError("bad")),
    WorkerLostError("victim", "w1", 9, 3, "out of memory"),
    TaskExitError("quitter", SystemExit(3)),
    SerializationError("result", "a lock cannot be pickled"),
    RemoteError("some.Error", "text"),
    ServiceTimeoutError("server", 30.0, "loading", "warning"),
    ServiceLostError("server", "was lost: command ended with exit code 3", "", "no memory"),
    ServiceStoppedError("server"),
]
TREE = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, AsyncFlowError)
]
PLAIN = [
    kind(f"text of {kind.__name__}")
    for kind in TREE
    if kind not in {type(error) for error in WITH_ATTRIBUTES}
]


@pytest.mark.parametrize(
    "error", [*PLAIN, *WITH_ATTRIBUTES], ids=lambda error: type(error).__name__
)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_error_travels_with_its_text_and_attributes(
    error: AsyncFlowError, protocol: int
) -> None:
    twin = pickle.loads(pickle.dumps(error, protocol))
    assert type(twin) is type(error)
    assert (str(twin), vars(twin), twin.args) == (str(error), vars(error), error.args)


def test_notes_travel_too() -> None:
    error = errors.BackendError("broken")
    error.add_note("while it was tested")
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["while it was tested"]


def test_a_subclass_with_its_own_signature_travels() -> None:
    twin = pickle.loads(pickle.dumps(OwnError(3, "x")))
    assert (twin.number, str(twin)) == (3, "number 3: x")


class OwnError(AsyncFlowError):
    def __init__(self, number: int, text: str) -> None:
        self.number = number
        super().__init__(f"number {number}: {text}")


def test_the_drawn_tree_names_exactly_the_public_errors() -> None:
    drawing = (errors.__doc__ or "").partition("The tree::")[2].partition("All of them")[0]
    drawn = {line.lstrip(" │├└─").split()[0] for line in drawing.splitlines() if line.strip()}
    assert drawn == {kind.__name__ for kind in TREE}


def test_every_error_is_exported() -> None:
    others = {"DeathReason", "RemoteTraceback"}
    assert {kind.__name__ for kind in TREE} | others == set(errors.__all__)


def test_a_timeout_is_a_timeout_error() -> None:
    assert isinstance(TaskTimeoutError("t", 1.0), TimeoutError)


def test_an_executable_error_tells_command_code_and_output() -> None:
    text = str(ExecutableError("ls /nowhere", 2, "", "no such file\n"))
    assert text == "command ended with exit code 2: ls /nowhere\nstderr: no such file"


def test_a_negative_exit_code_is_told_as_a_signal() -> None:
    assert "ended with signal 9" in str(ExecutableError("sleep 9", -9))


def test_an_executable_error_keeps_only_the_tails() -> None:
    error = ExecutableError("x", 1, "a" * 9000 + "end", "b" * 9000)
    assert (len(error.stdout), error.stdout[-3:], len(error.stderr)) == (2000, "end", 2000)


def test_a_dependency_failure_names_at_most_twenty() -> None:
    error = DependencyFailureError("t", [f"d{n}" for n in range(50)], "d0", ValueError())
    assert len(error.failed) == 20
    assert "and 30 more" in str(error)


def test_a_dependency_failure_names_a_root_that_is_no_direct_dependency() -> None:
    text = str(DependencyFailureError("t", ["middle"], "root", ValueError("bad")))
    assert text == (
        "task 't' was not run: its dependency 'middle' failed (it began with 'root'): "
        "ValueError: bad"
    )


def test_the_text_of_a_huge_cause_is_shortened() -> None:
    assert len(str(DependencyFailureError("t", ["d"], "d", ValueError("x" * 10**6)))) < 700


def test_a_lost_worker_tells_which_signal_and_attempt() -> None:
    text = str(WorkerLostError("t", "w3", 9, 2))
    assert text == "worker w3 was ended by signal 9 (SIGKILL) while it ran task 't' (attempt 2)"


def test_a_remote_traceback_travels() -> None:
    twin = pickle.loads(pickle.dumps(RemoteTraceback("line 1\n")))
    assert (twin.text, str(twin)) == ("line 1\n", '\n"""\nline 1\n"""')
