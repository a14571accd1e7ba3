from __future__ import annotations

import html
import json
import re
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from radical.asyncflow import WorkflowEngine
from radical.asyncflow._graph.plan import Plan
from radical.asyncflow._graph.plan_recorder import PlanRecorder
from radical.asyncflow.errors import BackendError
from radical.asyncflow.model import Resources, TaskKind, TaskSpec
from radical.asyncflow.testing import ScriptedBackend

NASTY = [
    'say "hi"',
    "two\nlines",
    "<script>alert(1)</script>",
    "a[0]{1}(2)",
    "back\\slash\\",
    "\\N\\G\\l",
    "&lt;&#35;#quot;",
    "`code`",
    "%% comment",
    "style: #x;",
    "end",
    "a --> b; c",
    "größe 数据 🚀",
    "\x00\x1b[31m\ud800",
    "\n",
    "",
    "x" * 1000,
]


@dataclass(frozen=True)
class Node:
    """What the recorder reads of a task's future."""

    _number: int


def spec(name: str = "work", kind: TaskKind = TaskKind.FUNCTION) -> TaskSpec:
    return TaskSpec(name=name, kind=kind, function=print)


def planned(*tasks: tuple[str, list[int]], limit: int | None = None) -> Plan:
    recorder = PlanRecorder(limit)
    for number, (name, dependencies) in enumerate(tasks, start=1):
        recorder.add(spec(name), number, [Node(other) for other in dependencies] or None)
    return recorder.plan(len(tasks))


@pytest.fixture(scope="module")
def long_chain() -> Plan:
    return planned(*(("link", [number] if number else []) for number in range(100_000)))


graphs = st.lists(st.lists(st.integers(0, 10**6), max_size=4), max_size=14).map(
    lambda raw: [
        sorted({pick % index + 1 for pick in picks}) if index else []
        for index, picks in enumerate(raw)
    ]
)


def all_chains(graph: list[list[int]], last: int) -> list[tuple[int, ...]]:
    """Every chain that begins anywhere and ends with *last*, by brute force."""
    return [(last,)] + [
        (*chain, last) for source in graph[last - 1] for chain in all_chains(graph, source)
    ]


# ------------------------------------------------------------------------ shape


@given(graphs)
def test_the_critical_path_is_a_longest_chain(graph: list[list[int]]) -> None:
    plan = planned(*(("t", dependencies) for dependencies in graph))
    chains = [chain for last in range(1, len(graph) + 1) for chain in all_chains(graph, last)]
    longest = max(map(len, chains), default=0)
    assert len(plan.critical_path) == plan.depth == longest
    assert plan.critical_path in (chains or [()])


@given(graphs)
def test_a_level_holds_the_tasks_whose_longest_chain_has_that_length(
    graph: list[list[int]],
) -> None:
    plan = planned(*(("t", dependencies) for dependencies in graph))
    lengths = [max(map(len, all_chains(graph, number))) for number in range(1, len(graph) + 1)]
    for depth, level in enumerate(plan.levels, start=1):
        assert list(level) == [n for n, length in enumerate(lengths, start=1) if length == depth]
    assert plan.width == max(Counter(lengths).values(), default=0)


@given(graphs)
def test_edges_are_the_dependencies_that_were_added(graph: list[list[int]]) -> None:
    plan = planned(*(("t", dependencies) for dependencies in graph))
    expected = [(source, target) for target, deps in enumerate(graph, start=1) for source in deps]
    assert list(plan.edges) == expected


def test_a_dependency_named_twice_is_one_edge() -> None:
    assert planned(("a", []), ("b", [1, 1])).edges == ((1, 2),)


def test_an_empty_plan_has_no_depth_and_no_width() -> None:
    plan = planned()
    assert (len(plan), plan.depth, plan.width, plan.critical_path) == (0, 0, 0, ())
    assert str(plan) == "0 tasks, 0 edges, depth 0, width 0"
    assert plan.to_dot() == "digraph plan {\n    node [shape=box];\n}\n"
    assert plan.to_mermaid() == "flowchart TD\n"


