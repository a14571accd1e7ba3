"""The distributions of what tasks took and used, and the environment, in the page."""

from __future__ import annotations

import random
import statistics

import pytest
from radical.asyncflow.backend import TaskUsage
from radical.asyncflow.journal import FunctionRecord, RunRecord, TaskRecord
from radical.asyncflow.report import render_html
from radical.asyncflow.report._distributions import BINS, distribution_of

MB = 1_000_000


def record(*usages: TaskUsage | None, name: str = "fit") -> RunRecord:
    function = FunctionRecord(1, name, "function", "")
    tasks = {
        number: TaskRecord(
            number, function, "DONE", added=0.0, started=1.0, ended=1.0 + number, usage=usage
        )
        for number, usage in enumerate(usages, 1)
    }
    return RunRecord("run.1", 1000.0, ended=60.0, outcome="done", tasks=tasks)


def test_figures_are_those_of_the_statistics_module_and_bins_count_all() -> None:
    chance = random.Random(4)
    figures = [chance.gauss(10, 3) for _ in range(1000)]
    found = distribution_of(figures)
    assert found is not None
    assert found.median == pytest.approx(statistics.median(figures))
    assert found.high == sorted(figures)[949]
    assert (found.least, found.most) == (min(figures), max(figures))
    assert (sum(found.bins), len(found.bins)) == (1000, BINS)
    step = (found.most - found.least) / BINS
    assert found.bins[0] == sum(figure < found.least + step for figure in figures)


@pytest.mark.parametrize("figures", [[3.0], [2.0, 2.0, 2.0]])
def test_figures_without_a_spread_are_in_one_bin(figures: list[float]) -> None:
    found = distribution_of(figures)
    assert found is not None
    assert found[:5] == (len(figures), *[figures[0]] * 4)
    assert found.bins[0] == len(figures)


def test_nothing_has_no_distribution() -> None:
    assert distribution_of([]) is None


def test_the_page_has_the_distributions_of_each_function() -> None:
    page = render_html(
        record(
            TaskUsage(0.5, 10 * MB), TaskUsage(1.5, 20 * MB), TaskUsage(4.0, 90 * MB), name="<fit>"
        )
    )
    assert "Peak memory" in page
    assert "2 s · 3 s · 3 s" in page
    assert "1.5 s · 4 s · 4 s" in page
    assert "20 MB · 90 MB · 90 MB" in page
    assert 'aria-label="3 tasks from 10 MB on"' in page
    assert "<fit>" not in page


def test_a_measure_that_no_task_has_is_left_out_of_the_page() -> None:
    page = render_html(record(TaskUsage(0.5), None))
    assert "CPU time" in page
    assert "Peak memory" not in page


def test_the_page_has_the_environment_with_every_text_escaped() -> None:
    run = record(None)._replace(
        environment={
            "command": ["python", "<b>.py"],
            "git": {"commit": "0123456789abcdef", "branch": "trunk", "dirty": True},
            "packages": {"numpy": "2.0", "rich": "14"},
        }
    )
    page = render_html(run)
    assert "python &#x27;&lt;b&gt;.py&#x27;" in page
    assert "0123456789ab on trunk, with changes" in page
    assert "numpy 2.0, rich 14" in page
