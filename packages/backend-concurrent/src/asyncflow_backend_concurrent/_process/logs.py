"""Log records of a worker on their way into the logging of the program.

The worker gets the levels that the program's loggers have when it starts.  It sends a record
that none of its own handlers takes, as it is, and the program hands it to the logger of that
name, with the level, the format and the handlers of the program.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Forwarder", "handle", "levels", "set_levels"]


def levels() -> dict[str, int]:
    """Return the levels of the program's loggers that have one of their own; "" is the root."""
    known = {"": logging.root.level}
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and logger.level:
            known[name] = logger.level
    return known


def set_levels(known: Mapping[str, int]) -> None:
    """Give the loggers of this process the levels that `levels` returned elsewhere."""
    for name, level in known.items():
        logging.getLogger(name or None).setLevel(level)


class Forwarder(logging.Handler):
    """The last resort of a worker's loggers: sends what no other handler takes.

    It is no handler of the root logger, so that a task may still call `logging.basicConfig`.
    """

    def __init__(self, send: Callable[[bytes], object]) -> None:
        super().__init__()
        self._send = send
        self._pid = os.getpid()
        self._before = logging.lastResort

    def emit(self, record: logging.LogRecord) -> None:
        if os.getpid() != self._pid:  # a process that a task forked has no way to the program
            if self._before is not None and record.levelno >= self._before.level:
                self._before.handle(record)
            return
        try:
            self._send(_packed(record))
        except Exception:
            self.handleError(record)


def _packed(record: logging.LogRecord) -> bytes:
    fields = dict(vars(record))
    # As `logging.handlers.QueueHandler` does it: what may not be pickled becomes text.
    fields["msg"] = record.getMessage()
    fields["args"] = None
    if record.exc_info:
        fields["exc_text"] = record.exc_text or logging.Formatter().formatException(record.exc_info)
        fields["exc_info"] = None
    try:
        return pickle.dumps(fields, 5)
    except Exception:  # of something that the caller gave as `extra`
        known = vars(logging.makeLogRecord({}))
        return pickle.dumps({key: value for key, value in fields.items() if key in known}, 5)


def handle(fields: dict[str, Any]) -> None:
    """Hand a record that a worker sent to the program's logger of that name."""
    record = logging.makeLogRecord(fields)
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)
