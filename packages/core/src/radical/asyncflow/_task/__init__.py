"""The objects that a caller holds: task functions, and the futures that their calls return.

This room knows the machinery behind it only as `owner.Owner`, which `_dispatch` implements.

- `decorators`, `options`, `function`: the way from a decorated function to a call of it.
- `call`: the properties that all calls of one task share.
- `future`: the task itself.
- `map`: ``flow.map``.
- `scope`: the block or workflow that a call belongs to.
"""
