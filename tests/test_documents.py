"""Every Python block of the documents does what its page says."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
from charliecloud import why_not
from document_blocks import read_blocks
from radical.asyncflow.cli._command import command
from slurm_cluster import Slurm, demand_slurm, serve_slurm

ROOT = Path(__file__).parents[1]
# Its blocks are the files of a distribution, which a test of the core builds and proves.
PROVEN_ELSEWHERE = ROOT / "docs/writing-a-backend.md"
# Pages of a backend that has an environment of its own, with what has to be there for them.
NEEDS = {
    "backend-dask": "distributed",
    "backend-radical": "radical.pilot",
    "backend-parsl": "parsl",
    "backend-inference": "xllamacpp",
    "backend-rhapsody": "rhapsody",
    "tutorials/parameter-sweep": "matplotlib",
    "tutorials/learning-loop": "matplotlib",
    "tutorials/file-pipeline": "matplotlib",
    "tutorials/training-sweep": "matplotlib",
    "tutorials/pytorch-sweep": "torch",
    "tutorials/model-server": "xllamacpp",
    "tutorials/clusters": "dask_jobqueue",
}
PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("packages/*/README.md"))
    if "```python" in path.read_text(encoding="utf-8") and path != PROVEN_ELSEWHERE
    if all(name not in str(path) or find_spec(needed) for name, needed in NEEDS.items())
)


@pytest.fixture(scope="session")
def model_server() -> Iterator[str]:
    """Start a real server for prompts, with a tiny model, and give its address."""
    command = [sys.executable, str(ROOT / "examples/tiny_model/serve.py")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """Start a real Slurm with one node."""
    demand_slurm()
    with serve_slurm(tmp_path_factory.mktemp("slurm")) as slurm:
        yield slurm


@pytest.fixture
def server_of_the_page(
    page: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Start what a page finds on the machine that it speaks of: a server for prompts, or Slurm."""
    if page.stem == "model-server" or "backend-inference" in str(page):
        monkeypatch.setenv("OPENAI_BASE_URL", request.getfixturevalue("model_server"))
    if page.stem == "clusters":
        for name, value in request.getfixturevalue("slurm").environment.items():
            monkeypatch.setenv(name, value)


@pytest.fixture
def runtime_of_the_page(page: Path) -> None:
    """Skip the page about containers where none can run."""
    if page.name == "containers.md" and (reason := why_not()) is not None:
        pytest.skip(reason)


def run_page(page: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    runner = ROOT / "tests/support/document_blocks.py"
    return subprocess.run(
        [sys.executable, "-W", "error", str(runner), str(page)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=500,  # a hang, and not a busy machine
        check=False,
    )


@pytest.mark.usefixtures("server_of_the_page", "runtime_of_the_page")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_python_blocks_of_a_page_run(page: Path, tmp_path: Path) -> None:
    done = run_page(page, tmp_path)
    blocks = [
        block for block in read_blocks(page.read_text()) if block.language == "python" or block.run
    ]
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.splitlines()[-1] == f"{len(blocks)} blocks ran"
    assert "Traceback" not in done.stderr, "an error was logged, which the run survived"


def test_the_pages_that_users_begin_with_have_code() -> None:
    names = {str(page.relative_to(ROOT)) for page in PAGES}
    assert {"README.md", "docs/quickstart.md", "docs/concepts.md", "docs/backends.md"} <= names


def test_no_page_fetches_the_other_product_that_an_index_has_by_our_name() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("packages/*/README.md")]
    lines = [line for page in pages for line in page.read_text(encoding="utf-8").splitlines()]
    installs = [
        line
        for line in lines
        if re.search(r"\b(pip|uv) (install|add)\b", line)
        and not line.startswith("Installation hint: ")  # an error that a page explains
    ]
    assert [line for line in installs if "packages/core" in line]
    assert not [line for line in installs if re.search(r"radical[.-]asyncflow(?!.*>=1)", line)]


def test_the_page_of_the_command_line_names_every_command_and_each_option_of_run() -> None:
    text = (ROOT / "docs/command-line.md").read_text(encoding="utf-8")
    for name, one in command.commands.items():
        inner = (
            one.commands if isinstance(one, click.Group) and not one.invoke_without_command else {}
        )
        for words in [f"{name} {word}" for word in inner] or [name]:
            assert f"$ asyncflow {words} " in text, words
    for option in command.commands["run"].params:
        if isinstance(option, click.Option) and not option.hidden and option.name != "debug":
            assert f"| `{option.opts[0]}" in text or f", `{option.opts[0]}" in text, option.opts


def test_toml_blocks_are_toml() -> None:
    pages = {
        page: read_blocks(page.read_text(encoding="utf-8")) for page in ROOT.glob("docs/**/*.md")
    }
    blocks = [(page, block) for page in pages for block in pages[page] if block.language == "toml"]
    assert len(blocks) > 1
    for page, block in blocks:
        assert tomllib.loads(block.text), f"{page.name}: line {block.line} is empty"


@pytest.mark.parametrize(
    "block",
    [
        "raise ValueError('wrong')",
        "import asyncio\nawait asyncio.sleep(0)\nassert False",
        "import asyncio\n\nasync def main():\n    raise OSError\n\nasyncio.run(main())",
        "print('one')\n```\n\n```text\nanother",
        "a = 1\n```\n\n```console run\n$ echo one\nanother",
        "a = 1\n```\n\n```console run\n$ false",
        "a = 1\n```\n\n```console fails\n$ true",
        "a = 1\n```\n\n<!-- picture: missing.png A file that no block writes -->\n\n```text",
    ],
)
def test_a_page_whose_block_is_wrong_fails(block: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n\n```python\n{block}\n```\n")
    assert run_page(page, tmp_path).returncode != 0
