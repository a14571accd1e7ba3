"""Foreign text made safe and short."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from radical.asyncflow._text import (
    close_matches,
    closest,
    count,
    cut_middle,
    error_line,
    file_stem,
    mask_secrets,
    safe_message,
    safe_repr,
    safe_str,
    size_text,
    task_id_text,
    truncate,
)


class MuteError(Exception):
    """Raises, even what is no Exception, when it is asked for its text."""

    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__


class Text(str):
    """A text that could not travel to another process."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Callable[..., str], tuple[str]]:
        raise TypeError


def test_an_error_is_its_type_and_its_message() -> None:
    assert safe_str(ValueError("no\nnumber")) == "ValueError: no\nnumber"
    assert safe_str(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_an_error_whose_text_raises_is_named_with_what_it_raised() -> None:
    assert safe_message(MuteError()) == "(its text cannot be read: SystemExit)"
    assert safe_str(MuteError()) == "MuteError: (its text cannot be read: SystemExit)"
    assert safe_repr(MuteError()) == "MuteError (its text cannot be read: SystemExit)"
    assert error_line(MuteError()) == "MuteError: (its text cannot be read: SystemExit)"


def test_a_message_is_an_exact_str() -> None:
    class OddError(Exception):
        def __str__(self) -> str:
            return Text("odd")

    assert type(safe_message(OddError())) is str


def test_a_long_text_ends_with_dots() -> None:
    assert truncate("x" * 10, 10) == "x" * 10
    assert truncate("x" * 11, 10) == "xxxxxxx..."


@pytest.mark.parametrize("head", [0.0, 0.2, 0.5])
def test_of_a_long_text_both_ends_stay_and_the_rest_is_counted(head: float) -> None:
    text = "".join(map(chr, range(1000, 2000)))
    cut = cut_middle(text, 260, head)
    *first, note, last = cut.split("\n")
    start = "".join(first)
    assert len(cut) <= 260
    assert text.startswith(start)
    assert text.endswith(last)
    assert len(start) == int(200 * head)
    assert note == f"... {1000 - len(start) - len(last)} characters left out ..."


def test_a_text_within_the_limit_stays_as_it_is() -> None:
    assert cut_middle("x" * 260, 260) == "x" * 260


@pytest.mark.parametrize(
    ("name", "stem"),
    [("fit-2.1_b", "fit-2.1_b"), ('a/b "$c"\n', "a_b___c__"), ("ü", "_"), ("", "task")],
)
def test_the_stem_of_a_file_is_safe_in_quotes(name: str, stem: str) -> None:
    assert file_stem(name) == stem


def test_the_nearest_words_come_first() -> None:
    known = ["dask", "concurrent", "task"]
    assert close_matches("dassk", known) == ["dask", "task"]
    assert close_matches("dassk", known, most=1) == ["dask"]
    assert closest("dassk", known) == "; did you mean 'dask'?"
    assert closest("radical", known) == ""


def test_task_ids_and_counts() -> None:
    assert task_id_text(12) == "task.000012"
    assert count(1, "task") == "1 task"
    assert count(2000, "entry", "entries") == "2,000 entries"


@pytest.mark.parametrize(
    ("words", "masked"),
    [
        (["--token=S3CRET"], ["--token=***"]),
        (["--token", "S3CRET", "rest"], ["--token", "***", "rest"]),
        (["-token", "S3CRET"], ["-token", "***"]),
        (["--password", "S3 CRET"], ["--password", "***"]),
        (["--db-passwd=S3CRET=="], ["--db-passwd=***"]),
        (["--api-key=S3CRET"], ["--api-key=***"]),
        (["--apikey", "S3CRET"], ["--apikey", "***"]),
        (["KEY=S3CRET", "AWS_SECRET_ACCESS_KEY=S3CRET"], ["KEY=***", "AWS_SECRET_ACCESS_KEY=***"]),
        (["WANDB_API_KEY=S3CRET", "PGPASSWORD=S3CRET"], ["WANDB_API_KEY=***", "PGPASSWORD=***"]),
        (["--header=Authorization: Bearer S3CRET"], ["--header=Authorization: ***"]),
        (["Authorization: Bearer S3CRET"], ["Authorization:***"]),
        (["-H", "X: Bearer S3CRET"], ["-H", "X: ***"]),
        (["postgres://me:S3CRET@host/db"], ["postgres://***@host/db"]),
        (["https://S3CRET@host/me.git"], ["https://***@host/me.git"]),
        (["https://host/a?n=1&token=S3CRET&k=2"], ["https://host/a?n=1&token=***&k=2"]),
        (['{"user": "me", "password": "S3CRET"}'], ['{"user": "me", "password": "***"}']),
        (["ghp_" + "a1" * 18], ["***"]),
        (["eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx.abc"], ["***"]),
    ],
    ids=lambda words: words[0],
)
def test_what_looks_like_a_secret_on_a_command_line_is_masked(
    words: list[str], masked: list[str]
) -> None:
    assert mask_secrets(words) == masked


@pytest.mark.parametrize(
    "word",
    [
        "program.py",
        "--seed=3",
        "token.py",
        "--author=me",
        "--compass=north",
        "--monkey=1",
        "--bypass=1",
        "https://host/path?n=1",
        "me@host:/data",
        "12:30:00",
        "",
        "größe=3",
    ],
)
def test_other_words_of_a_command_line_stay(word: str) -> None:
    assert mask_secrets(["program.py", word, "next"]) == ["program.py", word, "next"]


def test_an_option_that_follows_a_flag_is_no_secret() -> None:
    assert mask_secrets(["--auth", "--seed", "3"]) == ["--auth", "--seed", "3"]


@pytest.mark.parametrize("word", ["a" * 300_000, "token" * 60_000, "--" + "key-" * 80_000])
def test_a_long_word_is_looked_at_in_no_time_to_speak_of(word: str) -> None:
    assert mask_secrets([word]) == [word]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 KB"),
        (1_536_000, "1.54 MB"),
        (209_700_000, "210 MB"),
        (4 * 10**9, "4 GB"),
        (25.2 * 10**12, "25.2 TB"),
        (3 * 10**15, "3000 TB"),
    ],
)
def test_sizes_are_words(size: float, text: str) -> None:
    assert size_text(size) == text
