"""Events: what workers, scheduler and program tell each other about calls.

Each run has a topic, which is an event stream of the scheduler.  A message on it is one of

- ``{"worker": address, "events": {key: [event, ...]}, "clock": reading}``: from a worker, about
  the calls in the Dask tasks with these keys, with what `read_clock` returned there when the
  message was sent;
- ``{WORKER_DIED: address, "expected": bool, "charged": [(task id, attempt, deaths, final),
  ...], "keys": [key, ...], "reason": reason, "signal": number or None, "evidence": text}``:
  from the scheduler's plugin, about a worker that is gone, and why;
- ``{KILL: [(task id, attempt), ...], "worker": address}``: from the program, which wants the
  worker restarted and these calls not run again;
- ``{GIVE_BACK: {key: [(task id, attempt), ...]}}``: from the program, which wants these calls
  back if the Dask task with that key has not begun.
"""

from __future__ import annotations

__all__ = [
    "CANCELLED",
    "DONE_INLINE",
    "DONE_REMOTE",
    "FAILED",
    "FINAL_KINDS",
    "GIVEN_BACK",
    "GIVE_BACK",
    "KILL",
    "LOG",
    "RUNNING",
    "SERVING",
    "SKIPPED",
    "TRACE",
    "UNSENDABLE",
    "WORKER_DIED",
]

RUNNING, DONE_INLINE, DONE_REMOTE, FAILED, UNSENDABLE, SKIPPED, CANCELLED, GIVEN_BACK = range(8)
SERVING, LOG, TRACE = range(8, 11)
"""The kinds of events.

An event is ``(kind, task id, attempt, seconds, data, moment)``: the moment is that of the
worker's clock at which the call began, for RUNNING, or ended; the seconds are for how long it ran.
The data:

- DONE_INLINE: the pickled value; DONE_REMOTE: None, because the value stays on its worker;
- FAILED: the fields of a `Failure`; UNSENDABLE: the arguments of a `SerializationError`;
- SKIPPED: the ids of the dependencies that failed;
- GIVEN_BACK: None.  The call has not begun, and will not begin in this Dask task.  It was
  packed with another call that takes long, or that waits for more;
- SERVING: the fields of a `Serving`, about a service that has begun or is up;
- LOG: a pickled log record of the call;
- TRACE: the fields of a `TaskUsage`, or None, and a pickled `TaskTrace`, or None.
"""

FINAL_KINDS = frozenset({DONE_INLINE, DONE_REMOTE, FAILED, UNSENDABLE, SKIPPED, CANCELLED})

WORKER_DIED = "worker-died"
KILL = "kill"
GIVE_BACK = "give-back"
