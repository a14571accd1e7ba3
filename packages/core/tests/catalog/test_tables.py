"""The tables of one backend: from a model and capabilities to rows, to Markdown, into a page."""

from __future__ import annotations

import json
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field
from radical.asyncflow._catalog.abilities import ABILITIES, abilities_of, limits_of
from radical.asyncflow._catalog.markdown import (
    capabilities_table,
    page_of,
    settings_table,
    update_tables,
)
from radical.asyncflow._catalog.settings import REQUIRED, Setting, settings_of
from radical.asyncflow._discovery.declared import as_plain_dict
from radical.asyncflow.backend import Capabilities
from radical.asyncflow.config import schema
from radical.asyncflow.errors import ConfigurationError
from radical.asyncflow.model import TaskKind


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Inner(BaseModel):
    """The bounds of something."""

    low: int = Field(default=0, ge=0, description="At least.")


class Everything(BaseModel):
    """Has one setting of each sort."""

    name: str = Field(min_length=1, description="What it is called.")
    wait: float = Field(default=5.0, gt=0, le=9, json_schema_extra={"unit": "seconds"})
    code: str = Field(default="a", min_length=1, max_length=3, pattern="[a-z]+")
    many: list[int] | None = None
    few: set[str] = Field(default_factory=set)
    pair: tuple[int, str] = (1, "a")
    mapped: dict[str, float] = Field(default_factory=dict)
    mode: Literal["x", "y"] = "x"
    colour: Colour = Colour.RED
    where: Path = Path("here")
    inner: Inner = Field(default_factory=Inner)
    maybe: Inner | None = Field(default=None, description="If there is one.")
    several: list[Inner] = Field(default_factory=list)
    named: dict[str, Inner] = Field(default_factory=dict)


class Tree(BaseModel):
    branches: list[Tree] = Field(default_factory=list, description="Of the same sort.")


def rows(model: type[BaseModel]) -> dict[str, Setting]:
    return {one.key: one for one in settings_of(schema(model))}


@pytest.mark.parametrize(
    ("key", "type_", "default"),
    [
        ("name", "str, not empty", REQUIRED),
        ("wait", "0 < float <= 9", "5.0"),
        ("code", "str, 1 to 3 characters, like [a-z]+", "'a'"),
        ("many", "list[int] | None", "None"),
        ("few", "set[str]", "[]"),
        ("pair", "tuple[int, str], 2 to 2 items", "[1, 'a']"),
        ("mapped", "dict[str, float]", "{}"),
        ("mode", "'x' | 'y'", "'x'"),
        ("colour", "'red' | 'blue'", "'red'"),
        ("where", "path", "'here'"),
        ("inner.low", "int >= 0", "0"),
        ("maybe.low", "int >= 0", "0"),
        ("several[].low", "int >= 0", "0"),
        ("named.*.low", "int >= 0", "0"),
    ],
)
def test_a_setting_has_its_type_with_bounds_and_its_default(
    key: str, type_: str, default: str
) -> None:
    found = rows(Everything)[key]
    assert (found.type, found.default) == (type_, default)


def test_a_setting_has_its_unit_and_its_description() -> None:
    found = rows(Everything)
    assert found["wait"].unit == "seconds"
    assert found["name"].description == "What it is called."
    assert found["inner"].description == "The bounds of something."
    assert found["maybe"].description == "If there is one."


def test_sections_stand_in_front_of_their_settings() -> None:
    keys = [(one.key, one.is_section) for one in settings_of(schema(Everything))]
    assert keys[-4:] == [
        *(("several", True), ("several[].low", False)),
        *(("named", True), ("named.*.low", False)),
    ]


def test_a_model_inside_of_itself_is_shown_once() -> None:
    assert list(rows(Tree)) == ["branches"]


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        "text",
        {"properties": []},
        {"properties": {"a": 1, "b": None}},
        {"properties": {"a": {"anyOf": 3, "type": ["x"], "enum": "abc", "minLength": "9"}}},
        {"properties": {"a": {"$ref": 5, "description": {}, "unit": [1]}}},
        {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}},
        {"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"$ref": "#/$defs/A"}}},
        {"properties": {"a": {"allOf": [{"$ref": "#/$defs/"}]}}, "$defs": []},
    ],
)
def test_a_schema_that_is_none_gives_what_can_be_read(wrong: object) -> None:
    assert all(isinstance(text, str) for one in settings_of(wrong) for text in one[:5])


def test_a_schema_that_would_give_more_rows_than_there_is_memory_ends() -> None:
    names = [f"M{number}" for number in range(40)]
    definitions = {
        name: {"properties": {other: {"$ref": f"#/$defs/{other}"} for other in names}}
        for name in names
    }
    deep: Any = {"type": "array"}
    for _ in range(300):
        deep = {"type": "array", "items": deep, "default": "x" * 1000}
    found = settings_of({"$defs": definitions, **definitions["M0"]})
    assert len(found) == 500
    assert len(settings_of({"properties": {"deep": deep}})[0].type) <= 200


