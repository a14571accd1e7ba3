"""A level as a badge: an SVG image of its own, and Markdown that shows it."""

from __future__ import annotations

import html
import re

from .._text import shorten

__all__ = ["badge_markdown", "badge_svg"]

_LABEL = "AsyncFlow"
_COLOURS = {"bronze": "#8a4f1d", "silver": "#5b6670", "gold": "#7d5f00", None: "#9c2f2f"}
"""Dark enough for white text (WCAG AA)."""

_HEIGHT, _SIZE, _PADDING = 20, 11, 6
_NARROW, _WIDE, _OTHER = 4.0, 9.5, 6.9
"""Widths of letters in pixels; `textLength` fits each text into the width that they give."""

_LONGEST = 60


def badge_svg(backend: str, level: str | None) -> str:
    """Return the badge of *backend* as an SVG image; *level* None says that it reached none."""
    left, right = _texts(backend, level)
    first, second = _width(left), _width(right)
    name = html.escape(f"{left}: {right}")
    half = _PADDING + first / 2, first + 3 * _PADDING + second / 2
    edge = first + 2 * _PADDING
    whole = edge + second + 2 * _PADDING
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole:g}" height="{_HEIGHT}" '
        f'viewBox="0 0 {whole:g} {_HEIGHT}" role="img" aria-label="{name}">\n'
        f"<title>{name}</title>\n"
        f'<rect width="{edge:g}" height="{_HEIGHT}" fill="#333"/>\n'
        f'<rect x="{edge:g}" width="{whole - edge:g}" height="{_HEIGHT}" '
        f'fill="{_COLOURS[level]}"/>\n'
        f'<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="{_SIZE}" '
        'text-anchor="middle">\n'
        f"{_text(left, half[0], first)}\n{_text(right, half[1], second)}\n</g>\n</svg>\n"
    )


def badge_markdown(backend: str, level: str | None, image: str) -> str:
    """Return Markdown that shows the file *image*, and says the same in words."""
    words = re.sub(r"([\\`*_\[\]<>!&])", r"\\\1", ": ".join(_texts(backend, level)))
    place = image.replace("\\", "/").replace("<", "%3C").replace(">", "%3E").replace("\n", "%0A")
    return f"![{words}](<{place}>)\n"


def _texts(backend: str, level: str | None) -> tuple[str, str]:
    return _LABEL, f"{shorten(backend, _LONGEST)} {level or 'no level'}"


def _text(text: str, middle: float, width: float) -> str:
    return (
        f'<text x="{middle:g}" y="14" textLength="{width:g}" lengthAdjust="spacingAndGlyphs">'
        f"{html.escape(text)}</text>"
    )


def _width(text: str) -> float:
    wide = sum(letter in "mwMW" or ord(letter) > 0x2E80 for letter in text)
    narrow = sum(letter in "ijlIft.,:;'|!()[] " for letter in text)
    return round(wide * _WIDE + narrow * _NARROW + (len(text) - wide - narrow) * _OTHER, 1)
