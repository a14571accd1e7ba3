"""The import of a plugin in fresh interpreters, where its cost is measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from statistics import median
from typing import NamedTuple

__all__ = ["MOST_MS", "Imported", "measure_import"]

MOST_MS = 20.0
"""The milliseconds of CPU time that the import of a plugin may take."""

_ROUNDS = 5

_PROGRAM = """
import json, sys, time
from radical.asyncflow._discovery.registry import registry
before = set(sys.modules)
began = time.process_time()
module = __import__(sys.argv[1], fromlist=["x"])
hook = getattr(module, "asyncflow_backend", None)
if callable(hook):
    hook()
took = time.process_time() - began
new = {}
for name in set(sys.modules) - before:
    parts = name.split(".")
    for length in range(1, len(parts) + 1):  # the first that is no namespace package
        root = ".".join(parts[:length])
        if getattr(sys.modules.get(root), "__file__", None):
            break
    new[name] = root
print(json.dumps([took, new]))
"""


class Imported(NamedTuple):
    """The modules that a fresh interpreter imported for a plugin beside the core, and their cost.

    Attributes:
        milliseconds: of CPU time, the median of several interpreters.
        modules: the names of all new modules.
        foreign: the packages among them that are neither the plugin's, nor the core's, nor of
            the standard library.
    """

    milliseconds: float
    modules: frozenset[str]
    foreign: tuple[str, ...]


def measure_import(module: str) -> Imported:
    """Import *module* and call its hook in fresh interpreters; the first one does not count.

    Raises:
        CalledProcessError: the import fails there.
    """
    found = [_import(module) for _ in range(_ROUNDS + 1)]
    new = found[-1][1]
    own = {new.get(module, module)}
    foreign = {
        root
        for name, root in new.items()
        if root not in own
        and not name.startswith("radical.asyncflow")
        and root.partition(".")[0] not in sys.stdlib_module_names
    }
    return Imported(
        milliseconds=median(took for took, _ in found[1:]) * 1e3,
        modules=frozenset(new),
        foreign=tuple(sorted(foreign)),
    )


def _import(module: str) -> tuple[float, dict[str, str]]:
    """Return the seconds of CPU time, and each new module with its root package."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    # What is compiled anew each time says nothing of what users wait for.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM, module],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    took, new = json.loads(ended.stdout.splitlines()[-1])
    return took, new
