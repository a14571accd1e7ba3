"""Who is told of what happens in a run, and what travels along with its tasks.

Imports the task handles and the contract; the machinery calls it, and never the reverse.

- `observers`: the events of a run, handed over in batches in its loop.
- `listener`: a thread and a bounded queue for a plugin that watches.
- `carriage`: what plugins send along with tasks.
"""
