"""Code that runs on the nodes of a pilot: a worker, which runs functions.

A worker is started from a search path alone, once for each core, so this room imports as
little as possible: the standard library, cloudpickle and `radical.asyncflow.worker`.  Of
this package it imports nothing; the program imports `exchange` from here, because both
sides use its folders.
"""
