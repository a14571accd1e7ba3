"""A run on the terminal: one live table, or plain lines where there is no terminal.

`choice` says which of them, `census` has the counts that an engine keeps for them, `tally` sums
these up by name, `feed` brings them and the rare events of an engine, `board` and `table` draw
the counts, `region` keeps them below what the program prints, `lines` writes them into a log, and
`closing` says how it ended and what to do next.  `watched` says what all of them need of an
engine.  The room imports only what stands above it: the leaves, the values of `model`, the
events.  So the engine imports it, and it never imports the engine.
"""
