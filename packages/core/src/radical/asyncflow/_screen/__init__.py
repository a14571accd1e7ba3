"""The full-screen view of a run in a terminal: ``asyncflow watch``.

`_tables` turns the model of `_live` into rows, without a terminal; `_list` draws the visible ones
of any number of rows, and `_app` is the program.  Only these two import `textual`, an extra.
"""

from __future__ import annotations
