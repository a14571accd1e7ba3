"""What the program, the scheduler and the workers send to each other.

All three processes import this room, so it belongs to none of them.  It imports nothing
of this package.
"""
