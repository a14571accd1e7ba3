"""A worker process: its two ends, and how tasks and values travel between them.

``child`` runs in the worker, ``parent`` beside the slot that owns it; both use ``wire``
and ``arena``.  This room imports of the core only ``worker`` and the values of the
contract, because a worker process loads it before its first task.
"""
