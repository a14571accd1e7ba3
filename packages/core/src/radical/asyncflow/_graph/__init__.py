"""The live graph, as pure data: no event loop, thread, clock or file.

Imports `model`, `errors` and `_text` only, so that tests drive it with plain nodes.

- `arguments`: the one walk through a call's arguments, to find futures and to replace them.
- `scheduler`: which task may run, and what the end of one means for the others.
- `plan`, `plan_recorder`: the graph as users see it, and how it is recorded.
"""
