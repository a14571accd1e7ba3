"""Async functions in one event loop, which a thread of its own runs, many at once.

This room imports of the core the contract, ``worker`` and ``model``, and none of the other
rooms.
"""
