"""What runs in the user's program: the jobs, and the connection to the scheduler.

Everything here is called in the engine's loop.  This room imports `_messages`, `_worker`
and `_scheduler`, and the last two only for the names of functions that run there.
"""
