"""Print the figures of a function as JSON: ``python -m benchmarks._fresh module:function JSON``."""

from __future__ import annotations

import json
import sys
from importlib import import_module

if __name__ == "__main__":
    module, _, function = sys.argv[1].partition(":")
    figures = getattr(import_module(module), function)(**json.loads(sys.argv[2]))
    print(json.dumps(figures))
