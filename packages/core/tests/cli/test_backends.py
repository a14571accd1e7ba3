"""``asyncflow backends``."""

from __future__ import annotations

import json
import re
from pathlib import Path

from fake_gpus import Tools, gpu_tools
from radical.asyncflow import registry
from radical.asyncflow.worker import count_cores

from .conftest import Install, Invoke, Run

__all__ = ["gpu_tools"]

BACKENDS = "radical.asyncflow.backends"
PLUGIN = """
    from typing import Literal
    from pydantic import BaseModel, Field
    from radical.asyncflow.backend import BackendSpec, Capabilities, TaskKind, hookimpl

    class Inner(BaseModel):
        depth: float = Field(default=0.5, gt=0, description="How deep.")

    class Config(BaseModel):
        url: str = Field(description="Where [red]it[/red] is.")
        mode: Literal["a", "b"] = "a"
        sizes: list[int] | None = None
        count: int = Field(default=1, ge=1, le=9)
        inner: Inner = Inner()

    @hookimpl
    def asyncflow_backend():
        return BackendSpec(
            name="mine", summary="in the spec", factory="nowhere:Backend", config_model=Config,
            capabilities=Capabilities(kinds={TaskKind.FUNCTION}, limits=["one at a time"]),
        )
"""


def test_json_listing_is_that_of_the_registry(invoke: Invoke) -> None:
    result = invoke("backends", "list", "--json")
    assert json.loads(result.stdout) == registry.list_available_backends()


def test_piped_listing_has_one_line_for_each_backend(run: Run) -> None:
    table = run("backends", "list").stdout.partition("\n\n")[0].splitlines()
    assert table[0].split() == ["NAME", "STATUS", "VERSION", "SUMMARY"]
    assert [line.split()[0] for line in table[1:]] == [*registry.list_available_backends()]


def test_listing_tells_how_to_get_what_is_missing(run: Run) -> None:
    hint = registry.list_available_backends()["dask"]["installation_hint"]
    assert hint.startswith("Try: ")
    assert hint in run("backends", "list").stdout


def test_show_names_type_default_and_description_of_each_setting(
    invoke: Invoke, install: Install
) -> None:
    install(BACKENDS, "mine", PLUGIN)
    settings = invoke("backends", "show", "mine").stdout.partition("Settings\n")[2]
    rows = [line.split("  ") for line in settings.splitlines()]
    cells = {row[1]: [cell.strip() for cell in row[2:] if cell.strip()] for row in rows}
    assert cells == {
        "KEY": ["TYPE", "DEFAULT", "DESCRIPTION"],
        "url": ["str", "(required)", "Where [red]it[/red] is."],
        "mode": ["'a' | 'b'", "'a'"],
        "sizes": ["list[int] | None", "None"],
        "count": ["1 <= int <= 9", "1"],
        "inner": ["dict", "{'depth': 0.5}"],
        "inner.depth": ["float > 0", "0.5", "How deep."],
    }


def test_show_names_capabilities_and_limits(invoke: Invoke, install: Install) -> None:
    install(BACKENDS, "mine", PLUGIN)
    text = invoke("backends", "show", "mine").stdout
    assert re.search(r"^ +runs +function$", text, re.MULTILINE)
    assert "one at a time" in text


def test_show_says_which_kinds_and_options_a_backend_has_and_why_not(
    invoke: Invoke, install: Install
) -> None:
    install(BACKENDS, "mine", PLUGIN)
    text = invoke("backends", "show", "mine").stdout
    assert re.search(r"^ +async function +yes$", text, re.MULTILINE)
    assert re.search(r"^ +command +no, because it runs no executable tasks", text, re.MULTILINE)
    assert "Tasks and options" not in invoke("backends", "show", "noop").stdout, "a dry run"


def test_show_as_json_is_the_description(invoke: Invoke) -> None:
    result = invoke("backends", "show", "noop", "--json")
    assert json.loads(result.stdout) == registry.describe("noop")


