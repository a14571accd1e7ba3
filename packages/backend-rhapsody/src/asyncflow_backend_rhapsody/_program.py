"""The program that runs one task: ``python -m asyncflow_backend_rhapsody._program ORDER BACK``.

It reads its `Order` from one file and writes the `Outcome` into the other.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from ._worker import Order, run


def main(given: str, back: str) -> None:
    """Do what the file *given* says, and write what became of it to the file *back*."""
    order: Order = pickle.loads(Path(given).read_bytes())
    outcome = run(order)
    # Whoever reads it must see all of it or nothing.
    written = Path(f"{back}.new")
    written.write_bytes(pickle.dumps(outcome))
    written.replace(back)


if __name__ == "__main__":
    main(*sys.argv[1:])
