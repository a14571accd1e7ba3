"""Put several calls into one Dask task, because Dask spends about a millisecond on each.

This runs in the user's program, in the engine's loop.  This room imports `_program`.
"""
