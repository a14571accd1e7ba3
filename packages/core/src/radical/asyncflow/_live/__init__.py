"""A run while it runs: a model of it that grows, and what fills and shows that model.

`LiveRun` is the model.  `Follower` fills it from the lines of a journal that another process
writes, `EventFeed` from the events of an engine in this process.  The room imports records,
events and the report; the engine and the command line import it, and it imports neither.
"""

from __future__ import annotations

from ._events import EventFeed
from ._follower import Follower
from ._run import BackendState, FunctionState, LiveFailure, LiveRun

__all__ = ["BackendState", "EventFeed", "Follower", "FunctionState", "LiveFailure", "LiveRun"]
