"""A level follows from what was checked, and from nothing else."""

from __future__ import annotations

import pytest
from radical.asyncflow._quality.levels import GROUPS, LEVELS, gaps, level_of
from radical.asyncflow._quality.report import Manifest

from .test_reports import report


def _with(outcomes: dict[str, str], **changes: object):  # type: ignore[no-untyped-def]
    """Return a report in which the check of each of these groups ended so."""
    checks = [
        check.model_copy(update={"outcome": outcomes.get(check.group, "passed")})
        for check in report().checks
    ]
    return report(checks=checks, **changes)


def _below(level: str) -> str | None:
    place = LEVELS.index(level)
    return LEVELS[place - 1] if place else None


@pytest.mark.parametrize("outcome", ["failed", "not run"])
@pytest.mark.parametrize("group", GROUPS)
def test_a_check_that_did_not_pass_costs_the_level_that_needs_it(group: str, outcome: str) -> None:
    both = [_with({group: outcome}), _with({}, core="1.1.0")]
    assert level_of(both) == _below(GROUPS[group])


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_that_was_left_out_costs_the_level_too(group: str) -> None:
    checks = [check for check in report().checks if check.group != group]
    both = [report(), report(core="1.1.0", checks=checks)]
    assert level_of(both) == _below(GROUPS[group])


def test_what_a_backend_does_not_declare_does_not_count_against_it() -> None:
    groups = dict.fromkeys(GROUPS, "not applicable")
    assert level_of([_with(groups, load=5), _with(groups, core="1.1.0", load=5)]) == "gold"


def test_gold_needs_two_minor_versions_of_the_core() -> None:
    assert level_of([report()]) == "silver"
    assert level_of([report(), report(core="1.0.7")]) == "silver"
    assert level_of([report(), report(core="1.1.0")]) == "gold"
    (gap,) = gaps([report(), report(core="1.0.7")])
    assert gap.text == "it was checked with core 1.0 only, and with no other minor"


def test_silver_needs_ten_thousand_tasks() -> None:
    assert level_of([report(load=9_999), report(core="1.1")]) == "bronze"
    assert "9,999 tasks with core 1.0.0" in gaps([report(load=9_999)])[0].text


def test_what_failed_with_one_core_is_not_made_up_for_by_another() -> None:
    assert level_of([_with({"contract": "failed"}), report(core="1.1")]) is None


def test_a_group_of_a_later_core_counts_from_the_lowest_level() -> None:
    check = report().checks[0].model_copy(update={"group": "telepathy", "outcome": "failed"})
    assert level_of([report(checks=[*report().checks, check])]) is None


def test_a_manifest_reaches_the_level_of_its_report() -> None:
    assert level_of([Manifest.of(report(), "")]) == "silver"


def test_reports_about_different_backends_have_no_level_together() -> None:
    with pytest.raises(ValueError, match="not about: crew, other"):
        level_of([report(), report(backend="other")])
    with pytest.raises(ValueError, match="not about: none"):
        level_of([])
