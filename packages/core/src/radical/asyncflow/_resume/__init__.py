"""Results of earlier runs: what is recorded of a task, and whether it has to run at all.

The machinery knows this room only as the `Journaling` and the two gates of its `Run`;
`engine` alone puts it there.  It may import the journal's file format, the task handles,
the machinery below it (`_dispatch`) and nothing that stands above.

- `entry`: what the journal knows of one task while its future lives.
- `source`, `identity`, `bodies`, `occurrences`, `files`: what a call is known by.
- `lines`: the records of tasks.
- `recall`: looks a call up.  `recorder`: writes, and decides when a result counts.
- `opening`: how an engine comes by its journal.
"""
