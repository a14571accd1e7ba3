"""The way from any thread into the loop of an engine, and back.

`calls` takes calls into the loop, `futures` holds their results for threads, `executor` makes
of both a `concurrent.futures.Executor`, and `joblib` a backend of that library.  The room
imports only what stands above it: the leaves and what a caller of tasks holds.
"""
