"""The kit catches a backend that breaks a promise, each by the check that is about it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import radical.asyncflow.testing as testing
from radical.asyncflow.testing import BackendConformance
from radical.asyncflow.testing._conformance.needs import needs
from radical.asyncflow.testing._conformance.processes import Processes

from .thread_backend import CAUGHT_BY

BROKEN = Path(__file__).with_name("broken_backends.py")

CAUGHT = {
    "TestEndsTwice": "test_each_task_gets_exactly_one_terminal_report",
    "TestForgetsTheAttempt": "test_reports_carry_the_attempt_that_they_are_about",
    "TestLosesTheTraceback": "test_the_traceback_names_the_line_that_raised",
    "TestNeverRunning": "test_the_start_of_a_run_is_reported_before_its_end",
    "TestDropsEveryTenth": "test_shutdown_without_cancel_finishes_everything",
    "TestIgnoresCancel": "test_a_running_task_is_reported_cancelled_when_its_work_has_ended",
    "TestAnswersInSubmit": "test_submit_returns_while_the_work_is_still_to_do",
    "TestBlocksInShutdown": "test_shutdown_right_after_the_start",
    "TestNeverShutsDown": "test_shutdown_twice",
    "TestDoesNotWaitForWork": "test_shutdown_without_cancel_waits_for_running_work",
    "TestLeavesAThread": "test_shutdown_after_work",
    "TestLeavesAFile": "test_a_lambda_runs",
    "TestTakesWorkAfterTheEnd": "test_submitting_after_the_end_is_refused",
    "TestStartsTwice": "test_starting_twice_is_refused",
    "TestBlocksInEachSubmit": "test_submit_returns_at_once_however_much_there_is_to_do",
    "TestMissesEarlyCancels": "test_a_task_may_be_cancelled_the_moment_it_runs",
    "TestKillsTheWorkerAlone": "test_cancelling_a_function_ends_its_whole_process_tree",
    "TestLeavesTheProcessesOfWhoObeys": "test_cancelling_a_function_ends_its_whole_process_tree",
    "TestTellsNoSignal": "test_the_signal_that_ended_a_worker_is_told",
    "TestListensToThePipeAlone": "test_a_death_is_noticed_though_a_child_lives_on",
    "TestAnswersForForks": "test_a_function_that_forks_answers_once",
    "TestSearchesForWhatItCancels": (
        "test_the_cost_of_cancelling_what_is_queued_follows_its_number"
    ),
    "TestKeepsItsPath": "test_a_function_of_a_module_beside_the_script_runs",
    "TestTrustsTheIdle": "test_the_death_of_an_idle_worker_costs_no_task",
    "TestHasAPluginThatBoasts": "test_the_plugin_declares_what_its_backend_can_do",
    "TestHasSettingsThatItDoesNotTake": "test_the_factory_takes_the_settings_and_a_name",
    "TestRunsInNoContext": "test_a_function_sees_the_context_variables_of_its_call",
    "TestRunsAllInOneContext": "test_a_context_variable_that_a_function_sets_is_its_own",
    "TestBeginsTasksAsTheyCome": "test_what_has_a_higher_priority_begins_first",
    "TestBeginsTheLastFirst": "test_what_has_the_same_priority_begins_as_it_came",
    "TestForgetsDepths": "test_a_dependent_begins_before_what_has_not_begun",
    "TestRunsBehindFailures": "test_a_failed_dependency_ends_what_was_handed_over_behind_it",
    "TestRunsChainsBehindFailures": "test_nothing_of_a_chain_runs_behind_a_failure",
    "TestOrdersNothing": "test_it_orders_a_subgraph_handed_over_as_a_whole",
    "TestFetchesOnce": "test_a_remote_value_can_be_fetched_again_and_again",
    "TestReleasesOnce": "test_a_released_value_can_be_released_once_more",
    "TestFailsWithText": "test_a_failure_is_reported_with_its_exception",
    "TestLeavesADescriptor": "test_shutdown_right_after_the_start",
    "TestLeavesAProcess": "test_starting_twice_is_refused",
    "TestSkipsMoreThanItSays": "test_unmet_needs_names_the_needs_that_are_not_met",
}
CAUGHT |= {f"Test{''.join(fault.title().split())}": check for fault, check in CAUGHT_BY.items()}

SOUND = {
    "TestProcessesAsTheyShouldBe": [name for name in vars(Processes) if name.startswith("test_")],
    "TestThreadsAsTheyShouldBe": list(CAUGHT_BY.values()),
}
"""The backends that the broken ones are made from, each with checks that it passes."""

SHARES = 4
"""The processes that run the checks side by side, because most of the time they wait."""


THIRD_PARTY = """
from radical.asyncflow.testing import BackendConformance, ScriptedBackend

