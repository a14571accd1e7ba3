"""A folder in which PSI/J finds our executor for Slurm."""

from __future__ import annotations

import shutil
from pathlib import Path

__all__ = ["write_plugin"]

_EXECUTOR = Path(__file__).with_name("slurm_executor.py")
_DESCRIPTOR = """
from packaging.version import Version
from psij.descriptor import Descriptor

__PSI_J_EXECUTORS__ = [
    Descriptor(
        name="slurm",
        nice_name="Slurm",
        version=Version("1000"),  # PSI/J takes the highest
        cls="slurm_executor.AnyReasonSlurmExecutor",
    )
]
"""


def write_plugin(folder: Path) -> Path:
    """Write the plugin below *folder*; return the folder that must be in PYTHONPATH.

    PSI/J looks for plugins in each folder of ``sys.path``.
    """
    place = folder / "psij"
    descriptors = place / "psij-descriptors"
    descriptors.mkdir(parents=True, exist_ok=True)
    (descriptors / "asyncflow_descriptor.py").write_text(_DESCRIPTOR)
    shutil.copyfile(_EXECUTOR, place / _EXECUTOR.name)
    return place
