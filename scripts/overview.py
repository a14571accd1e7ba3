"""Draw what AsyncFlow is in one picture, while Sphinx builds the pages.

The comment ``<!-- overview -->`` in a page is replaced by three panels: a program, the graph of its
calls, and where these run.  The panels stand side by side, or one below the other on a narrow
screen.  The colours are those of the theme, light or dark.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["setup"]

MARK = "<!-- overview -->"
LABEL = (
    "A program whose functions and commands are tasks; the graph of its calls, of which some are "
    "done, some run and one waits; and the places where they can run: this computer, a Dask "
    "cluster, a supercomputer, a server for language models"
)
SIZE = (250, 250)  # of a panel
GAP = 34  # between two panels

TEXT = "var(--color-foreground-primary)"
MUTED = "var(--color-foreground-secondary)"
EDGE = "var(--color-background-border)"
PAPER = "var(--color-background-secondary)"
BRAND = "var(--color-brand-primary)"
RUNNING = "#e69f00"

PROGRAM = """\
@flow.function_task
def dock(ligand): ...

@flow.executable_task
def simulate(score): ...

scores = map(dock, ligands)
runs = map(simulate, scores)
best = await rank(list(runs))"""

PLACES = (
    ("this computer", "threads and processes"),
    ("a Dask cluster", "local, or one that is there"),
    ("a supercomputer", "Slurm, PBS and others"),
    ("a model server", "prompts to language models"),
)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect this extension to Sphinx, which calls this."""
    app.connect("source-read", replace)
    return {"parallel_read_safe": True}


def replace(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Replace the mark in a page by the picture."""
    if MARK in source[0]:
        html = f'<div class="overview">{_svg("wide")}{_svg("tall")}</div>'
        source[0] = source[0].replace(MARK, html)


def _svg(layout: str) -> str:
    width, height = SIZE
    wide = layout == "wide"
    step = (width + GAP, 0) if wide else (0, height + GAP)
    panels = (_program(), _graph(), _places())
    parts = [
        f'<g transform="translate({step[0] * place} {step[1] * place})">{panel}</g>'
        for place, panel in enumerate(panels)
    ]
    for place in (1, 2):
        x = step[0] * place - GAP / 2 if wide else width / 2
        y = height / 2 if wide else step[1] * place - GAP / 2
        turn = "" if wide else f' transform="rotate(90 {x} {y})"'
        parts.append(
            f'<path d="M{x - 11} {y}h20m-7-6l7 6l-7 6" fill="none" stroke="{BRAND}" '
            f'stroke-width="2.5"{turn}/>'
        )
    box = (3 * width + 2 * GAP, height) if wide else (width, 3 * height + 2 * GAP)
    return (
        f'<svg class="{layout}" viewBox="0 0 {box[0]} {box[1]}" role="img" '
        f'aria-label="{escape(LABEL)}" font-family="var(--font-stack)">{"".join(parts)}</svg>'
    )


def _panel(title: str, inside: str) -> str:
    width, height = SIZE
    frame = f'<rect x="1" y="1" width="{width - 2}" height="{height - 2}" rx="10" '
    return f'{frame}fill="{PAPER}" stroke="{EDGE}"/>{_text(18, 30, title, TEXT, 15, 600)}{inside}'


def _text(x: float, y: float, text: str, colour: str, size: float, weight: int = 400) -> str:
    return (
        f'<text x="{x}" y="{y}" fill="{colour}" font-size="{size}" font-weight="{weight}" '
        f'xml:space="preserve">{escape(text)}</text>'
    )


def _program() -> str:
    lines = [
        _text(18, 58 + 20 * place, line, BRAND if line.startswith("@") else TEXT, 12.5)
        for place, line in enumerate(PROGRAM.splitlines())
    ]
    code = f'<g font-family="var(--font-stack--monospace)">{"".join(lines)}</g>'
    return _panel("You write plain Python", code)


def _graph() -> str:
    rows = [66, 102, 138, 174]
    columns, last = (48, 120), (200, 120)
    states = [(BRAND, BRAND), (BRAND, BRAND), (BRAND, RUNNING), (BRAND, RUNNING)]
    edges, nodes = [], []
    for y, colours in zip(rows, states, strict=True):
        edges += [_edge(columns[0], y, columns[1], y), _edge(columns[1], y, *last)]
        nodes += [_node(x, y, colour) for x, colour in zip(columns, colours, strict=True)]
    nodes.append(_node(*last, None))
    legend = []
    for x, colour, word in ((18, BRAND, "done"), (84, RUNNING, "running"), (168, None, "waiting")):
        legend.append(_node(x + 6, 222, colour, 6) + _text(x + 17, 226.5, word, MUTED, 13))
    return _panel("Its calls make a graph", "".join([*edges, *nodes, *legend]))


def _edge(x1: float, y1: float, x2: float, y2: float) -> str:
    middle = (x1 + x2) / 2
    path = f"M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}"
    return f'<path d="{path}" fill="none" stroke="{MUTED}" stroke-width="1.5"/>'


def _node(x: float, y: float, colour: str | None, radius: float = 12) -> str:
    fill, line = (colour, colour) if colour else (PAPER, MUTED)
    return (
        f'<circle cx="{x}" cy="{y}" r="{radius}" fill="{fill}" stroke="{line}" stroke-width="2"/>'
    )


def _places() -> str:
    parts = []
    for place, (name, more) in enumerate(PLACES):
        y = 46 + 49 * place
        colour = EDGE if place else BRAND
        parts.append(
            f'<rect x="18" y="{y}" width="214" height="42" rx="7" '
            f'fill="var(--color-background-primary)" stroke="{colour}" stroke-width="1.5"/>'
            + _text(30, y + 18, name, TEXT, 13.5, 600)
            + _text(30, y + 34, more, MUTED, 12)
        )
    return _panel("It runs where you choose", "".join(parts))
