"""Our own wheels, as they are uploaded, in a catalog."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from radical.asyncflow._catalog.site import build_catalog


def test_our_wheels_bring_all_that_a_catalog_shows(
    dists: dict[str, dict[str, Path]], tmp_path: Path
) -> None:
    wheels, site = tmp_path / "wheels", tmp_path / "site"
    wheels.mkdir()
    for built in dists.values():
        shutil.copy(built[".whl"], wheels)
    made = build_catalog(site, [str(wheels)], title="Ours")
    assert made.problems == []
    entries = {
        entry["name"]: entry for entry in json.loads((site / "catalog.json").read_text())["plugins"]
    }
    backends = {name: entry for name, entry in entries.items() if entry["kind"] == "backend"}
    assert sorted(backends) == [
        *("concurrent", "dask", "inference", "noop", "parsl", "pbs", "radical_pilot", "rhapsody"),
        "slurm",
    ]
    for name, entry in backends.items():
        assert (entry["licence"], entry["core"]) == ("MIT", "<2,>=1.0"), name
        assert entry["capabilities"]["kinds"], name
        assert entry["portability"]["block"] == "", name
    assert backends["concurrent"]["level"] in ("silver", "gold")
    assert entries["otel"]["kind"] != "backend"
    page = (site / "plugins/asyncflow-backend-dask.html").read_text()
    assert "threads_per_worker" in page
