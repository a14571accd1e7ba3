"""A run while it is under way: calls and reports go in, submissions and results come out.

All of this runs in the engine's loop.  It may import the graph, the files, the contract,
the task handles (`_task`) and the observers (`_watch`).  Only the engine and the journal's
side of a run (`_resume`) import it.  Inside, each module imports only those named before it:

- `routing`: the choice of the backend of a task.
- `run`: the state of one run, which all the others share.
- `background`: the asyncio tasks in which the engine works for tasks.
- `collector`, `blocks`, `values`: the pace of the garbage collector, a watch on the bodies
  of blocks, values in place of futures.
- `outcomes`: decides what follows the end of an attempt.
- `outbox`: puts a prepared task into the next batch, or lets it wait again.
- `preparation`: does what has to happen before a task is sent.
- `chains`, `sending`, `reports`, `halt`: the hot way out, the hot way in, the end of all work.
- `dispatcher`: puts these together; it is the `Owner` of every task of its engine.
"""
