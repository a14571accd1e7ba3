"""The process in which an installed backend is checked: ``python -m ...testing._check.child``."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import TextIO

import pytest

from ..._text import safe_message
from .. import BackendConformance
from .benchmarks import BENCHMARKS, measure
from .outcomes import Outcomes
from .probe import probe
from .subject import Subject
from .suite import suite_of

__all__ = ["main"]

_MODULE = """
from radical.asyncflow.testing._check import child

TestInstalled = child.suite
"""

_OPTIONS = (
    *("-q", "--tb=short", "--import-mode=importlib", "--noconftest", "-c", os.devnull),
    *("-p", "no:cacheprovider", "-p", "pytest_asyncio.plugin"),
    *("-o", "asyncio_default_fixture_loop_scope=function"),
)

suite: type[BackendConformance] | None = None
"""The test class, which the module of the tests takes from here."""


def main(path: str) -> None:
    """Check what the environment names, and write a line for all that happens to *path*."""
    global suite
    subject = Subject.from_environment()
    with Path(path).open("a", encoding="utf-8") as lines:
        told = Outcomes(lines, frozenset(), fast=subject.fast)
        try:
            probed = asyncio.run(probe(subject))
            suite = suite_of(subject, probed)
        except Exception as error:
            told.write(broken=safe_message(error))
            return
        told.write(probed=probed._asdict())
        _run_kit(subject, suite, lines)
        if not subject.fast:
            _run_benchmarks(subject, told)
        told.write(end=True)


def _run_kit(subject: Subject, checks: type[BackendConformance], lines: TextIO) -> None:
    told = Outcomes(lines, frozenset(checks.unmet_needs or ()), fast=subject.fast)
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder) / "test_installed.py"
        module.write_text(_MODULE)
        code = pytest.main([*_OPTIONS, "--rootdir", folder, str(module)], plugins=[told])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        told.write(broken=f"pytest ended with {pytest.ExitCode(code).name}")


def _run_benchmarks(subject: Subject, told: Outcomes) -> None:
    for name in BENCHMARKS:
        told.write(begins=name)
        try:
            found = asyncio.run(measure(subject, name))
        except Exception as error:
            told.write(check=name, outcome="failed", message=safe_message(error))
        else:
            told.write(check=name, outcome="passed", benchmark=found)


if __name__ == "__main__":
    # As a module of its own name, so that the module of the tests finds the class.
    from radical.asyncflow.testing._check import child

    child.main(sys.argv[1])