def test_each_field_of_the_capabilities_is_explained() -> None:
    told = {ability.field for ability in ABILITIES} | {"limits"}
    assert told == {field.name for field in fields(Capabilities)}
    assert all(ability.title and ability.meaning.endswith(".") for ability in ABILITIES)


def test_capabilities_are_answered_in_words() -> None:
    able = Capabilities(kinds={TaskKind.FUNCTION, TaskKind.EXECUTABLE}, quick=True, limits=["slow"])
    answers = {ability.field: answer for ability, answer in abilities_of(as_plain_dict(able))}
    assert answers["kinds"] == "executable, function"
    assert answers["quick"] == "yes"
    assert answers["contexts"] == "no"
    assert answers["resources"] == "none"
    assert limits_of(as_plain_dict(able)) == ["slow"]


def test_capabilities_of_a_newer_contract_come_last_under_their_own_names() -> None:
    found = list(abilities_of({"teleports": True, "kinds": ["function"]}))
    assert [(ability.title, answer) for ability, answer in found] == [
        ("runs", "function"),
        ("teleports", "yes"),
    ]


def test_a_table_of_settings_in_markdown() -> None:
    table = settings_table(schema(Everything), ["name", "wait", "maybe"])
    assert table.splitlines() == [
        "| setting | type | default | meaning |",
        "| --- | --- | --- | --- |",
        "| `name` | `str, not empty` | required | What it is called. |",
        "| `wait` | `0 < float <= 9`, seconds | `5.0` | |",
        "| `maybe` | `dict \\| None` | | If there is one. |",
        "| `maybe.low` | `int >= 0` | `0` | At least. |",
    ]


def test_what_markdown_would_obey_is_escaped_and_code_stays() -> None:
    text = "a | b <script>\n*c* `d | e` [f](g) _h_ max_workers \x1b[2J & `"
    table = settings_table({"properties": {"x": {"description": text}}})
    row = table.splitlines()[-1]
    assert row.endswith(
        r"| a \| b &lt;script> \*c\* `d \| e` \[f\](g) \_h\_ max_workers \\x1b\[2J &amp; \` |"
    )


def test_no_settings_are_a_sentence() -> None:
    assert settings_table(None) == "There are no settings.\n"


def test_limits_are_a_list_of_sentences() -> None:
    table = capabilities_table({"kinds": ["function"], "limits": ["it is slow", "It is late."]})
    assert table.endswith("Its limits:\n\n- It is slow.\n- It is late.\n")


FACTS = {
    "name": "mine",
    "summary": "Does it",
    "config_schema": schema(Inner),
    "capabilities": {"kinds": ["function"], "executes": True},
    "tasks": {"`cores`": "", "command": "it runs none"},
}
PAGE = """# Mine
<!-- asyncflow: settings of mine: low -->
old
<!-- asyncflow: end -->
between
<!-- asyncflow: capabilities of other -->
stays
<!-- asyncflow: end -->
<!-- asyncflow: capabilities of mine -->
<!-- asyncflow: end -->
last
"""


def test_a_page_has_settings_capabilities_and_tasks() -> None:
    page = page_of(FACTS)
    assert page.startswith("# mine\n\nDoes it\n\n## Settings\n\n| setting |")
    assert "| runs | `kinds` | function |" in page
    assert page.endswith("| `cores` | yes |\n| command | no, because it runs none |\n")
    assert "Tasks and options" not in page_of(
        {**FACTS, "capabilities": {"kinds": ["function"], "executes": False}}
    )


def test_the_tables_of_a_page_are_written_anew_and_nothing_else() -> None:
    page = update_tables(PAGE, FACTS)
    assert "old" not in page
    assert "| `low` | `int >= 0` | `0` | At least. |\n\n<!-- asyncflow: end -->\nbetween" in page
    assert "capabilities of other -->\nstays\n<!-- asyncflow: end -->" in page
    assert page.startswith("# Mine\n")
    assert page.endswith("<!-- asyncflow: end -->\nlast\n")
    assert update_tables(page, FACTS) == page


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("x\n<!-- asyncflow: settings of mine -->\n", "line 2: the table has no end"),
        (
            "<!-- asyncflow: settings of mine -->\n<!-- asyncflow: settings of other -->\n"
            "<!-- asyncflow: end -->",
            "line 1: the table has no end",
        ),
        ("<!-- asyncflow: tables of mine -->\n", "asks for no table; write settings of NAME"),
        ("<!-- asyncflow: end -->\n", "asks for no table"),
        (
            "<!-- asyncflow: settings of mine: lwo -->\n<!-- asyncflow: end -->",
            "no setting 'lwo'; did you mean 'low'",
        ),
    ],
)
def test_a_comment_that_asks_for_nothing_is_an_error(page: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        update_tables(page, FACTS)


def test_a_comment_inside_of_a_line_is_text() -> None:
    text = "Write `<!-- asyncflow: settings of mine -->` and `<!-- asyncflow: end -->`.\n"
    assert update_tables(text, FACTS) == text


def test_the_facts_may_come_from_a_file() -> None:
    facts = json.loads(json.dumps(FACTS))
    assert page_of(facts) == page_of(FACTS)
