"""Write the sums of a new frozen plugin: ``python tests/frozen/sums.py contract_X_Y``."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
SUMS = HERE / "SHA256SUMS"


def lines_of(folder: str) -> Iterator[str]:
    """Yield the sum and the path of each file in *folder*, as sha256sum writes them."""
    for path in sorted((HERE / folder).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            yield f"{digest}  {path.relative_to(HERE).as_posix()}"


def main(folder: str) -> int:
    """Add the sums of *folder*, and refuse to change those of one that has them."""
    known = SUMS.read_text(encoding="utf-8") if SUMS.exists() else ""
    if f"  {folder}/" in known:
        print(f"{folder} is frozen already: add a new folder for a new contract", file=sys.stderr)
        return 1
    SUMS.write_text(known + "".join(f"{line}\n" for line in lines_of(folder)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
