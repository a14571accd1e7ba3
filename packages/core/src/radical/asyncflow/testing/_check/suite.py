"""The conformance kit for the backend that the environment names."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from ..._discovery.registry import registry
from ...backend import ExecutionBackend
from .. import BackendConformance
from .probe import Probed
from .subject import Subject

__all__ = ["SELF_CHECK", "suite_of"]

SELF_CHECK = "test_unmet_needs_names_the_needs_that_are_not_met"
"""A check of the test class, which the command writes itself."""


def suite_of(subject: Subject, probed: Probed) -> type[BackendConformance]:
    """Return the test class; its `unmet_needs` are what the backend does not meet."""

    def make_backend(_: BackendConformance) -> ExecutionBackend:
        return registry.create(subject.name, subject.settings)

    attributes: dict[str, Any] = {
        "backend_name": subject.name,
        "load": subject.load,
        "patience": subject.patience,
        "slots": probed.slots,
        "inline": probed.inline,
        "travel": probed.travel,
        "backend_scope": probed.backend_scope,
        "make_backend": make_backend,
    }
    suite: type[BackendConformance] = type("TestInstalled", (BackendConformance,), attributes)
    unmet: Collection[str] = asyncio.run(suite().unmet())
    suite.unmet_needs = frozenset(unmet)
    return suite