def test_a_chain_of_100_000_links_is_planned_and_drawn(long_chain: Plan) -> None:
    assert (long_chain.depth, long_chain.width) == (100_000, 1)
    assert long_chain.critical_path == tuple(range(1, 100_001))
    assert len(str(long_chain)) < 500
    assert long_chain.to_dot().count(" -> ") == 99_999


def test_tasks_carry_what_their_spec_says() -> None:
    recorder = PlanRecorder()
    resources = Resources(cores=2, gpus=1)
    recorder.add(
        TaskSpec(
            "run", TaskKind.EXECUTABLE, print, backend="dask", resources=resources, priority=0.5
        ),
        1,
    )
    recorder.add(TaskSpec("later", TaskKind.FUNCTION, print, priority=-1), 2)
    recorder.add(TaskSpec("usual", TaskKind.FUNCTION, print), 3)
    plan = recorder.plan(3)
    assert "priorities: 0.5 ×1, -1 ×1" in str(plan)
    assert [task.priority for task in plan.tasks] == [0.5, -1, 0]
    task = plan.tasks[0]
    assert (task.number, task.id, task.name, task.kind) == (
        1,
        "task.000001",
        "run",
        TaskKind.EXECUTABLE,
    )
    assert (task.backend, task.resources) == ("dask", resources)


def test_a_plan_does_not_change_when_tasks_are_added_later() -> None:
    recorder = PlanRecorder()
    recorder.add(spec(), 1)
    before = recorder.plan(1)
    recorder.add(spec(), 2, [Node(1)])
    assert (len(before), before.edges, before.depth) == (1, (), 1)
    assert len(recorder.plan(2)) == 2


# ----------------------------------------------------------------------- memory


def test_equal_tasks_without_dependencies_retain_nothing() -> None:
    recorder, one = PlanRecorder(), spec()
    recorder.add(one, 1)
    before = _size(recorder)
    for number in range(2, 100_001):
        recorder.add(one, number, None)
    assert _size(recorder) == before
    assert len(recorder.plan(100_000)) == 100_000


def test_an_edge_retains_nine_bytes() -> None:
    recorder, one = PlanRecorder(), spec()
    for number in range(1, 100_001):
        recorder.add(one, number, [Node(number - 1)] if number > 1 else None)
    assert 1 * 100_000 < _size(recorder) <= 10 * 100_000


def test_tasks_of_turns_retain_thirteen_bytes() -> None:
    recorder, one, other = PlanRecorder(), spec(), spec("other")
    for number in range(1, 100_001):
        recorder.add(other if number % 2 else one, number)
    assert 1 * 100_000 < _size(recorder) <= 14 * 100_000


def test_memory_stays_the_same_beyond_the_limit() -> None:
    recorder, one = PlanRecorder(limit=10), spec()
    for number in range(1, 11):
        recorder.add(one, number, [Node(1)] if number > 1 else None)
    before = _size(recorder)
    for number in range(11, 10_001):
        recorder.add(one, number, [Node(number - 1)])
    assert _size(recorder) == before


def _size(recorder: PlanRecorder) -> int:
    return sum(
        sys.getsizeof(part)
        for part in (recorder._specs, recorder._firsts, recorder._sources, recorder._targets)
    )


def test_a_limited_recorder_tells_how_many_it_missed() -> None:
    plan = planned(*(("t", []) for _ in range(5)), limit=3)
    assert (len(plan), plan.complete, plan.missing) == (3, False, 2)
    assert "2 later tasks not recorded" in str(plan)


def test_a_recorder_at_its_limit_is_complete() -> None:
    recorder = PlanRecorder(limit=2)
    recorder.add(spec(), 1)
    recorder.add(spec(), 2)
    assert recorder.plan(2).complete
    recorder.add(spec(), 3)
    assert not recorder.plan(3).complete


# --------------------------------------------------------------------- backends


class Cluster(ScriptedBackend):
    def plan(self) -> dict[str, Any]:
        return {"job": {"nodes": 2, "queue": "long"}, "needs": []}


