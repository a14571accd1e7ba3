"""A run on the terminal: one live table, however many engines it shows.

`tally` counts tasks by name and state, `progress` draws the counts, and `watched` says what
both need of an engine.  The room imports only what stands above it: the leaves, the values
of `model`, the events.  So the engine imports it, and it never imports the engine.
"""
