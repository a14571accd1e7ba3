"""The exceptions of the conformance kit where tblib, which Dask loads, pickles exceptions."""

from __future__ import annotations

import copyreg
import pickle
from collections.abc import Iterator

import pytest
from radical.asyncflow.testing._functions import LockedError, TwoPartError
from tblib import pickling_support


@pytest.fixture(autouse=True)
def tblib_pickles() -> Iterator[None]:
    """Let tblib pickle the exceptions of the kit, as it does those that are there at its import."""
    table = copyreg.dispatch_table
    before = {kind: table.get(kind) for kind in (LockedError, TwoPartError)}
    pickling_support.install(LockedError, TwoPartError)
    yield
    for kind, function in before.items():
        if function is None:
            del table[kind]
        else:
            table[kind] = function


def test_what_cannot_be_rebuilt_cannot_be_rebuilt() -> None:
    pickled = pickle.dumps(TwoPartError("this", "that"))
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        pickle.loads(pickled)


def test_what_cannot_be_pickled_cannot_be_pickled() -> None:
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(LockedError("locked in"))
