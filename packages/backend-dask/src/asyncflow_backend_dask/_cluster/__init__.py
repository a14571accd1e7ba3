"""Where the scheduler comes from: given by the user, or started by the backend.

`lease` and `host_process` run in the program; `host` is the main module of a process of
its own, in which the scheduler of a local cluster lives.  This room imports the settings
and `_worker`.
"""
