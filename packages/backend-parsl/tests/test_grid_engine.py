"""Grid Engine, of which scripts with the names of its programs play the part."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import pytest
from asyncflow_backend_parsl._site.parsl_objects import correct_states
from parsl.jobs.states import JobState
from parsl.providers import GridEngineProvider
from polling import until
from radical.asyncflow import WorkflowEngine


def _program(folder: Path, name: str, lines: str) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{lines}\n")
    program.chmod(0o755)


def test_a_job_that_has_not_ended_is_not_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules[GridEngineProvider.__module__]
    monkeypatch.setattr(module, "translate_table", dict(vars(module)["translate_table"]))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    states = ["t", "s", "Eqw", "r", "qw"]
    rows = "\n".join(f"{job} 0.5 a me {state}" for job, state in enumerate(states))
    _program(tmp_path, "qstat", f"cat <<'END'\n{rows}\nEND")
    provider = GridEngineProvider()
    correct_states(provider)
    jobs = [str(job) for job in range(6)]
    provider.resources = {job: {} for job in jobs}
    assert [status.state for status in provider.status(jobs)] == [
        JobState.PENDING,
        JobState.HELD,
        JobState.HELD,
        JobState.RUNNING,
        JobState.PENDING,
        JobState.COMPLETED,
    ]


async def test_a_job_that_ends_too_early_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "radical.asyncflow")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    _program(tmp_path, "qstat", "exit 0")
    _program(tmp_path, "qdel", "exit 0")
    _program(tmp_path, "qsub", 'bash "$2" >"$2.stdout" 2>"$2.stderr"; echo 7')
    config = {"provider": "grid_engine", "worker_init": "echo no such module >&2; exit 1"}
    async with WorkflowEngine.create("parsl", config=config) as flow:
        waits = flow.function_task(int)("7")
        await until(lambda: "job 7 ended before a node" in caplog.text)
        waits.cancel()
    assert "no such module" in caplog.text
