"""Functions on a `concurrent.futures.Executor` that the user gives.

This room imports of the core the contract, ``worker`` and ``errors``, and none of the other
rooms.
"""
