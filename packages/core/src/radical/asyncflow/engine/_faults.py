"""A last word of a program that ends by a fault, such as a segmentation fault of a task."""

from __future__ import annotations

import faulthandler
import os
import sys

__all__ = ["FAULTHANDLER", "report_faults"]

FAULTHANDLER = "ASYNCFLOW_FAULTHANDLER"
"""The variable that keeps `report_faults` from doing anything, if it is ``0``."""


def report_faults() -> None:
    """Have Python write where each thread was, if a fault ends this program.

    A function on threads may call code in C that ends the whole program, which otherwise
    says nothing.  It stays as it is where the program or its user has decided.
    """
    if faulthandler.is_enabled() or os.environ.get(FAULTHANDLER) == "0":
        return
    try:
        faulthandler.enable()
    except (AttributeError, OSError, RuntimeError, ValueError):
        # There is no standard error, or it is no file, as in a notebook.
        if sys.__stderr__ is not None:
            try:
                faulthandler.enable(sys.__stderr__)
            except (AttributeError, OSError, RuntimeError, ValueError):
                return
