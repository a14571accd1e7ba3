"""The messages between the program, the scheduler and the workers.

All three processes import this room, so it belongs to none of them.  It imports nothing
of this package.
"""
