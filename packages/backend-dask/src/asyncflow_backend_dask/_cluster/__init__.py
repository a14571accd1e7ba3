"""The scheduler's cluster, which the user gives or the backend starts.

`lease` and `host_process` run in the program; `host` is the main module of a process of
its own, in which the scheduler of a local cluster lives.  This room imports the settings,
`_messages` and `_worker`.
"""
