"""Writes the extras of radical.asyncflow when it is built.

From a clone nothing is on an index, so an extra points at the sibling folder; in a
release (``ASYNCFLOW_RELEASE`` set) it names the distribution of the same version.
"""

import os
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

FOLDERS = {
    "noop": "backend-noop",
    "concurrent": "backend-concurrent",
    "dask": "backend-dask",
    "radicalpilot": "backend-radical",
    "radical-pilot": "backend-radical",
}


class Extras(MetadataHookInterface):
    def update(self, metadata):
        extras = {
            extra: [requirement]
            for extra, folder in FOLDERS.items()
            if (requirement := self._requirement(folder, metadata["version"]))
        }
        extras["local"] = extras.get("noop", []) + extras.get("concurrent", [])
        extras["all"] = sorted({item for items in extras.values() for item in items})
        metadata["optional-dependencies"] = extras

    def _requirement(self, folder, version):
        name = f"asyncflow-{folder}"
        if os.environ.get("ASYNCFLOW_RELEASE"):
            return f"{name}=={version}"
        path = Path(self.root).resolve().parent / folder
        return f"{name} @ {path.as_uri()}" if (path / "pyproject.toml").is_file() else None
