"""The part that runs in the user's program: the jobs, and the connection to the scheduler.

Everything here is called in the engine's loop.  This room imports the capabilities and
`_messages`; of `_worker` and `_scheduler` it imports only functions that run there.
"""
