"""Open each page of the built documentation on a screen and on a phone, and find what is cut off.

``python scripts/check_pages.py site`` names code that is wider than its place, pages that must be
pushed sideways, pictures that are not there, and private names in the reference.  It needs a
Chromium; without one it says so, and in CI that is an error.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests/support"))

from browser import Page, browse, find_browser

__all__ = ["faults", "main"]

WIDTHS = (1280, 390)
"""Those of a small screen and of a phone, in dots."""

FAULTS = r"""
(async () => {
    const found = [];
    if (document.documentElement.scrollWidth > innerWidth + 1)
        found.push(`the page is ${document.documentElement.scrollWidth} wide`);
    for (const code of document.querySelectorAll('pre, dt.sig, .content, .overview, .sd-card'))
        if (code.scrollWidth > code.clientWidth + 1)
            found.push(`cut off: ${code.innerText.trim().slice(0, 60)}`);
    for (const head of document.querySelectorAll('dt.sig'))
        if (/(?<![\w.'"])[~_][A-Za-z]|\._[A-Za-z]|<class|<factory>/.test(head.innerText))
            found.push(`not public: ${head.innerText.trim().slice(0, 60)}`);
    for (const picture of document.querySelectorAll('article img')) {
        picture.loading = 'eager';
        if (picture.checkVisibility())
            await picture.decode().catch(() =>
                found.push(`no picture: ${picture.getAttribute('src')}`));
    }
    return found;
})()
"""


def faults(page: Page, path: Path, width: int) -> list[str]:
    """Return what is wrong with the file in a window of this width."""
    page.resize(width, 900)
    page.send("Page.navigate", url=path.as_uri())
    page.until(f"document.readyState === 'complete' && location.href === '{path.as_uri()}'")
    page.run("document.fonts.ready.then(() => true)")
    return [f"{path.name} at {width}: {each}" for each in page.run(FAULTS)]


def main(site: Path) -> int:
    """Print the faults of all pages below *site*; return the exit code."""
    browser = find_browser()
    if browser is None:
        print("there is no Chromium on the PATH, so nobody looked at the pages", file=sys.stderr)
        return 1 if os.environ.get("CI") else 0
    paths = sorted(
        path for path in site.resolve().rglob("*.html") if not path.parent.name.startswith("_")
    )
    with browse(browser) as page:
        found = [line for path in paths for width in WIDTHS for line in faults(page, path, width)]
    print(*found, sep="\n")
    print(f"{len(paths)} pages at {len(WIDTHS)} widths, {len(found)} faults")
    return 1 if found or not paths else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
