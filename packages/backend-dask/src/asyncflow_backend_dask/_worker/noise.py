"""What Dask logs when an own cluster ends, which nobody needs to hear."""

from __future__ import annotations

import logging

__all__ = ["be_quiet_at_the_end"]


class _Broken(logging.Filter):
    """Drops what is said of connections that broke."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], OSError))


def be_quiet_at_the_end() -> None:
    """In a worker process of an own cluster: its scheduler goes only when all of it goes."""
    for handler in logging.getLogger("distributed").handlers:
        handler.addFilter(_Broken())
