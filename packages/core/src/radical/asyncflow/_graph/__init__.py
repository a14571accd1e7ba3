"""The live graph as pure data: it knows no event loop, thread, clock or file.

This room imports only `model`, `errors` and leaves, so that tests can drive it with plain nodes.

- `arguments`: the walk through a call's arguments, to find futures and to replace them.
- `scheduler`: decides which task may run, and what the end of one means for the others.
- `plan`, `plan_recorder`: the graph as users see it, and its recording.
"""
