"""The part that runs in the scheduler's process.

It decides what runs again when a worker dies, and what idle workers get.  The program sends the
plugins there.  This room imports `_messages` and `_worker`.
"""
