from __future__ import annotations

import pydoc
import subprocess
import sys

import pytest
from radical.asyncflow import worker


@pytest.mark.parametrize("name", worker.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(worker, name) is not None


def test_help_shows_what_is_imported_on_first_use() -> None:
    text = pydoc.plain(pydoc.render_doc(worker))
    assert "class Execution" in text
    assert "child_environment()" in text


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        worker.nothing  # noqa: B018


def test_what_is_not_used_is_not_imported() -> None:
    code = (
        "import sys; from radical.asyncflow.worker import cancelled; "
        "print([name for name in sys.modules if name.startswith('radical.asyncflow.worker.')])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "['radical.asyncflow.worker._context']\n"
