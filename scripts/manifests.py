"""Write what our backends declare into their manifests: ``python scripts/manifests.py``.

``asyncflow backends check NAME --manifest`` makes a manifest, with how the checks ended.  This
script keeps that part, and writes anew what the plugin and the model say by now: summary,
capabilities, settings and portability.  It passes over backends that do not load here, and says
which.
"""

from __future__ import annotations

import sys
from pathlib import Path

from radical.asyncflow._discovery.registry import registry
from radical.asyncflow._quality.report import MANIFEST, Manifest, own_manifest

ROOT = Path(__file__).parents[1]
PATHS = sorted(
    path
    for name in (MANIFEST, own_manifest("*"))
    for path in ROOT.glob(f"packages/backend-*/src/*/{name}")
)


def declared(manifest: Manifest) -> Manifest | None:
    """Return *manifest* with what its backend declares; None if the backend does not load here."""
    facts = registry.describe(manifest.backend)
    if "capabilities" not in facts:
        return None
    return manifest.model_copy(
        update={
            "summary": registry.get_backend_spec(manifest.backend).summary,
            "capabilities": facts["capabilities"],
            "settings": facts["config_schema"],
            "portability": facts["tasks"],
        }
    )


def main() -> int:
    """Write what can be written here; return 1 if a backend is missing."""
    missing = []
    for path in PATHS:
        manifest = Manifest.read(path)
        if (new := declared(manifest)) is None:
            missing.append(manifest.backend)
        else:
            new.write(path)
    if missing:
        print(f"these do not load here: {', '.join(missing)}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