async def test_a_plan_tells_what_the_backends_ask_for() -> None:
    async with WorkflowEngine.create([ScriptedBackend(), Cluster(name="cluster")]) as flow:
        plan = flow.plan()
    assert plan.backends == {"cluster": {"job": {"nodes": 2, "queue": "long"}, "needs": []}}
    assert plan.to_dict()["backends"] == plan.backends
    assert str(plan).splitlines()[1:] == [
        "cluster asks for:",
        "    job.nodes: 2",
        "    job.queue: long",
        "    needs: none",
    ]


async def test_a_dry_run_starts_none_of_the_backends_that_it_plans_for() -> None:
    cluster = Cluster(name="cluster", kinds=(TaskKind.EXECUTABLE,))
    async with WorkflowEngine.create([ScriptedBackend(), cluster], dry_run=True) as flow:

        @flow.executable_task(backend="cluster", resources={"cores": 4})
        def run() -> str:
            return "never"

        await run()
        assert (flow.plan().tasks[0].backend, [*flow.plan().backends]) == ("cluster", ["cluster"])
    with pytest.raises(BackendError, match="was not started"):
        _ = cluster.sink


# ---------------------------------------------------------------------- summary


def test_the_summary_tells_counts_shape_and_critical_path() -> None:
    plan = planned(("load", []), ("fit", [1]), ("fit", [1]), ("merge", [2, 3]))
    assert str(plan) == (
        "4 tasks, 4 edges, depth 3, width 2\n"
        "tasks: fit ×2, load ×1, merge ×1\n"
        "critical path: load → fit → merge"
    )


def test_the_summary_is_bounded_with_many_long_names() -> None:
    plan = planned(*((f"{number}" * 500, [number] if number else []) for number in range(300)))
    assert len(str(plan)) < 2_000
    assert "290 more names" in str(plan)


def test_the_repr_is_one_short_line(long_chain: Plan) -> None:
    assert repr(long_chain) == "<Plan of 100000 tasks, depth 100000, width 1>"


def test_the_dictionary_survives_json() -> None:
    plan = planned(("load", []), ("fit", [1]))
    data = plan.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["edges"] == [[1, 2]]
    assert data["tasks"][1] == {
        "number": 2,
        "id": "task.000002",
        "name": "fit",
        "kind": "function",
        "backend": None,
        "resources": {"cores": 1, "gpus": 0, "memory": 0, "ranks": 1},
        "priority": 0,
    }
    assert (data["width"], data["depth"], data["critical_path"]) == (1, 2, [1, 2])
    assert (data["levels"], data["complete"]) == ([[1], [2]], True)


# --------------------------------------------------------------------- pictures


