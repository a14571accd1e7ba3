"""Stand-ins for the tools by which GPUs are found, and for the library of NVIDIA's driver."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from radical.asyncflow.worker import _found_gpus

__all__ = ["Tools", "fake_nvml", "gpu_tools"]

_NVML = """
#include <stdio.h>
#include <stdlib.h>

/* Three GPUs: a plain one, one that is divided, and one that fell off the bus.  With
   FAKE_NVML=whole: two plain ones.  With FAKE_NVML=none: the driver is not there. */
static int mode(const char *text) {
    const char *value = getenv("FAKE_NVML");
    return value && value[0] == text[0];
}
int nvmlInitWithFlags(unsigned flags) { return mode("none") ? 9 : 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = mode("whole") ? 2 : 3; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, size_t *handle) {
    *handle = index + 1;
    return index == 2 ? 15 : 0;
}
int nvmlDeviceGetName(size_t handle, char *name, unsigned size) {
    snprintf(name, size, "NVIDIA H100");
    return 0;
}
int nvmlDeviceGetUUID(size_t handle, char *uuid, unsigned size) {
    if (handle > 100) snprintf(uuid, size, "MIG-part-%d", (int)handle - 100);
    else snprintf(uuid, size, "GPU-whole-%d", (int)handle);
    return 0;
}
int nvmlDeviceGetMigMode(size_t handle, unsigned *now, unsigned *later) {
    *now = *later = handle == 2;
    return handle == 2 && !mode("whole") ? 0 : 3;
}
int nvmlDeviceGetMaxMigDeviceCount(size_t handle, unsigned *count) { *count = 7; return 0; }
int nvmlDeviceGetMigDeviceHandleByIndex(size_t handle, unsigned index, size_t *part) {
    *part = 100 + index;
    return index == 1 || index == 4 ? 0 : 6;
}
"""


@pytest.fixture(scope="session")
def fake_nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for ``LD_LIBRARY_PATH`` with a ``libnvidia-ml.so.1`` of our own."""
    pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    folder = tmp_path_factory.mktemp("nvml")
    source = folder / "nvml.c"
    source.write_text(_NVML)
    library = folder / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    return folder


class Tools:
    """A folder of the PATH for tools that print what they are told to."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        self.root = root

    def add(self, name: str, text: str, code: int = 0) -> None:
        """Have the tool *name* print *text* and exit with *code*."""
        output = self.folder / f"{name}.txt"
        output.write_text(text)
        script = self.folder / name
        script.write_text(f"#!/bin/sh\necho >> {script}.runs\ncat {output}\nexit {code}\n")
        script.chmod(0o755)

    def nvidia(self, count: int) -> None:
        """Have ``nvidia-smi -L`` print *count* GPUs."""
        lines = [f"GPU {number}: NVIDIA H100 (UUID: GPU-5f3a{number})" for number in range(count)]
        self.add("nvidia-smi", "\n".join(lines) + "\n")

    @staticmethod
    def forget() -> None:
        """Have GPUs looked for once more."""
        _found_gpus._scan_once.cache_clear()

    def runs(self, name: str) -> int:
        """Return how often the tool *name* was run."""
        path = self.folder / f"{name}.runs"
        return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def gpu_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tools]:
    """This machine without GPUs, but for those that a test adds."""
    folder, root = tmp_path / "tools", tmp_path / "root"
    folder.mkdir()
    root.mkdir()
    for variable in (*_found_gpus._VARIABLES, "ROCR_VISIBLE_DEVICES"):
        monkeypatch.delenv(variable, raising=False)
    for program in ("sh", "cat", "true", "printenv"):
        where = shutil.which(program)
        assert where is not None
        (folder / program).symlink_to(where)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(_found_gpus, "_ROOT", root)
    monkeypatch.setattr(_found_gpus, "_ask_nvml", _no_nvml)
    _found_gpus._scan_once.cache_clear()
    yield Tools(folder, root)
    _found_gpus._scan_once.cache_clear()


def _no_nvml() -> list[_found_gpus._Device]:
    raise _found_gpus._NoneFoundError("nvidia-ml-py is not installed")
