"""Write the requirements and the extras of radical.asyncflow when it is built.

From a clone nothing is on an index, so an extra points at the sibling folder.  In a
release (``ASYNCFLOW_RELEASE`` set, or built from an sdist) it names the distribution
of the same version, and the two local backends are required: as a URL they would
make ``pip install -e packages/core -e packages/backend-noop`` a conflict.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

FOLDERS = {
    "noop": "backend-noop",
    "concurrent": "backend-concurrent",
    "dask": "backend-dask[dashboard]",
    "radicalpilot": "backend-radical",
    "radical-pilot": "backend-radical",
    "parsl": "backend-parsl",
    "inference": "backend-inference",
    "rhapsody": "backend-rhapsody",
    "otel": "plugin-otel",
}
LOCAL = ("noop", "concurrent")
NEEDS = {"parsl": "concurrent"}
"""The extras whose package needs that of another one, which is on no index either."""
OTHERS = {
    "nvidia": ["nvidia-ml-py>=11.525"],
    "mpi": ["mpi4py>=4.0"],
    "watch": ["textual>=6"],
    "page": ["starlette>=0.40", "uvicorn>=0.30"],
    "files": ["fsspec[http]>=2023.6"],
    "testing": ["numpy>=1.24", "psutil>=5.9", "pytest>=8.2", "pytest-asyncio>=0.24"],
}


class Extras(MetadataHookInterface):
    """The hook that fills in ``dependencies`` and ``optional-dependencies``."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Complete *metadata*; hatchling calls this with the static part of ``[project]``."""
        root = Path(self.root).resolve()
        release = bool(os.environ.get("ASYNCFLOW_RELEASE")) or (root / "PKG-INFO").is_file()
        extras: dict[str, list[str]] = {}
        for extra, folder in FOLDERS.items():
            name = f"asyncflow-{folder}"
            sibling = root.parent / folder.partition("[")[0]
            if release:
                extras[extra] = [f"{name}=={metadata['version']}"]
            elif (sibling / "pyproject.toml").is_file():
                # "/src/.." because pip takes a URL that ends in "backend-noop" for an archive
                # with a version in its name, and keeps what it built of it for ever.
                extras[extra] = [f"{name} @ {sibling.as_uri()}/src/.."]
        for extra, needed in NEEDS.items():
            if not release and extra in extras:
                extras[extra] += extras[needed]
        local = [requirement for extra in LOCAL for requirement in extras.get(extra, ())]
        extras["local"] = local
        extras["all"] = sorted({item for items in extras.values() for item in items})
        metadata["optional-dependencies"] = extras | OTHERS
        metadata["dependencies"] = [*self.config["dependencies"], *(local if release else ())]
