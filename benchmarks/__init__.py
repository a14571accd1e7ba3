"""Measure AsyncFlow beside plain references, in turn: see ``python -m benchmarks --help``."""
