"""The promises that the checks prove, each with the page that explains it.

Every check of the conformance kit stands behind exactly one promise, and so does every check of
what a package needs.  The kit names its checks as functions, a package check has words.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

__all__ = ["LEAKS", "PROMISES", "Promise", "promise_of"]

LEAKS = "nothing left behind"
"""The check that fails if any other check left something behind."""


class Promise(NamedTuple):
    """A promise that a backend or its package keeps.

    Attributes:
        text: the sentence.
        page: a page of the documentation, and the anchor on it.
        group: what it is about, a key of `levels.GROUPS`.
        checks: the names of the checks that prove it.
    """

    text: str
    page: str
    group: str
    checks: tuple[str, ...]


_GUIDE = "writing-a-backend.md"
_CHECKS = "checking-a-backend.md"


def _kit(text: str, page: str, group: str, checks: str) -> Promise:
    names = tuple(f"test_{name}" for name in checks.split())
    return Promise(text, page, group, names)


def _package(text: str, page: str, group: str, *checks: str) -> Promise:
    return Promise(text, page, group, checks)


_PLUGIN = (
    _package(
        "The entry point is named like the backend, and its value is the module of the plugin.",
        f"{_GUIDE}#the-plugin",
        "plugin",
        "entry point",
    ),
    _package(
        "No other distribution declares a backend of this name.",
        f"{_GUIDE}#the-plugin",
        "plugin",
        "name clash",
    ),
    _package(
        "The plugin costs next to nothing to import, and imports neither the backend nor other "
        "packages.",
        f"{_CHECKS}#the-import-of-the-plugin",
        "plugin",
        "import cost",
        "light import",
    ),
    _package(
        "The distribution requires the core, from the version that it was written for and below "
        "the next major version.",
        f"{_GUIDE}#when-the-contract-grows",
        "plugin",
        "requirement of the core",
    ),
    _kit(
        "What the plugin says of its backend is true.",
        f"{_GUIDE}#the-plugin",
        "plugin",
        "the_plugin_declares_what_its_backend_can_do the_factory_takes_the_settings_and_a_name",
    ),
)

_CONTRACT = (
    _kit(
        "A backend declares its name, its capabilities and its version of the contract.",
        f"{_GUIDE}#the-capabilities",
        "contract",
        "it_declares_itself unmet_needs_names_the_needs_that_are_not_met",
    ),
    _kit(
        "Each submitted task gets exactly one end, with its id and its attempt.",
        f"{_GUIDE}#the-contract",
        "contract",
        """
        each_task_gets_exactly_one_terminal_report
        reports_carry_the_attempt_that_they_are_about
        a_task_may_be_submitted_again_as_its_next_attempt
        the_next_attempt_may_run_while_the_work_of_the_last_goes_on
        """,
    ),
    _kit(
        "A task is reported as running when it really begins.",
        f"{_GUIDE}#the-contract",
        "contract",
        "the_start_of_a_run_is_reported_before_its_end waiting_in_the_queue_does_not_count",
    ),
    _kit(
        "submit takes one or more tasks and returns at once, and never blocks the loop.",
        f"{_GUIDE}#the-contract",
        "contract",
        """
        an_empty_batch_is_nothing
        a_batch_may_be_any_sequence
        a_batch_belongs_to_the_caller_again_after_submit
        submit_returns_while_the_work_is_still_to_do
        submit_returns_at_once_however_much_there_is_to_do
        the_loop_turns_while_a_function_works
        """,
    ),
    _kit(
        "No more tasks run at once than there are slots, and each gets its turn.",
        f"{_GUIDE}#the-capabilities",
        "contract",
        """
        tasks_that_take_all_cores_run_one_at_a_time
        no_more_tasks_run_at_once_than_there_are_slots
        big_and_small_tasks_all_get_their_turn
        """,
    ),
    _kit(
        "What the backend does not declare is refused at the call.",
        f"{_GUIDE}#the-capabilities",
        "contract",
        """
        a_kind_that_is_not_declared_is_refused_at_the_call
        a_resource_that_is_not_declared_is_refused_at_the_call
        an_unknown_key_in_the_description_is_refused
        """,
    ),
    _kit(
        "A dry run answers with markers and calls nothing.",
        f"{_GUIDE}#the-capabilities",
        "contract",
        "a_dry_run_answers_every_kind_that_it_declares a_dry_run_calls_no_function",
    ),
    _kit(
        "The record of a run on this backend says what was true of it.",
        "record.md#the-record-of-a-run",
        "contract",
        "the_record_of_a_run_says_what_was_true_of_it",
    ),
    _kit(
        "What the backend says of tasks that wait is true.",
        "watching.md#what-a-backend-says",
        "contract",
        """
        what_waiting_tasks_wait_for_is_true_or_not_told
        nothing_is_told_before_the_start_and_after_the_end
        """,
    ),
    _kit(
        "Each kind and option of a task has its one meaning, or is refused.",
        "portability.md#portability",
        "options",
        "each_kind_and_option_has_its_one_meaning_or_is_refused",
    ),
    _kit(
        "A run that takes longer than its timeout fails.",
        "concepts.md#retries-and-timeouts",
        "options",
        """
        a_run_that_takes_too_long_fails
        a_blocking_function_that_takes_too_long_fails
        a_run_within_its_timeout_succeeds
        """,
    ),
    _kit(
        "A task is run again as its retries say, and its dependents wait for that.",
        "concepts.md#retries-and-timeouts",
        "options",
        """
        a_task_that_timed_out_may_be_retried
        a_task_is_retried_until_it_succeeds
        it_gives_up_after_the_last_attempt
        only_the_chosen_exceptions_are_retried
        dependents_wait_for_the_attempt_that_succeeds
        """,
    ),
)

_FUNCTIONS = (
    _kit(
        "Whatever Python can call may be a task, sync or async.",
        "concepts.md#tasks",
        "functions",
        """
        a_plain_function_returns_its_value
        an_async_function_returns_its_value
        a_closure_sees_its_variables
        an_async_closure_sees_its_variables
        a_lambda_runs
        a_partial_runs
        a_partial_of_an_async_function_runs
        a_bound_method_runs
        a_class_method_runs
        a_static_method_runs
        an_object_that_can_be_called_runs
        a_builtin_runs
        a_task_may_print
        a_function_of_a_module_beside_the_script_runs
        """,
    ),
    _kit(
        "Arguments and results arrive unchanged.",
        "concepts.md#tasks",
        "functions",
        """
        positional_and_keyword_arguments_arrive
        a_value_comes_back_equal
        ten_megabytes_come_back_equal
        a_big_array_comes_back_equal
        an_array_that_is_not_contiguous_comes_back_equal
        a_class_that_the_test_defined_travels
        an_exception_is_a_value_like_any_other
        a_generator_is_no_result
        a_task_cannot_change_its_caller_s_arguments
        an_argument_that_cannot_be_pickled_is_handed_over_as_it_is
        """,
    ),
    _kit(
        "A function sees the context variables of its call.",
        f"{_GUIDE}#the-capabilities",
        "functions",
        """
        a_function_sees_the_context_variables_of_its_call
        a_context_variable_that_a_function_sets_is_its_own
        each_task_of_a_chain_has_the_context_of_its_own_call
        another_attempt_has_the_context_as_it_was_at_the_call
        """,
    ),
    _kit(
        "A task begins when all that it depends on is done, and gets the values of that.",
        "concepts.md#dependencies",
        "functions",
        """
        a_chain_passes_its_value_on
        a_fan_meets_again
        a_diamond_meets_again
        layers_meet_again
        futures_nested_in_containers_are_resolved
        one_future_may_stand_in_many_places
        a_sync_task_may_follow_an_async_one_and_back
        a_finished_future_may_be_an_argument
        a_dependent_starts_after_its_dependency_ended
        a_value_that_nobody_here_asks_for_still_reaches_its_dependent
        """,
    ),
    _kit(
        "Prompts are answered, and each of their parts is honoured or refused.",
        f"{_GUIDE}#the-capabilities",
        "prompts",
        """
        a_prompt_is_answered
        a_part_of_a_prompt_is_honoured_or_refused
        an_answer_is_an_instance_of_the_model_or_refused
        """,
    ),
)

_FAILURES = (
    _kit(
        "Failures arrive unchanged, as the original exception with its traceback.",
        f"{_GUIDE}#the-contract",
        "failures",
        """
        the_original_exception_arrives
        the_traceback_names_the_line_that_raised
        the_traceback_names_the_file_of_a_function_that_cannot_be_imported
        attributes_and_notes_arrive
        the_cause_of_the_exception_can_be_read
        an_exception_class_that_the_test_defined_arrives
        an_exception_group_arrives
        arguments_that_do_not_fit_fail_the_task
        a_failure_is_reported_with_its_exception
        an_exception_that_cannot_be_pickled_arrives_as_it_is
        """,
    ),
    _kit(
        "What cannot travel fails its own task, with an error that names the part.",
        f"{_GUIDE}#processes-of-your-own",
        "failures",
        """
        a_function_that_cannot_be_pickled
        an_argument_that_cannot_be_pickled
        an_argument_whose_pickling_raises
        an_argument_that_cannot_be_rebuilt
        a_result_that_cannot_be_pickled
        a_result_that_cannot_be_rebuilt
        an_exception_that_cannot_be_pickled
        an_exception_that_cannot_be_rebuilt
        bad_pickles_in_numbers_harm_no_other_task
        """,
    ),
    _kit(
        "A failed task fails what depends on it, and nothing else.",
        "concepts.md#failure",
        "failures",
        """
        a_failed_dependency_fails_its_dependents
        a_dependent_of_a_failed_task_never_runs
        a_failure_leaves_the_other_branch_alone
        """,
    ),
)

_COMMANDS = (
    _kit(
        "A command gets its arguments, environment, folder and input as its Command says.",
        "concepts.md#commands",
        "commands",
        """
        a_command_line_is_read_by_a_shell
        the_body_may_be_async
        a_list_is_run_without_a_shell
        a_quoted_string_arrives_as_one_argument
        env_adds_to_the_environment
        none_in_env_unsets_a_variable
        cwd_is_where_it_runs
        without_cwd_it_runs_where_the_program_was_started
        stdin_is_read
        stdin_is_empty_unless_given
        stdin_that_nobody_reads_does_no_harm
        an_executable_takes_and_gives_values
        many_commands_at_once_all_succeed
        """,
    ),
    _kit(
        "A command's output and exit code arrive whole.",
        "concepts.md#commands",
        "commands",
        """
        an_output_is_at_its_place_after_a_success
        a_non_zero_exit_code_fails_the_task
        a_signal_that_ended_it_is_told
        exit_code_and_streams_can_be_read_afterwards
        a_missing_program_fails_the_task
        a_missing_folder_fails_the_task
        output_that_is_not_utf_8_is_decoded_with_replacement
        big_output_arrives_whole
        big_output_on_both_streams_does_not_block
        capture_stdio_gives_the_paths_of_files
        a_failed_command_can_be_retried
        a_command_ends_with_its_shell_not_with_its_daemons
        """,
    ),
    _kit(
        "A command runs in the shell and in the container that are asked for.",
        "concepts.md#commands",
        "commands",
        """
        a_line_runs_in_the_shell_that_is_asked_for
        a_command_runs_in_its_container
        """,
    ),
)

_SERVICES = (
    _kit(
        "A command that is a service is done when it is up, runs on, and ends when it is told to.",
        "services.md#a-command-as-a-service",
        "services",
        """
        a_service_is_done_when_it_is_up_and_runs_on
        a_service_without_a_sign_is_up_when_it_runs
        a_service_is_up_when_its_port_takes_connections
        a_service_is_up_when_the_address_that_it_wrote_answers
        a_service_that_ends_before_it_is_up_fails_with_its_output
        a_service_that_is_not_up_in_time_ends_and_shows_its_output
        a_service_that_is_stopped_ends_with_what_it_started
        a_service_ends_with_the_engine
        """,
    ),
    _kit(
        "The death of a service is noticed, and it is started again if it may be.",
        "services.md#when-it-dies",
        "services",
        """
        a_service_that_died_fails_the_next_call_that_has_its_info
        a_service_that_died_is_started_again
        """,
    ),
    _kit(
        "An instance of a class lives where the backend runs functions, and its calls run there.",
        "services.md#a-class-as-a-service",
        "services",
        """
        the_state_of_a_service_survives_between_calls
        calls_of_a_service_run_in_order
        a_service_takes_futures_and_its_futures_go_on
        two_services_of_a_class_share_nothing
        an_error_of_a_method_leaves_the_service_as_it_is
        a_service_that_cannot_be_made_fails_its_calls_with_the_cause
        a_method_of_a_stopped_service_is_an_error_at_the_call
        a_service_keeps_its_place_until_it_is_stopped
        a_call_that_waits_is_cancelled_without_a_beginning
        a_call_that_runs_sees_that_it_was_cancelled
        a_timeout_of_a_call_counts_from_its_beginning
        the_death_of_a_service_fails_its_calls_with_the_true_cause
        a_service_that_died_gets_a_new_instance
        an_instance_ends_with_the_engine
        options_that_a_method_cannot_have_are_refused
        """,
    ),
)

_ORDER = (
    _kit(
        "A graph that is handed over as a whole runs in its order.",
        f"{_GUIDE}#the-capabilities",
        "order",
        """
        it_orders_a_subgraph_handed_over_as_a_whole
        a_dependent_may_come_long_after_its_dependency
        a_failed_dependency_ends_what_was_handed_over_behind_it
        a_cancelled_dependency_ends_what_was_handed_over_behind_it
        """,
    ),
    _kit(
        "A chain runs in its order, and nothing of it runs behind a task that did not succeed.",
        f"{_GUIDE}#the-capabilities",
        "order",
        """
        a_chain_runs_in_its_order_with_the_values_passed_on
        nothing_of_a_chain_runs_behind_a_failure
        a_chain_that_waits_can_be_cancelled_from_the_middle
        nothing_of_a_chain_runs_behind_a_task_cancelled_while_it_ran
        """,
    ),
    _kit(
        "A value that stays where it was made can be fetched and released at any time.",
        f"{_GUIDE}#the-capabilities",
        "order",
        """
        a_remote_value_can_be_fetched_again_and_again
        a_released_value_can_be_released_once_more
        awaiting_a_task_brings_its_value_here
        a_failure_is_never_remote
        """,
    ),
    _kit(
        "What waits begins by priority, then by depth, and else as it came.",
        f"{_GUIDE}#the-order-of-what-waits",
        "order",
        """
        what_has_a_higher_priority_begins_first
        what_has_the_same_priority_begins_as_it_came
        a_dependent_begins_before_what_has_not_begun
        """,
    ),
)

_LIFE = (
    _kit(
        "A backend starts once, and takes no work before its start or after its end.",
        f"{_GUIDE}#the-contract",
        "life",
        """
        starting_twice_is_refused
        submitting_before_the_start_is_refused
        cancelling_before_the_start_is_ignored
        submitting_after_the_end_is_refused
        cancelling_after_the_end_is_ignored
        starting_after_the_end_is_refused
        """,
    ),
    _kit(
        "A shutdown may come at any time; it ends in bounded time and answers for every task.",
        f"{_GUIDE}#the-contract",
        "life",
        """
        shutdown_right_after_the_start
        shutdown_without_a_start
        shutdown_after_work
        shutdown_twice
        shutdown_twice_at_once
        shutdown_with_work_queued_answers_for_all_of_it
        shutdown_with_work_running_answers_for_it
        no_report_comes_after_the_end
        it_is_an_async_context_manager
        """,
    ),
    _kit(
        "A shutdown without cancel finishes what was submitted first.",
        f"{_GUIDE}#the-contract",
        "life",
        """
        shutdown_without_cancel_finishes_everything
        shutdown_without_cancel_waits_for_running_work
        a_shutdown_that_cancels_overtakes_one_that_waits
        """,
    ),
    _kit(
        "A backend leaves the program and other backends alone.",
        f"{_GUIDE}#the-contract",
        "life",
        """
        two_at_once_do_not_disturb_each_other
        the_environment_and_the_folder_are_left_alone
        """,
    ),
)

_SILVER = (
    _kit(
        "A cancelled task that waits is reported at once and never runs.",
        f"{_GUIDE}#the-contract",
        "cancellation",
        """
        a_task_cancelled_at_once_never_runs
        a_task_that_waits_for_another_can_be_cancelled
        a_queued_task_is_cancelled_while_the_others_run_on
        a_queued_task_is_reported_cancelled_before_cancel_returns
        a_task_can_be_cancelled_between_its_attempts
        a_thousand_cancels_leave_the_rest_alone
        the_cost_of_cancelling_what_is_queued_follows_its_number
        """,
    ),
    _kit(
        "Cancelled work stops, with its whole process tree.",
        f"{_GUIDE}#the-contract",
        "cancellation",
        """
        the_work_of_a_running_async_function_stops
        the_work_of_a_running_function_stops
        a_running_task_is_reported_cancelled_when_its_work_has_ended
        a_task_may_be_cancelled_the_moment_it_runs
        a_timeout_stops_the_work
        shutdown_stops_running_work
        cancelling_a_function_ends_its_whole_process_tree
        shutdown_ends_the_process_tree_of_a_function
        cancelling_ends_the_whole_process_tree
        a_tree_that_ignores_polite_requests_is_ended_all_the_same
        a_timeout_ends_the_whole_process_tree
        shutdown_ends_the_whole_process_tree
        """,
    ),
    _kit(
        "A function that cannot be ended is told, its future ends at once, and its slot is free "
        "when it has returned.",
        f"{_GUIDE}#the-contract",
        "cancellation",
        """
        a_running_function_is_told_that_it_was_cancelled
        the_future_of_a_function_that_runs_on_ends_at_once
        a_cancelled_function_gives_its_slot_back
        """,
    ),
    _kit(
        "A cancel of what is unknown, finished or cancelled already changes nothing.",
        f"{_GUIDE}#the-contract",
        "cancellation",
        """
        cancelling_nothing_is_nothing
        cancelling_an_unknown_id_is_ignored
        cancelling_a_finished_task_brings_no_second_report
        cancelling_a_finished_task_changes_nothing
        cancelling_twice_brings_one_report
        cancelling_twice_is_cancelling_once
        """,
    ),
    _kit(
        "Whatever cancels an await in Python cancels the task, and dependents do not hang.",
        "concepts.md#cancellation",
        "cancellation",
        """
        a_timeout_around_a_task_cancels_it
        wait_for_around_a_task_cancels_it
        a_task_group_that_fails_cancels_its_tasks
        dependents_of_a_cancelled_task_do_not_hang
        """,
    ),
    _kit(
        "A bad task harms no other task.",
        f"{_GUIDE}#the-contract",
        "isolation",
        """
        what_would_end_a_program_fails_only_its_task
        what_would_end_a_coroutine_fails_only_its_task
        many_failures_harm_no_other_task
        one_bad_request_in_a_batch_harms_no_other
        a_function_that_forks_answers_once
        """,
    ),
    _kit(
        "The death of a worker costs the task that it ran, and no other.",
        "concepts.md#when-a-worker-or-a-command-dies",
        "isolation",
        """
        a_killed_worker_costs_the_task_that_it_ran
        a_worker_that_exits_costs_the_task_that_it_ran
        a_killed_worker_costs_no_other_task
        the_task_of_a_killed_worker_is_retried_if_allowed
        the_backend_survives_as_many_deaths_as_it_has_workers
        the_signal_that_ended_a_worker_is_told
        a_death_is_noticed_though_a_child_lives_on
        the_death_of_an_idle_worker_costs_no_task
        """,
    ),
    _package(
        "Nothing is left after shutdown: no process, thread, descriptor or file.",
        f"{_GUIDE}#the-contract",
        "leaks",
        LEAKS,
        "test_one_after_the_other_leaves_nothing",
    ),
    _kit(
        "Ten thousand tasks end, in whatever shape they depend on each other.",
        f"{_CHECKS}#how-many-tasks",
        "load",
        """
        a_bag_of_many_tasks_is_done
        a_bag_of_many_async_tasks_is_done
        a_long_chain_is_done
        a_wide_fan_is_done
        waves_are_done_one_after_the_other
        work_may_be_mapped_over_more_items_than_fit
        a_dry_run_of_many_tasks_is_done
        """,
    ),
)

_GOLD = (
    _package(
        "The package tells type checkers that it is typed.",
        f"{_CHECKS}#what-a-package-needs",
        "typing",
        "py.typed",
    ),
    _package(
        "Each setting has a description.",
        f"{_GUIDE}#the-settings",
        "settings",
        "described settings",
    ),
    _package(
        "The distribution says what it is: a summary, a README, a licence and classifiers.",
        f"{_CHECKS}#what-a-package-needs",
        "package",
        "summary",
        "README",
        "licence",
        "classifiers",
        "supported Python",
    ),
    _package(
        "What a task costs on this backend is measured.",
        f"{_CHECKS}#what-a-task-costs",
        "benchmarks",
        "bag",
        "chain",
        "round trip",
    ),
)

PROMISES: tuple[Promise, ...] = (
    *_PLUGIN,
    *_CONTRACT,
    *_FUNCTIONS,
    *_FAILURES,
    *_COMMANDS,
    *_SERVICES,
    *_ORDER,
    *_LIFE,
    *_SILVER,
    *_GOLD,
)


@cache
def _by_check() -> Mapping[str, Promise]:
    return {name: promise for promise in PROMISES for name in promise.checks}


def promise_of(check: str) -> Promise:
    """Return the promise that *check* proves.

    Raises:
        KeyError: there is no such check.
    """
    return _by_check()[check]
