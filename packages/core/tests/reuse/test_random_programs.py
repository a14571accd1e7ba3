"""No random program is given the result of another: the reuse of results fails closed.

Each program is made of random pieces and changed in one place.  Where its result changes, the
identity of its task must change; where nothing that the task uses changed, it should not.
``ASYNCFLOW_REUSE_PROGRAMS`` and ``ASYNCFLOW_REUSE_RUNS`` set how many are tried.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow._resume.bytecode import code_hash

from .features import FEATURES, Feature
from .programs import PROGRAM, Identity, changes_of, judge, make_program

PROGRAMS = int(os.environ.get("ASYNCFLOW_REUSE_PROGRAMS", "600"))
RUNS = int(os.environ.get("ASYNCFLOW_REUSE_RUNS", "2"))
REUSED_AT_LEAST = 0.95
"""The share that must be reused of the programs in which nothing that matters changed."""

MAIN = """
import asyncio
from radical.asyncflow import WorkflowEngine

async def main():
    async with WorkflowEngine.create("concurrent", journal="run.journal") as flow:
        print("RESULT", await flow.function_task(body)(3))

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def no_bytecode_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


def tried(folder: Path, count: int, identity: Identity | None = None) -> Counter[str]:
    """Return how many programs were reused wrongly, reused rightly and run in vain."""
    found: Counter[str] = Counter()
    for seed in range(count):
        program = make_program(seed)
        outcome = judge(program, folder, identity)
        if outcome.differs and outcome.reused:
            found["wrong"] += 1
            found[f"wrong: seed {seed}"] += 1
        if not program.matters:
            found["reused" if outcome.reused else "in vain"] += 1
        elif outcome.differs:
            found["changed"] += 1
    return found


def test_no_program_is_given_the_result_of_another(tmp_path: Path) -> None:
    found = tried(tmp_path, PROGRAMS)
    share = found["reused"] / (found["reused"] + found["in vain"])
    print(f"\n{PROGRAMS:,} programs: {dict(found)}, {share:.1%} of the unchanged reused")
    assert found["changed"] > PROGRAMS / 2
    assert found["wrong"] == 0, found
    assert share >= REUSED_AT_LEAST


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.use)
def test_every_change_of_a_piece_is_seen(tmp_path: Path, feature: Feature) -> None:
    for program in changes_of(feature):
        outcome = judge(program, tmp_path)
        assert outcome.described, program
        assert outcome.differs, program
        assert not outcome.reused, program


def own_code(body: Any) -> bytes:
    return code_hash(body.__code__)


def plain_constants(body: Any) -> bytes:
    """Return what an engine has that sees constants and helpers, and passes over the rest."""
    around = [body.__globals__.get(name) for name in body.__code__.co_names]
    helpers = [code_hash(value.__code__) for value in around if type(value) is type(own_code)]
    return repr(([v for v in around if isinstance(v, float | str | list)], helpers)).encode()


@pytest.mark.parametrize("identity", [own_code, plain_constants])
def test_the_campaign_finds_an_engine_that_passes_something_over(
    tmp_path: Path, identity: Identity
) -> None:
    assert tried(tmp_path, 200, identity)["wrong"] > 20


def test_the_campaign_finds_an_engine_that_reuses_nothing(tmp_path: Path) -> None:
    assert tried(tmp_path, 50, lambda _: None)["reused"] == 0


# ------------------------------------------------------------------ whole runs


def run(folder: Path, files: dict[str, str], journal: bool, seed: int) -> str:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + MAIN if name == f"{PROGRAM}.py" else text)
    if not journal:
        (folder / "run.journal").unlink()
    done = subprocess.run(
        [sys.executable, f"{PROGRAM}.py"],
        cwd=folder,
        env=os.environ | {"PYTHONHASHSEED": str(seed), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("number", range(RUNS))
def test_a_resumed_run_prints_what_a_fresh_one_prints(tmp_path: Path, number: int) -> None:
    changed = (make_program(seed) for seed in range(number * 100, 1 << 30))
    program = next(one for one in changed if one.matters and not one.live)
    run(tmp_path, program.before, journal=True, seed=1)
    resumed = run(tmp_path, program.after, journal=True, seed=2)
    assert resumed == run(tmp_path, program.after, journal=False, seed=3)
