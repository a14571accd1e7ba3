"""What the plugin is made of, and that it is nothing where nobody set it up."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry import metrics, trace
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.testing import ScriptedBackend

SOURCES = sorted((Path(__file__).parents[1] / "src").rglob("*.py"))
PUBLIC = {
    "radical.asyncflow",
    *(f"radical.asyncflow.{name}" for name in ("errors", "events", "hookspecs", "model", "worker")),
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_it_uses_public_names_alone(path: Path) -> None:
    used = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            used |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            assert node.module is not None
            used.add(node.module)
            assert not any(alias.name.startswith("_") for alias in node.names)
    ours = {name for name in used if name.startswith("radical")}
    otel = {name for name in used if name.startswith("opentelemetry")}
    assert ours <= PUBLIC
    assert not [name for name in otel if ".sdk" in name or "._" in name]
    assert {name.split(".")[0] for name in used - ours - otel} <= sys.stdlib_module_names


async def test_without_a_provider_nobody_watches_and_nothing_is_carried() -> None:
    async with WorkflowEngine.create(ScriptedBackend()) as flow:
        assert flow._dispatcher.run.observers.events is None
        assert flow._dispatcher.run.carriage is None


async def test_a_provider_that_does_nothing_counts_as_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", trace.NoOpTracerProvider)
    monkeypatch.setattr(metrics, "get_meter_provider", metrics.NoOpMeterProvider)
    async with WorkflowEngine.create(ScriptedBackend()) as flow:
        assert flow._dispatcher.run.observers.events is None


def test_a_program_without_opentelemetry_does_not_import_it() -> None:
    code = (
        "import asyncio, json, sys\n"
        "from radical.asyncflow import WorkflowEngine\n"
        "async def main():\n"
        "    async with WorkflowEngine.create(dry_run=True): pass\n"
        "asyncio.run(main())\n"
        "print(json.dumps([name for name in sys.modules if name.startswith("
        "('opentelemetry', 'asyncflow_plugin_otel'))]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert sorted(json.loads(done.stdout)) == [
        "asyncflow_plugin_otel",
        "asyncflow_plugin_otel.plugin",
        "asyncflow_plugin_otel.version",
    ]
