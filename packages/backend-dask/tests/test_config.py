"""The checks of settings, descriptions and resources, before anything is started."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from asyncflow_backend_dask import DaskExecutionBackend
from asyncflow_backend_dask._program.jobs import annotations_of
from asyncflow_backend_dask.config import DaskConfig
from radical.asyncflow.backend import TaskKind, TaskRequest, TaskSpec
from radical.asyncflow.errors import ConfigurationError, UnsupportedOptionError


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_worker": 2}, "did you mean 'n_workers'"),
        ({"n_workers": -1}, "n_workers"),
        ({"address": "tcp://a:1", "scheduler_file": "b"}, "each say which cluster"),
        ({"address": "tcp://a:1", "n_workers": 2}, "leave address out"),
        ({"cluster_class": "x.Y", "processes": True}, "put them into cluster_kwargs"),
        ({"cluster_class": "nodots"}, "module.Class"),
        ({"cluster_kwargs": {"a": 1}}, "none is given"),
        ({"adapt": {"minimum": 3, "maximum": 1}}, "above maximum"),
        ({"adapt": {"minimum": 1}}, "adapt has no maximum"),
        ({"adapt": {"minimum_cores": 4, "maximum_cores": 2}}, r"minimum_cores \(4\) is above"),
        ({"adapt": {"maximum_jobs": 2}}, "LocalCluster does not take 'maximum_jobs'.*'maximum'"),
        ({"adapt": {"maximum": 1}, "n_workers": 1}, "both say how many"),
        ({"adapt": {"maximum": 1}, "address": "tcp://a:1"}, "not ours"),
        ({"resources": {"GPU": -1}}, "negative"),
        ({"resources": {"GPU": 1.5}}, "GPU must be a whole number, or a part"),
        ({"kill_running": True, "processes": False}, "processes=False has none"),
        ({"memory_limit": "much"}, "memory_limit"),
    ],
)
def test_what_is_wrong_is_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        DaskExecutionBackend(**settings)


class Jobs:
    """A class of clusters that takes other words than Dask's."""

    def adapt(self, *, minimum_jobs: int = 0, maximum_jobs: int = 1) -> None:
        """Follow the load."""


@pytest.mark.parametrize(
    ("adapt", "options", "may_be_empty"),
    [
        ({"maximum": 3}, {"minimum": 0, "maximum": 3}, True),
        ({"minimum": 1, "maximum": 3, "interval": "1s"}, None, False),
        ({"minimum_cores": 2, "maximum_cores": 4}, None, False),
        ({"minimum_cores": 0, "maximum_cores": 4}, None, True),
    ],
)
def test_adapt_has_what_a_cluster_takes(
    adapt: dict[str, Any], options: dict[str, Any] | None, may_be_empty: bool
) -> None:
    made = DaskConfig(adapt=adapt).adapt
    assert made is not None
    assert made.options() == (options or adapt)
    assert made.may_be_empty is may_be_empty


def test_adapt_follows_the_words_of_the_given_class() -> None:
    DaskExecutionBackend(cluster_class=Jobs, adapt={"minimum_jobs": 1, "maximum_jobs": 3})
    expected = "Jobs does not take 'maximum', 'minimum'; it takes 'maximum_jobs', 'minimum_jobs'"
    with pytest.raises(ConfigurationError, match=expected):
        DaskExecutionBackend(cluster_class=Jobs, adapt={"maximum": 3})


def test_a_factory_of_clusters_is_asked_by_its_call_alone() -> None:
    DaskExecutionBackend(cluster_class=lambda: Jobs(), adapt={"maximum": 3})


def test_settings_may_be_given_as_one_object() -> None:
    config = DaskConfig(resources={"GPU": 1})
    backend = DaskExecutionBackend.from_settings(config, name="mine")
    assert backend.name == "mine"
    assert backend.capabilities.resources == {"cores", "gpus", "memory", "ranks"}


def spec(**options: Any) -> TaskSpec:
    return TaskSpec("task", TaskKind.FUNCTION, print, **options)


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ({"retries": 2}, "use retries= of the task"),
        ({"worker": "a"}, "unknown key 'worker'"),
        ({"workers": []}, "an address or a list of addresses"),
        ({"priority": "high"}, "must be a number"),
        ({"workers": "a", "allow_other_workers": 1}, "must be true or false"),
        ({"allow_other_workers": True}, "no meaning without 'workers'"),
    ],
)
def test_a_description_is_checked(description: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        DaskExecutionBackend().check(spec(description=description))


def test_a_priority_is_given_in_one_place_only() -> None:
    with pytest.raises(UnsupportedOptionError, match="leave one of them out"):
        DaskExecutionBackend().check(spec(description={"priority": 1}, priority=2))
    DaskExecutionBackend().check(spec(priority=2))


def test_a_good_description_passes_and_becomes_annotations() -> None:
    good = spec(description={"workers": "a", "priority": 1, "allow_other_workers": True})
    DaskExecutionBackend().check(good)
    annotations = annotations_of(TaskRequest(1, 1, good), count_cores=False)
    assert annotations == {"workers": ["a"], "priority": 1, "allow_other_workers": True}


def test_capabilities_say_whether_a_running_function_can_be_ended() -> None:
    assert TaskKind.FUNCTION not in DaskExecutionBackend().capabilities.kills_running
    assert TaskKind.FUNCTION in DaskExecutionBackend(kill_running=True).capabilities.kills_running


def test_unknown_options_name_the_known_ones() -> None:
    with pytest.raises(UnsupportedOptionError, match="'priority'"):
        DaskExecutionBackend().check(spec(description={"colour": "red"}))


def test_the_plugin_and_the_settings_import_no_dask() -> None:
    code = (
        "import sys, asyncflow_backend_dask.plugin, asyncflow_backend_dask.config\n"
        "asyncflow_backend_dask.plugin.asyncflow_backend()\n"
        "assert not {'dask', 'distributed'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_settings_may_be_one_mapping() -> None:
    backend = DaskExecutionBackend({"n_workers": 2, "kill_running": False})
    assert TaskKind.FUNCTION not in backend.capabilities.kills_running


def test_a_mapping_and_a_keyword_may_not_give_the_same_setting() -> None:
    with pytest.raises(ConfigurationError, match="'n_workers' given twice"):
        DaskExecutionBackend({"n_workers": 2}, n_workers=2)
