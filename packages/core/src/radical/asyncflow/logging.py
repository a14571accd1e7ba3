"""A module of the public AsyncFlow; use Python's own `logging`."""

from __future__ import annotations

import logging
from pathlib import Path

from .deprecation import deprecated
from .errors import ConfigurationError

__all__: list[str] = []  # not in the reference

FORMAT = "%(asctime)s %(levelname)-8s %(name)s: %(message)s"


@deprecated(since="1.0", removal="2.0", instead="use logging.basicConfig() of Python")
def init_default_logger(
    log_level: int | str = logging.INFO,
    *,
    output_file: str | Path | None = None,
    file_log_level: int | str | None = None,
    clear_handlers: bool = False,
    logger_name: str | None = None,
    structured_logging: bool = False,
    use_colors: bool = True,  # noqa: ARG001 - the next three change only how it looks
    show_details: bool = False,  # noqa: ARG001
    style: str = "modern",  # noqa: ARG001
) -> logging.Logger:
    """Have log records of *log_level* and above printed, and return the logger.

    Args:
        log_level: the lowest level that is printed to standard error.
        output_file: a file that gets the records, too.
        file_log_level: the lowest level for that file; by default *log_level*.
        clear_handlers: remove what handled the records before.
        logger_name: the logger; by default the one above all others.
        structured_logging: must be False.
        use_colors, show_details, style: change nothing.

    Raises:
        ConfigurationError: *structured_logging* is true.
    """
    if structured_logging:
        raise ConfigurationError(
            "structured_logging: add a handler of your own to "
            "logging.getLogger('radical.asyncflow'), or give the engine a journal, which "
            "`asyncflow runs show --json` reads"
        )
    logger = logging.getLogger(logger_name)
    if clear_handlers:
        logger.handlers.clear()
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    handlers[0].setLevel(log_level)
    if output_file is not None:
        path = Path(output_file)
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(path))
        handlers[1].setLevel(log_level if file_log_level is None else file_log_level)
    for handler in handlers:
        handler.setFormatter(logging.Formatter(FORMAT))
        logger.addHandler(handler)
    logger.setLevel(min(handler.level for handler in handlers))
    return logger