def read_dot(text: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Labels and edges of a DOT text, read by the language's own rules for strings."""
    head, *lines, foot = text.splitlines()
    assert (head, foot) == ("digraph plan {", "}")
    assert lines.pop(0).strip() == "node [shape=box];"
    labels, edges = {}, []
    for line in lines:
        if edge := re.fullmatch(r"    (n\d+) -> (n\d+);", line):
            edges.append((edge[1], edge[2]))
        else:
            node = re.fullmatch(r'    (n\d+) \[label="((?:[^"\\]|\\.)*)"(?:, shape=\w+)?\];', line)
            assert node, line
            labels[node[1]] = html.unescape(re.sub(r"\\(.)", r"\1", node[2]))
    return labels, edges


def read_mermaid(text: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Labels and edges of a flowchart; a label may hold no character with a meaning."""
    head, *lines = text.splitlines()
    assert head == "flowchart TD"
    labels, edges = {}, []
    for line in lines:
        if edge := re.fullmatch(r"    (n\d+) --> (n\d+)", line):
            edges.append((edge[1], edge[2]))
        else:
            node = re.fullmatch(
                r'    (n\d+)(?:\[|\[\[|\(\[|\{\{)"((?:[^"#;:<>&`\\\[\]{}%]|#\d+;)+)"[\])}]+', line
            )
            assert node, line
            labels[node[1]] = re.sub(r"#(\d+);", lambda code: chr(int(code[1])), node[2])
    return labels, edges


READERS = {"to_dot": read_dot, "to_mermaid": read_mermaid}
both = pytest.mark.parametrize("form", READERS)


def drawn(plan: Plan, form: str, **options: int) -> tuple[dict[str, str], list[tuple[str, str]]]:
    return READERS[form](getattr(plan, form)(**options))


@both
def test_a_picture_has_every_task_and_edge(form: str) -> None:
    plan = planned(("load", []), ("fit", [1]), ("fit", [1]), ("merge", [2, 3]))
    labels, edges = drawn(plan, form)
    assert list(labels.values()) == ["load", "fit", "fit", "merge"]
    assert edges == [("n0", "n1"), ("n0", "n2"), ("n1", "n3"), ("n2", "n3")]


@both
@pytest.mark.parametrize("name", NASTY)
def test_a_name_cannot_break_out_of_its_label(form: str, name: str) -> None:
    labels, edges = drawn(planned((name, []), ("next", [1])), form)
    shown = labels["n0"]
    expected = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    assert len(shown) <= 60
    assert shown in (expected, expected[:59] + "…", "?", "task.000001")
    assert edges == [("n0", "n1")]


@both
@given(name=st.text(max_size=30))
def test_any_name_is_read_back_as_it_was(form: str, name: str) -> None:
    labels, _ = drawn(planned((name, [])), form)
    shown = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    assert labels["n0"] == (shown or ("?" if name else "task.000001"))


@both
def test_a_picture_can_be_encoded(form: str) -> None:
    text = getattr(planned(*((name, []) for name in NASTY)), form)()
    assert text.encode().decode() == text


@both
@pytest.mark.parametrize("kind", TaskKind)
def test_every_kind_of_task_has_a_shape(form: str, kind: TaskKind) -> None:
    recorder = PlanRecorder()
    recorder.add(spec("shaped", kind), 1)
    assert drawn(recorder.plan(1), form)[0] == {"n0": "shaped"}


@both
def test_beyond_the_limit_tasks_of_one_name_and_level_are_one_node(form: str) -> None:
    plan = planned(("load", []), *(("fit", [1]) for _ in range(50)), ("merge", [*range(2, 52)]))
    labels, edges = drawn(plan, form, limit=20)
    assert list(labels.values()) == ["load", "fit ×50", "merge"]
    assert edges == [("n0", "n1"), ("n1", "n2")]


def test_mermaid_collapses_beyond_500_edges() -> None:
    plan = planned(*(("a", []) for _ in range(30)), *(("b", [*range(1, 31)]) for _ in range(30)))
    labels, edges = read_mermaid(plan.to_mermaid())
    assert list(labels.values()) == ["a ×30", "b ×30"]
    assert edges == [("n0", "n1")]


@both
def test_many_names_on_a_level_are_drawn_as_that_level(form: str) -> None:
    names = [f"load {number}" for number in range(30)]
    plan = planned(*((name, []) for name in names), ("merge", [*range(1, 31)]))
    labels, _ = drawn(plan, form, limit=10)
    assert list(labels.values()) == ["level 1, tasks ×30", "merge"]


@both
def test_a_long_chain_ends_in_one_node_for_the_rest(form: str, long_chain: Plan) -> None:
    labels, edges = drawn(long_chain, form, limit=100)
    assert (len(labels), len(edges)) == (100, 99)
    assert labels["n99"] == "level 100 to 100000, link ×99901"


@both
@given(graph=graphs, limit=st.integers(1, 6))
def test_a_picture_keeps_to_its_limit(form: str, graph: list[list[int]], limit: int) -> None:
    plan = planned(*((f"t{index % 3}", deps) for index, deps in enumerate(graph)))
    labels, edges = drawn(plan, form, limit=limit)
    assert (len(labels) > 0) == (len(graph) > 0)
    assert len(labels) <= limit
    assert len(edges) <= limit
    assert {node for edge in edges for node in edge} <= set(labels)


@both
def test_a_limit_below_one_is_refused(form: str) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        getattr(planned(("a", [])), form)(limit=0)
