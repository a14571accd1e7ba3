"""Which calls share a Dask task, because Dask spends about a millisecond on each.

Runs in the user's program, in the engine's loop.  This room imports `_program`.
"""
