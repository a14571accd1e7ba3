"""The run while it runs: calls and reports go in, submissions and results come out.

Everything here runs in the engine's loop.  The rooms below it are the graph, the files,
the contract, what a caller holds and who watches; only the engine and the journal's side
of a run (`_resume`) stand above.  Inside, each module imports only those named before it:

- `run`: what one run consists of, shared by all that follow.
- `background`: asyncio tasks that work for tasks.
- `collector`, `blocks`, `values`: the garbage collector's pace, a watch on the bodies of
  blocks, values in place of futures.
- `outcomes`: what the end of an attempt becomes.
- `outbox`: what goes with the next batch, and what has to wait after all.
- `preparation`: what happens between "all dependencies are there" and "sent".
- `chains`, `sending`, `reports`, `halt`: the hot way out, the hot way in, the end of all.
- `dispatcher`: puts them together; the `Owner` of every task of its engine.
"""
