"""The capabilities of a backend in words, with what each of them means for a program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .._text import shorten

__all__ = ["ABILITIES", "Ability", "abilities_of", "limits_of"]


class Ability(NamedTuple):
    """A field of `Capabilities` in words.

    Attributes:
        field: its name.
        title: what the backend does, so that "yes", "no" or a list answers it.
        meaning: what follows for a program that uses the backend.
    """

    field: str
    title: str
    meaning: str


ABILITIES = (
    Ability("kinds", "runs", "The kinds of task that it runs; a call of another kind is refused."),
    Ability(
        "resources",
        "honours",
        "The resources that a task may ask for, and that it gets for itself; others are refused.",
    ),
    Ability(
        "kills_running",
        "stops running tasks",
        "The kinds of task whose work ends at once when the task is cancelled or its time is over. "
        "The future of any other kind ends at once too, but the work goes on until it ends itself.",
    ),
    Ability(
        "native_dependencies",
        "orders tasks itself",
        "It takes tasks before their dependencies are done, so a dependency costs no round trip "
        "through your program.",
    ),
    Ability(
        "chains",
        "runs chains of tasks",
        "A task that only waits for one other goes along with it, to the same worker.",
    ),
    Ability(
        "remote_results",
        "keeps results remote",
        "A result stays where it was made until your program needs it.",
    ),
    Ability(
        "quick",
        "takes tasks at once",
        "A task begins as soon as your program awaits something, which makes a round trip short.",
    ),
    Ability(
        "pickles",
        "pickles functions",
        "Functions, arguments and results are copied to another process, so they must be able to "
        "travel, and a change that a function makes to an argument stays there.",
    ),
    Ability(
        "isolates",
        "survives a dead worker",
        "A crash costs the task in which it happens, and no other.",
    ),
    Ability(
        "contexts",
        "passes context variables",
        "A function sees the context variables of the code that called the task.",
    ),
    Ability(
        "service",
        "runs services",
        "A command may be a service: the task is done when the command is up, and the command "
        "runs on.",
    ),
    Ability(
        "instances",
        "runs classes as services",
        "An instance of a class lives in a worker, and each call of a method is a task.",
    ),
    Ability(
        "prompts",
        "honours of prompts",
        "The parts of a prompt that it uses, beside the text.",
    ),
    Ability(
        "priorities",
        "begins tasks by priority",
        "Tasks that wait begin by their priority, and of equals the one with most before it.",
    ),
    Ability(
        "executes",
        "executes tasks",
        "If not, it is for dry runs: nothing runs, and markers stand for results.",
    ),
)
"""One for each field of `Capabilities` but its limits, in the order in which they are shown."""


def abilities_of(capabilities: Mapping[str, Any]) -> Iterator[tuple[Ability, str]]:
    """Yield the abilities that *capabilities* answers, with the answer.

    Those of a newer contract come last, under their own names.
    """
    known = {ability.field for ability in ABILITIES}
    for ability in ABILITIES:
        if ability.field in capabilities:
            yield ability, _answer(capabilities[ability.field])
    for field, value in capabilities.items():
        if field not in known and field != "limits":
            name = shorten(field, 100)
            yield Ability(name, name, ""), _answer(value)


def limits_of(capabilities: Mapping[str, Any]) -> list[str]:
    """Return the sentences that say what the backend cannot promise."""
    limits = capabilities.get("limits")
    if not isinstance(limits, list):
        return []
    return [shorten(limit, 1000) for limit in limits[:50] if isinstance(limit, str)]


def _answer(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return shorten(", ".join(map(str, value[:50])), 500) or "none"
    return shorten(str(value), 500)
