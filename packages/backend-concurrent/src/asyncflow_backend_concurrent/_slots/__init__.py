"""The slots of a backend: which task runs next, and on which slot.

A slot runs one task after the other: in its own thread, or in a worker process.  This
room imports `_process`, and of the core the contract, ``worker``, ``model`` and
``errors``; it knows nothing of asyncio, of settings or of given executors.
"""
