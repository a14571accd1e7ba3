"""The command of a block: ``python -P -m asyncflow_backend_parsl._node FILE BLOCK``."""

from __future__ import annotations

import sys

from .keeper import main

if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
