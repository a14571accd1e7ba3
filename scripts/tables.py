"""Write the tables of settings and capabilities in our pages: ``python scripts/tables.py``.

They come from the models and the declarations of those backends that load here; the tables of the
others stay as they are, and the script says which.
"""

from __future__ import annotations

import sys
from pathlib import Path

from radical.asyncflow._catalog.markdown import blocks_of, update_tables
from radical.asyncflow._discovery.registry import registry

ROOT = Path(__file__).parents[1]
PAGES = sorted((*ROOT.glob("docs/*.md"), *ROOT.glob("packages/*/README.md")))


def tables() -> dict[Path, list[str]]:
    """Return the pages that have such tables, each with the backends that these are about."""
    found = {}
    for page in PAGES:
        if names := {block.name for block in blocks_of(page.read_text(encoding="utf-8"))}:
            found[page] = sorted(names)
    return found


def main() -> int:
    """Write what can be written here; return 1 if a backend is missing."""
    missing = set()
    for page, names in tables().items():
        text = page.read_text(encoding="utf-8")
        for name in names:
            facts = registry.describe(name)
            if "capabilities" in facts:
                text = update_tables(text, facts)
            else:
                missing.add(name)
        page.write_text(text, encoding="utf-8")
    if missing:
        print(f"these do not load here: {', '.join(sorted(missing))}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
