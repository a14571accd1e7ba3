"""The observers of a run, and what plugins send along with its tasks.

This room imports the task handles and the contract.  The machinery calls it, and it never
calls the machinery.

- `observers`: hands over the events of a run, in batches, in the loop of the run.
- `listener`: a thread and a bounded queue for a plugin that observes runs.
- `carriage`: adds to tasks what plugins send along.
"""