class _Mine(BackendConformance):
    slots = None
    inline = True

    async def make_backend(self):
        return ScriptedBackend(isolates=False)

class TestNames(_Mine):
    unmet_needs = {"prompt", "isolates"}

class TestNamesNothing(_Mine):
    pass

class TestNamesLate(_Mine):
    unmet_needs = property(lambda self: {"prompt"})
"""
"""Tests of a backend whose capabilities are known only when a loop runs."""


def _pytest(folder: Path, *arguments: str) -> str:
    """Run pytest in *folder* without any configuration, and return what it says."""
    options = "--noconftest --import-mode=importlib -p no:cacheprovider -p no:randomly"
    loop_scope = "asyncio_default_fixture_loop_scope=function"
    bare = ["-c", os.devnull, "--rootdir", str(folder), "-o", loop_scope]
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *options.split(), *bare, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    return ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def outcomes() -> dict[tuple[str, str], set[str]]:
    """Run all the broken backends, and return how each check ended; ERROR is a leak after it."""
    # Sound ones first: what a broken one leaves behind must not count against them.
    wanted = [*((name, check) for name in SOUND for check in SOUND[name]), *CAUGHT.items()]
    nodes = [f"{BROKEN.name}::{name}::{check}" for name, check in wanted]
    shares = [nodes[first::SHARES] for first in range(SHARES)]
    with ThreadPoolExecutor(SHARES) as pool:
        outputs = pool.map(lambda share: _pytest(BROKEN.parent, "-q", "-rpfE", *share), shares)
        output = "\n".join(outputs)
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    line = re.compile(r"^(PASSED|FAILED|ERROR) \S+::(\w+)::(\w+)", re.MULTILINE)
    for outcome, name, check in line.findall(output):
        found[name, check].add(outcome)
    assert found, output[-5000:]
    return found


@pytest.fixture(scope="module")
def third_party(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the output of pytest for two checks of each class of `THIRD_PARTY`."""
    folder = tmp_path_factory.mktemp("third-party")
    (folder / "test_mine.py").write_text(THIRD_PARTY)
    return _pytest(folder, "-v", "-rs", "-k", "a_prompt_is_answered or a_lambda_runs")


def test_a_check_whose_need_is_named_is_deselected(third_party: str) -> None:
    assert "TestNames::test_a_lambda_runs PASSED" in third_party
    assert "TestNames::test_a_prompt_is_answered" not in third_party
    assert re.search(r"3 passed, 2 skipped, \d{3} deselected", third_party)


@pytest.mark.parametrize("name", ["TestNamesNothing", "TestNamesLate"])
def test_a_check_whose_need_nobody_named_is_skipped(third_party: str, name: str) -> None:
    assert f"{name}::test_a_lambda_runs PASSED" in third_party
    assert f"{name}::test_a_prompt_is_answered SKIPPED" in third_party
    assert "the backend does not meet: prompt" in third_party


@pytest.mark.slow
@pytest.mark.parametrize(("name", "check"), CAUGHT.items(), ids=CAUGHT)
def test_a_broken_backend_is_caught(
    outcomes: dict[tuple[str, str], set[str]], name: str, check: str
) -> None:
    assert outcomes[name, check] & {"FAILED", "ERROR"}


@pytest.mark.slow
@pytest.mark.parametrize("name", SOUND)
def test_the_sound_backend_behind_the_broken_ones_passes(
    outcomes: dict[tuple[str, str], set[str]], name: str
) -> None:
    found = {check: outcomes[name, check] for check in SOUND[name]}
    assert found == {check: {"PASSED"} for check in SOUND[name]}


def test_there_are_at_least_sixty_faults() -> None:
    assert len(CAUGHT) >= 60


def test_there_are_at_least_sixty_checks_and_fifteen_of_misuse() -> None:
    checks = [name for name in dir(BackendConformance) if name.startswith("test_")]
    misuse = re.compile("refused|ignored|twice|unknown|after_the_end|before_the_start|nothing")
    assert len(checks) >= 60
    assert len([name for name in checks if misuse.search(name)]) >= 15


def test_a_need_that_no_backend_can_meet_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown needs: \['telepathy'\]"):
        needs("telepathy")


def test_everything_promised_can_be_imported() -> None:
    for name in testing.__all__:
        assert getattr(testing, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Telepathy'"):
        testing.Telepathy  # noqa: B018


def test_the_task_bodies_load_without_pytest() -> None:
    code = "import sys, radical.asyncflow.testing._functions; print('pytest' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"
