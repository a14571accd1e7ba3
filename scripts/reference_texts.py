"""Let Sphinx show docstrings and signatures as their authors mean them.

- A colon in the first line of a property or an attribute ends no type.
- Several names of attributes with one text, ``stdout, stderr: ...``, are several entries.
- Signatures name nothing that is private, and no object by its ``repr``.
- A class that only the engine makes shows no arguments.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["setup"]

COLON = "\ue000"
"""Stands for a colon while napoleon reads the text."""
BEFORE_NAPOLEON, AFTER_NAPOLEON = 400, 600  # the order of the handlers of an event
SEVERAL = re.compile(r"^:ivar (\w+(?:, \w+)+): ")
PUBLIC_WORDS = (
    (re.compile(r"_launch\.BackendChoice"), "str | ExecutionBackend | Sequence[...]"),
    (re.compile(r"\bWanted\b"), "str | Sequence[str]"),
    (re.compile(r"\b_Creation\b"), "WorkflowEngine"),  # which it is when it is awaited or entered
    (re.compile(r"~?(?:\w+\.)*_Path\b"), "Path"),
    (re.compile(r"~?(?:\w+\.)*\b_Numbered\b"), "TaskFuture"),
    (re.compile(r"= (?:_[A-Z_]+|<factory>)"), "= ..."),
    (re.compile(r"<class '(?:\w+\.)*(\w+)'>"), r"\1"),
    (re.compile(r"\[\[~(\w+)\]"), r"[\1"),  # the parameters of another function
    (re.compile(r"~typing\.~\w+"), "~typing.Any"),
    (re.compile(r"(?<![\w.])_([A-Z]\w*)"), r"\1"),  # variables of types
)
"""What stands in a signature instead of what is private."""
ENGINE_ONLY = re.compile(
    r"\b(Calls|Dispatcher|EngineTask|Loop|Owner)\b|\(\*, loop=None\)|\(\*args, \*\*kwargs\)"
)
"""What is in the signature of a class that a program gets from the engine, or writes by itself."""


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect this extension to Sphinx, which calls this."""
    app.connect("autodoc-process-docstring", _hide_colon, priority=BEFORE_NAPOLEON)
    app.connect("autodoc-process-docstring", _finish, priority=AFTER_NAPOLEON)
    app.connect("autodoc-process-signature", _name_public_words)
    return {"parallel_read_safe": True}


def _hide_colon(
    _app: Sphinx, what: str, _name: str, _value: Any, _options: Any, lines: list[str]
) -> None:
    if what in ("attribute", "data", "property") and lines:
        lines[0] = lines[0].replace(":", COLON)


def _finish(
    _app: Sphinx, _what: str, _name: str, _value: Any, _options: Any, lines: list[str]
) -> None:
    whole = [line.replace(COLON, ":") for line in lines]
    lines[:] = _split_names(
        [_public(line) or "" if line.startswith(":vartype ") else line for line in whole]
    )


def _split_names(lines: list[str]) -> list[str]:
    """Repeat the entry of several names for each of them."""
    done: list[str] = []
    place = 0
    while place < len(lines):
        end = place + 1
        found = SEVERAL.match(lines[place])
        if found is None:
            done.append(lines[place])
        else:
            while end < len(lines) and lines[end].startswith(" "):
                end += 1
            for name in found[1].split(", "):
                text = lines[place][found.end() :]
                done += [f":ivar {name}: {text}", *lines[place + 1 : end]]
        place = end
    return done


def _name_public_words(
    _app: Sphinx,
    what: str,
    _name: str,
    value: Any,
    _options: Any,
    signature: str | None,
    result: str | None,
) -> tuple[str | None, str | None]:
    if what == "class" and (issubclass(value, Enum) or ENGINE_ONLY.search(signature or "")):
        return "", None
    return _public(signature), _public(result)


def _public(text: str | None) -> str | None:
    for pattern, word in PUBLIC_WORDS if text else ():
        text = pattern.sub(word, text or "")
    return text
