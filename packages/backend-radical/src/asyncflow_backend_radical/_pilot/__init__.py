"""The pilot: how large it is, where its files go, and which one follows a lost one.

Everything here runs in the user's program.  `catalogue` reads RADICAL-Pilot's
configurations, `plan` turns settings into a pilot, `places` chooses folders, `series`
submits the pilots one after the other.  This room imports `config`, `errors` and `_host`.
"""
