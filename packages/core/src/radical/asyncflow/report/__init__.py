"""The record of a run as a page, a table, a trace, or figures to compute with.

Everything here takes a `RunRecord` and returns text or values; nothing reads a file or a
clock.  The room imports only the leaves of the core and the records of `journal`.
"""

from __future__ import annotations

from ._csv import render_csv
from ._facts import BackendFacts, Facts, Failure, FunctionFacts
from ._lanes import busy_seconds, waited_seconds
from ._page import render_html
from ._reuse import Explanation, Reuse
from ._sections import MadeSection, Section, make_sections
from ._trace import render_trace
from ._waiting import waiting_in

__all__ = [
    "BackendFacts",
    "Explanation",
    "Facts",
    "Failure",
    "FunctionFacts",
    "MadeSection",
    "Reuse",
    "Section",
    "busy_seconds",
    "make_sections",
    "render_csv",
    "render_html",
    "render_trace",
    "waited_seconds",
    "waiting_in",
]
