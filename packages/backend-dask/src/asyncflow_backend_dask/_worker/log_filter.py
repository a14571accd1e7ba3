"""Silence for log messages about the normal end of a local cluster."""

from __future__ import annotations

import logging

__all__ = ["hide_broken_connections"]


class _NoBrokenConnections(logging.Filter):
    """Drops messages about connections that broke."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], OSError))


def hide_broken_connections() -> None:
    """Keep a worker of a local cluster from logging broken connections.

    Its scheduler disappears only when the whole cluster ends, so nobody needs to know.
    """
    for handler in logging.getLogger("distributed").handlers:
        handler.addFilter(_NoBrokenConnections())
