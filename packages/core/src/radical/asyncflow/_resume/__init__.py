"""Results of earlier runs: the records of tasks, and the decision whether a task has to run.

The machinery knows this room only as the `Journaling` and the gate `recall` of its `Run`;
`engine` alone puts it there.  It may import the journal's file format, the task handles and
the machinery below it (`_dispatch`), and nothing above it.

- `entry`: what the journal knows of one task while its future lives.
- `distributions`: tells what is installed from what is the user's own.
- `bytecode`, `modules`, `values`, `watches`, `codes`: describe a function by all that it can
  reach, and see when that changes.
- `identity`, `bodies`, `occurrences`, `files`: make the identity of a call.
- `outside`, `words`: know what a result depends on outside of the program, such as the files
  that a command names.
- `lines`: makes the lines that the journal gets about tasks.
- `recall`: looks up the result of a call.
- `recorder`: writes the journal, and decides when a result counts.
- `opening`: opens the journal of an engine.
"""
