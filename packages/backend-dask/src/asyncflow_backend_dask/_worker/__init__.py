"""The part that runs in the worker processes: the body of every Dask task, and its reports.

The program and the scheduler import names from here, to refer to them: Dask pickles a
function by its module and name.  This room imports `_messages` only.
"""
