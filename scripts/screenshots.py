"""Put pictures of a real run into the pages, while Sphinx builds them.

The comment ``<!-- screenshot: NAME what it shows -->`` in a page is replaced by the picture of
that name.  All pictures are of one run, ``pictured_run.py``, and have the same size each time.  A
headless Chromium takes them; where there is none, a sentence stands in their place, and the build
says so.  In CI that is an error.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from sphinx.errors import ExtensionError

sys.path.append(str(Path(__file__).parents[1] / "tests/support"))

if TYPE_CHECKING:
    from browser import Page
    from sphinx.application import Sphinx

__all__ = ["setup"]

MARK = re.compile(r"<!-- screenshot: (\w+) (.*?) -->", re.DOTALL)
FOLDER = "_images/screenshots"
PROGRAM = Path(__file__).parent / "pictured_run.py"
WORKERS = 4  # of the program, which are all busy when the live page is shown
SIZES = {"live": (1200, 800), "report": (1200, 560), "graph": (780, 660)}
"""The pictures that the browser takes, each with its width and its height in its page."""
BEGINS = {"live": "body", "report": "#timeline", "graph": "#graph"}
"""What is at the top of a picture."""
FIT = "[...document.querySelectorAll('#graph button')].find(e => e.innerText == 'Fit')?.click()"
"""Shows the whole graph, as its button does."""
SHARPNESS = 2
"""Dots of the picture for each dot of the page."""
LIMIT_S = 120
NONE_FOUND = "there is no Chromium on the PATH, so the pages have no screenshots"


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect this extension to Sphinx, which calls this."""
    app.connect("source-read", replace)
    return {"parallel_read_safe": False}


def replace(app: Sphinx, page: str, source: list[str]) -> None:
    """Replace the comments in a page by pictures; the first such page has them taken."""
    if not MARK.search(source[0]):
        return
    folder = app.outdir / FOLDER
    browser = _find_browser()
    if browser is not None and not getattr(app, "_has_screenshots", False):
        folder.mkdir(parents=True, exist_ok=True)
        take(browser, Path(folder))
        app._has_screenshots = True
    up = "../" * page.count("/")
    source[0] = MARK.sub(lambda found: _html(up, found[1], found[2], browser), source[0])


@cache
def _find_browser() -> str | None:
    from browser import find_browser

    browser = find_browser()
    if browser is None:
        if os.environ.get("CI"):
            raise ExtensionError(f"{NONE_FOUND}: install the package chromium")
        print(f"{NONE_FOUND}: install the package chromium to have them", file=sys.stderr)
    return browser


def _html(up: str, name: str, text: str, browser: str | None) -> str:
    text = escape(" ".join(text.split()))
    if name == "terminal":
        image = f'<img src="{up}{FOLDER}/terminal.svg" alt="{text}" loading="lazy">'
    elif name in SIZES:
        size = 'width="{}" height="{}"'.format(*SIZES[name])
        image = "".join(
            f'<a class="only-{light}" href="{up}{FOLDER}/{name}-{light}.png">'
            f'<img src="{up}{FOLDER}/{name}-{light}.png" {size} alt="{text}" loading="lazy"></a>'
            for light in ("light", "dark")
        )
    else:
        raise ExtensionError(f"there is no screenshot {name!r}; there are terminal, {[*SIZES]}")
    if browser is None:
        return f"*Here is a picture if the pages are built where Chromium is: {text}.*"
    return f'<figure class="screenshot">{image}</figure>'


def take(browser: str, folder: Path) -> None:
    """Run the program, and put a picture of each kind into *folder*.

    Raises:
        ExtensionError: the program failed.
    """
    from browser import browse

    with TemporaryDirectory() as place, browse(browser) as page:
        home = Path(place) / "screening"
        home.mkdir()
        shutil.copy(PROGRAM, home / "screening.py")
        with subprocess.Popen(
            [sys.executable, "screening.py"],
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as run:
            assert run.stdout is not None
            address = run.stdout.readline().strip()
            if run.stdout.readline().strip() == "middle":
                for light in ("light", "dark"):
                    shoot(page, address, "live", light, folder)
            run.communicate("go\n", timeout=LIMIT_S)
        if run.returncode:
            raise ExtensionError(f"{PROGRAM} failed with exit code {run.returncode}")
        shutil.copy(home / "terminal.svg", folder)
        command = (sys.executable, "-m", "radical.asyncflow", "report", "screening.journal")
        subprocess.run([*command, "-o", "report.html"], cwd=home, check=True, capture_output=True)
        for light in ("light", "dark"):
            for name in ("report", "graph"):
                shoot(page, (home / "report.html").as_uri(), name, light, folder)


def shoot(page: Page, address: str, name: str, light: str, folder: Path) -> None:
    """Take one picture of what is at *address*, in light or dark colours."""
    width, height = SIZES[name]
    page.resize(width, 1000)
    scheme = {"name": "prefers-color-scheme", "value": light}
    page.send("Emulation.setEmulatedMedia", features=[scheme])
    page.send("Page.navigate", url=address)
    page.until("document.documentElement?.dataset.ready === 'true'")
    if name == "live":
        page.until(f"document.body.innerText.includes('{WORKERS} running')")
    page.run(FIT)
    page.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    place = f"document.querySelector('{BEGINS[name]}').getBoundingClientRect().top"
    top = page.run(f"{place} + scrollY")
    clip = {"x": 0, "y": top, "width": width, "height": height, "scale": SHARPNESS}
    answer = page.send("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
    (folder / f"{name}-{light}.png").write_bytes(base64.b64decode(answer["data"]))
