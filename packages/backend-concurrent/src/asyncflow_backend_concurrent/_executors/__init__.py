"""Functions on a `concurrent.futures.Executor` that the user gives.

This room imports `_process`, for the pickles that an executor's workers get, and of the
core the contract, ``worker`` and ``errors``; it does not import `_slots`.
"""
