"""The name of a new backend or plugin, in all the forms in which its files have it."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import ConfigurationError

__all__ = ["PLACEHOLDER", "Name"]

_LONGEST = 24  # with a longer one, lines of the new files would have to be broken elsewhere
_WORDS = re.compile(r"[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*")
_TAKEN = frozenset({"asyncflow", "radical", "test", "tests"})


class Name(NamedTuple):
    """The forms of one name.

    Attributes:
        plain: the backend or plugin: ``my_cluster``.
        distribution: what pip installs: ``asyncflow-my-cluster``.
        package: what Python imports: ``asyncflow_my_cluster``.
        title: the beginning of its classes: ``MyCluster``.
    """

    plain: str
    distribution: str
    package: str
    title: str

    @classmethod
    def of(cls, text: str) -> Name:
        """Return the forms of the name *text*.

        Raises:
            ConfigurationError: it cannot be one; the text says what would be.
        """
        if not _WORDS.fullmatch(text):
            better = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-0123456789")
            hint = f"; {better!r} would do" if _WORDS.fullmatch(better) else ""
            raise ConfigurationError(
                f"{text!r} is no name: write words of the letters a-z and of digits, which begin "
                f"with a letter, with '-' or '_' between them{hint}"
            )
        if len(text) > _LONGEST:
            raise ConfigurationError(
                f"the name {text!r} is too long: write {_LONGEST} characters at most"
            )
        if text in _TAKEN:
            raise ConfigurationError(f"the name {text!r} says nothing: name what it is for")
        words = re.split("[_-]", text)
        return cls(
            "_".join(words),
            "-".join(["asyncflow", *words]),
            "_".join(["asyncflow", *words]),
            "".join(word.capitalize() for word in words),
        )

    def put_into(self, text: str) -> str:
        """Return *text* with this name in the place of that of the templates."""
        # One pass, so that a name that holds the placeholder is not replaced again.
        return _PATTERN.sub(lambda found: self[_FORMS.index(found[0])], text)


PLACEHOLDER = Name("skeleton", "asyncflow-skeleton", "asyncflow_skeleton", "Skeleton")
"""The name that the templates have."""

_FORMS = tuple(PLACEHOLDER)
_PATTERN = re.compile("|".join(sorted(map(re.escape, _FORMS), key=len, reverse=True)))
