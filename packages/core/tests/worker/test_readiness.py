"""The signs that a service is up, where its output or its address are out of the ordinary."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from radical.asyncflow.model import Readiness
from radical.asyncflow.worker import OutputSearch, find_info

MIB = 1 << 20


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "stdout"


def given_up_after(looks: int) -> object:
    """Return what tells the search, at the call with this number, to give up."""
    calls = itertools.count(1)
    return lambda _: next(calls) >= looks


def find(output: Path, readiness: Readiness, looks: int = 3) -> str | None:
    return find_info(readiness, {"stdout": output}, given_up_after(looks))  # type: ignore[arg-type]


def test_what_a_service_wrote_before_the_look_is_searched_without_a_pause(output: Path) -> None:
    output.write_bytes(b"x\n" * (5 * MIB // 2) + b"port 7\n")
    pauses: list[float] = []
    readiness = Readiness(info_pattern=r"stdout:port (\d+)")
    assert find_info(readiness, {"stdout": output}, lambda pause: pauses.append(pause)) == "7"  # type: ignore[func-returns-value, arg-type]
    assert set(pauses) == {0.0}


def test_a_service_that_is_stopped_while_much_is_searched_is_searched_no_further(
    output: Path,
) -> None:
    output.write_bytes(b"x\n" * (5 * MIB // 2) + b"port 7\n")
    assert find(output, Readiness(info_pattern=r"stdout:port (\d+)"), looks=1) is None


def test_of_a_line_without_an_end_only_the_last_part_is_kept(output: Path) -> None:
    search = OutputSearch(re.compile("y+$"))
    with output.open("wb") as stream:
        for _ in range(4):
            stream.write(b"x" * MIB)
            stream.flush()
            assert search.search(output) is None
        stream.write(b"yy\n")
    assert search.search(output) == "yy"
    assert len(search._unfinished_line) <= MIB


@pytest.mark.parametrize("written", ["file:///etc/passwd", "data:,x", "ftp://127.0.0.1:9/", "?"])
def test_an_address_of_another_kind_than_http_does_not_answer(output: Path, written: str) -> None:
    output.write_text(f"at {written}\n")
    readiness = Readiness(info_pattern=r"stdout:at (\S+)", ready_url="{info}")
    assert find(output, readiness) is None


@pytest.mark.parametrize(
    ("signs", "words"),
    [
        ({}, "it runs"),
        ({"info_pattern": r"stderr:up (\d+)"}, r"a line of its stderr matches 'up (\\d+)'"),
        (
            {"ready_url": "http://here/x", "ready_port": 80},
            "http://here/x answers with a status below 400 and port 80 takes connections",
        ),
    ],
)
def test_signs_are_told_in_words(signs: dict[str, object], words: str) -> None:
    assert Readiness(**signs).describe() == words  # type: ignore[arg-type]
