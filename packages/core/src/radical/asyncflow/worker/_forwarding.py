"""Log records of a worker on their way into the logging of the program.

The worker gets the levels that the program's loggers have.  It sends a record as it is, and the
program hands it to the logger of that name, with the level, the format and the handlers of the
program.
"""

from __future__ import annotations

import functools
import logging
import os
import pickle
from collections.abc import Callable
from typing import Any

from .._public import public

__all__ = ["LogSetup", "forward_logs", "log_setup", "take_log"]


LogSetup = tuple[dict[str, int], bool]
"""The levels of loggers by name, "" for the root, and whether the root has a handler."""


@public("radical.asyncflow.worker")
def log_setup() -> LogSetup:
    """Return how `logging` is set up in this program, for `forward_logs` in its workers."""
    known = {"": logging.root.level}
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and logger.level:
            known[name] = logger.level
    return known, bool(logging.root.handlers)


@public("radical.asyncflow.worker")
def forward_logs(setup: LogSetup, send: Callable[[bytes], object] | None) -> None:
    """Send the log records of this process to the program, which has `take_log` for them.

    Its loggers get the levels of the program's.  What a handler of this process takes stays here.

    Args:
        setup: what `log_setup` returned in the program.
        send: called by any thread with a pickled record.  If it returns False, the record
            belongs to no task of the program, and stays here.  None if records are sent
            already, and only the levels are new.
    """
    levels, has_handler = setup
    for name, level in levels.items():
        logging.getLogger(name or None).setLevel(level)
    if send is None:
        return
    logging.lastResort = _Forwarder(send)
    if has_handler:
        _ignore_implicit_set_up()


def _ignore_implicit_set_up() -> None:
    """Let ``logging.warning(...)`` add no handler here, as it adds none in the program."""
    set_up = logging.basicConfig

    @functools.wraps(set_up)
    def basic_config(**settings: Any) -> None:
        if settings:
            set_up(**settings)

    logging.basicConfig = basic_config


class _Forwarder(logging.Handler):
    """A last resort that sends records to the program.

    It is no handler of the root logger, so that a task may still call `logging.basicConfig`.
    """

    def __init__(self, send: Callable[[bytes], object]) -> None:
        super().__init__()
        self._send = send
        self._pid = os.getpid()
        self._before = logging.lastResort

    def emit(self, record: logging.LogRecord) -> None:
        # A process that a task forked has no way to the program.
        if os.getpid() == self._pid:
            try:
                if self._send(_packed(record)) is not False:
                    return
            except Exception:
                self.handleError(record)
                return
        if self._before is not None and record.levelno >= self._before.level:
            self._before.handle(record)


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


@public("radical.asyncflow.worker")
def take_log(fields: dict[str, Any]) -> None:
    """Hand a record that a worker sent, unpickled, to the program's logger of that name."""
    record = logging.makeLogRecord(fields)
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)
