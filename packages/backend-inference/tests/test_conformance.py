"""The contract, on a real server."""

from __future__ import annotations

from typing import ClassVar

import pytest
from asyncflow_backend_inference import InferenceExecutionBackend
from radical.asyncflow.testing import BackendConformance


class TestInference(BackendConformance):
    backend_name = "inference"
    url: ClassVar[str]
    load = 20  # each is an answer of a model
    patience = 60
    slots = None
    unmet_needs = (
        "chains",
        "contexts",
        "cores",
        "executable",
        "function",
        "instances",
        "kills executables",
        "kills functions",
        "markers",
        "native dependencies",
        "pickles",
        "remote results",
        "service",
        "slots",
    )

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def at_the_server(cls, real_server: str) -> None:
        cls.url = real_server

    def make_backend(self) -> InferenceExecutionBackend:
        return InferenceExecutionBackend(base_url=self.url, max_tokens=60)
