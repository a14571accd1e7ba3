"""A backend that runs in a process of its own: `OutOfProcessBackend`, and what it is made of.

`backend` is the class, and `outside` its process with the tasks there, as the program sees it.
`guest` runs in that process, around the plugin's class, with `guest_sink` in the place of the
engine.  `requests` and `reports` are what travels, and `marks` is memory that both see, from which
the program learns what had begun when the process died.
"""
