"""Backends in words: the tables of one, and the catalog of many as a folder of pages.

It reads what a backend says of itself: metadata, capabilities, the schema of its settings.  Where
this comes from a file that somebody else wrote, nothing of it is run, and all of it may be wrong.
"""

from __future__ import annotations
