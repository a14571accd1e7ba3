"""The part that runs in the scheduler's process: it decides what runs again when a worker dies.

The program sends the plugin there.  This room imports `_messages` and `_worker`.
"""
