"""The process that holds RADICAL-Pilot, and the program's end of the connection to it.

RADICAL-Pilot starts threads, takes over signals and may end the process that imports it,
so it gets a process of its own.  `main` and `session` run in that process, `program_end`
and `logs` in the program, `messages` and `processes` in both.  This room imports the
standard library, `radical.asyncflow.worker` and, in `session`, RADICAL-Pilot; nothing else
of this package.
"""
