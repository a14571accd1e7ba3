"""Ours beside plain references, interleaved in one run: ``python -m benchmarks --help``."""
