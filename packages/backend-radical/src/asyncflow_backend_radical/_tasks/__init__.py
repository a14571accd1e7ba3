"""The tasks that the program gave to the backend: what was submitted, what runs, how it ended.

Everything here runs in the user's program.  `tasks` has all of them, `executable` one
command, `functions` the functions and `worker_group` those that share workers.  This room
imports `errors`, `_worker`, `_host` (its messages) and `_pilot` (its plan and places).
"""
