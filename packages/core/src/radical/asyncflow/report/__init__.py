"""What a run's record tells, as a page, a table, a trace, or an answer.

Everything here reads a `RunRecord` and writes text; nothing reads a journal or a clock.
"""

from __future__ import annotations

from ._csv import render_csv
from ._facts import BackendFacts, Facts, Failure, FunctionFacts
from ._lanes import busy_seconds
from ._page import render_html
from ._reuse import Reuse, Verdict
from ._trace import render_trace

__all__ = [
    "BackendFacts",
    "Facts",
    "Failure",
    "FunctionFacts",
    "Reuse",
    "Verdict",
    "busy_seconds",
    "render_csv",
    "render_html",
    "render_trace",
]
