"""What a caller holds: the task function, its call, and the future that the call returns.

Knows the machinery behind it as `owner.Owner` alone, which `_dispatch` implements.

- `decorators`, `options`, `function`: from a decorated function to a call of it.
- `call`: what all calls of one task share.  `future`: the task itself.
- `map`: ``flow.map``.  `scope`: the block or workflow that a call belongs to.
"""