def test_show_of_a_missing_backend_tells_how_to_get_it(invoke: Invoke) -> None:
    result = invoke("backends", "show", "dask")
    assert result.exit_code == 0
    assert "radical.asyncflow[dask]" in result.stdout


def test_show_of_a_broken_backend_tells_why(invoke: Invoke, install: Install) -> None:
    install(BACKENDS, "mine", "raise OSError('no disk')")
    assert "OSError: no disk" in invoke("backends", "show", "mine").stdout


def test_show_tells_the_cores_of_this_machine_if_the_backend_assigns_cores(
    invoke: Invoke,
) -> None:
    count = count_cores()
    shown = invoke("backends", "show", "concurrent").stdout
    assert f"{count.cores}; {count.origin}" in shown
    facts = json.loads(invoke("backends", "show", "concurrent", "--json").stdout)
    assert facts["cores_here"] == {"cores": count.cores, "origin": count.origin}
    assert "cores here" not in invoke("backends", "show", "noop").stdout


def test_show_says_which_gpus_are_here_if_the_backend_honours_them(
    invoke: Invoke, install: Install, gpu_tools: Tools
) -> None:
    gpu_tools.nvidia(2)
    assert "GPUs here     0, 1; 2 × NVIDIA H100, found by nvidia-smi" in _show(invoke, "concurrent")
    shown = json.loads(invoke("backends", "show", "concurrent", "--json").stdout)
    assert shown["gpus_here"] == {
        "ids": [0, 1],
        "variable": "CUDA_VISIBLE_DEVICES",
        "how": "2 × NVIDIA H100, found by nvidia-smi",
    }
    install(BACKENDS, "mine", PLUGIN)
    assert "GPUs" not in _show(invoke, "mine")


def _show(invoke: Invoke, name: str) -> str:
    return invoke("backends", "show", name).stdout


def test_docs_prints_a_page_from_the_model(invoke: Invoke, install: Install) -> None:
    install(BACKENDS, "mine", PLUGIN)
    page = invoke("backends", "docs", "mine").stdout
    assert "| `inner.depth` | `float > 0` | `0.5` | How deep. |" in page
    assert "| `url` | `str` | required | Where \\[red\\]it\\[/red\\] is. |" in page
    assert "- One at a time." in page


def test_docs_writes_the_tables_of_pages_and_checks_them(
    invoke: Invoke, install: Install, tmp_path: Path
) -> None:
    install(BACKENDS, "mine", PLUGIN)
    page = tmp_path / "README.md"
    page.write_text("<!-- asyncflow: settings of mine: count -->\n<!-- asyncflow: end -->\n")
    words = "backends", "docs", "mine", str(page)
    assert invoke(*words, "--check").exit_code == 1
    assert "count" not in page.read_text().partition("-->")[2]
    assert invoke(*words).exit_code == 0
    assert "| `count` | `1 <= int <= 9` | `1` | |" in page.read_text()
    checked = invoke(*words, "--check")
    assert (checked.exit_code, checked.output) == (0, "")


def test_docs_names_the_page_that_has_no_table_of_the_backend(
    invoke: Invoke, install: Install, tmp_path: Path
) -> None:
    install(BACKENDS, "mine", PLUGIN)
    page = tmp_path / "README.md"
    page.write_text("nothing\n")
    result = invoke("backends", "docs", "mine", str(page))
    assert result.exit_code == 2
    assert f"{page}: no table of 'mine'; write <!-- asyncflow: settings of mine" in result.output


def test_docs_of_a_backend_that_does_not_load_says_why(invoke: Invoke, install: Install) -> None:
    install(BACKENDS, "mine", "raise OSError('no disk')")
    result = invoke("backends", "docs", "mine")
    assert result.exit_code == 2
    assert "OSError: no disk" in result.output
    missing = invoke("backends", "docs", "dask")
    assert missing.exit_code == 2
    assert "radical.asyncflow[dask]" in missing.output
    assert "name the pages" in invoke("backends", "docs", "noop", "--check").output
