"""The check of an installed backend, without a test file: what ``asyncflow backends check`` does.

`package` looks at the distribution and at the import of the plugin.  `child` runs the conformance
kit in a process of its own, where `probe` measures what the kit has to know, `suite` is the test
class, `outcomes` writes down how each check ends, and `benchmarks` what a task costs.  `run` starts
all that, and makes one report of it.
"""
