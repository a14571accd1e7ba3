"""A backend out of process keeps the contract of execution backends."""

from __future__ import annotations

import pytest
from outside_guests import OutsideCrew
from radical.asyncflow.testing import BackendConformance


@pytest.fixture
def leak_guard() -> None:
    """Leave the guarding to the kit, which shares one process among the checks."""


class TestOutsideCrew(BackendConformance):
    slots = 2
    load = 500
    backend_scope = "class"
    unmet_needs = frozenset(
        {
            "chains",
            "contexts",
            "cores",
            "instances",
            "isolates",
            "kills functions",
            "markers",
            "native dependencies",
            "plugin",
            "priorities",
            "prompt",
            "remote results",
            "shares memory",
        }
    )

    def make_backend(self) -> OutsideCrew:
        return OutsideCrew()
