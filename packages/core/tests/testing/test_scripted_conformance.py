"""The scripted backend keeps the contract that it helps to test."""

from __future__ import annotations

from radical.asyncflow.backend import TaskKind
from radical.asyncflow.testing import BackendConformance, ScriptedBackend

_INLINE = {
    "plugin",
    "markers",
    "cores",
    "instances",
    "pickles",
    "slots",
    "workers",
    "spares functions",
    "service",
}


class TestScripted(BackendConformance):
    slots = None
    inline = True
    unmet_needs = _INLINE | {
        "executable",
        "prompt",
        "kills executables",
        "chains",
        "native dependencies",
        "remote results",
    }

    def make_backend(self) -> ScriptedBackend:
        return ScriptedBackend(priorities=True)


class TestScriptedWithGraphAndRemoteValues(BackendConformance):
    """Made by a coroutine and shared by all checks, as a slow backend would be."""

    slots = None
    inline = True
    load = 1_000
    backend_scope = "class"
    unmet_needs = _INLINE | {"executable", "kills executables", "chains", "priorities"}

    async def make_backend(self) -> ScriptedBackend:
        kinds = {TaskKind.FUNCTION, TaskKind.PROMPT}
        return ScriptedBackend(kinds=kinds, native_dependencies=True, remote_results=True)


class TestScriptedWithChains(BackendConformance):
    slots = None
    inline = True
    unmet_needs = _INLINE | {
        "executable",
        "prompt",
        "kills executables",
        "native dependencies",
        "priorities",
        "remote results",
    }

    def make_backend(self) -> ScriptedBackend:
        return ScriptedBackend(chains=True, quick=True)
