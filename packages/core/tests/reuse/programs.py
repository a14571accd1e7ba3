"""Random programs with one random change each, and what the engine makes of them."""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from radical.asyncflow._resume.identity import Descriptions

from .features import FEATURES, Feature

__all__ = ["PROGRAM", "Identity", "Outcome", "Program", "changes_of", "judge", "make_program"]

PROGRAM = "random_program"

Identity = Callable[[Any], bytes | None]
"""Returns what stands for a function; None if it is never reused."""

NEUTRAL = (
    "",
    "# a comment\n",
    "\n\n\n",
    "def unrelated(): return {r}\n",
    "class Unrelated:\n    k = {r}\n",
    "UNRELATED = [{r}]\n",
    "import string as unrelated_import\n",
    "import threading\nUNRELATED_LOCK = threading.Lock()\n",
)
"""What may be put at the beginning of a file, and changes nothing that the task uses."""


class Program(NamedTuple):
    """The files of a program before and after a change.

    Attributes:
        matters: whether the change is one of those that are made to matter.
        live: a statement that changes the program while it runs; then the files are the same.
    """

    before: dict[str, str]
    after: dict[str, str]
    matters: bool
    live: str


class Outcome(NamedTuple):
    """What became of a program.

    Attributes:
        differs: whether its result is another after the change.
        reused: whether the earlier result would be taken for it.
        described: whether it could be reused at all.
    """

    differs: bool
    reused: bool
    described: bool


def make_program(seed: int) -> Program:
    """Return the program that belongs to *seed*."""
    chance = random.Random(seed)
    chosen = [
        _filled(chance.choice(FEATURES), number, *chance.sample(range(11, 20), 2))
        for number in range(chance.randint(1, 4))
    ]
    files = _files(chosen)
    changed = chance.choice(chosen)
    draw = chance.random()
    if draw < 0.15 and changed.live:
        return Program(files, files, matters=True, live=chance.choice(changed.live))
    if draw < 0.7 and changed.changes:
        return _changed(files, changed, *chance.choice(changed.changes))
    name = chance.choice(sorted(files))
    head = chance.choice(NEUTRAL).replace("{r}", str(chance.randint(100, 999)))
    return Program(files, files | {name: f"{head}{files[name]}"}, matters=False, live="")


def changes_of(feature: Feature) -> Iterator[Program]:
    """Yield a program that has nothing but *feature*, with each of its changes."""
    feature = _filled(feature, 0, 12, 17)
    files = _files([feature])
    for old, new in feature.changes:
        yield _changed(files, feature, old, new)
    for statement in feature.live:
        yield Program(files, files, matters=True, live=statement)


def _files(features: list[Feature]) -> dict[str, str]:
    uses = ", ".join(feature.use for feature in features)
    body = f"def body(x):\n    return repr([{uses}])\n"
    files = {f"{PROGRAM}.py": "".join(feature.text for feature in features) + body}
    for feature in features:
        files |= feature.files
    return files


def _changed(files: dict[str, str], feature: Feature, old: str, new: str) -> Program:
    name = next((one for one, text in feature.files.items() if old in text), f"{PROGRAM}.py")
    part = feature.files.get(name, feature.text)
    assert old in part
    text = files[name].replace(part, part.replace(old, new, 1), 1)
    return Program(files, files | {name: text}, matters=True, live="")


def _filled(feature: Feature, number: int, first: int, second: int) -> Feature:
    def fill(text: str) -> str:
        for mark, value in (("{n}", number), ("{a}", first), ("{b}", second)):
            text = text.replace(mark, str(value))
        return text

    return Feature(
        fill(feature.text),
        fill(feature.use),
        tuple((fill(old), fill(new)) for old, new in feature.changes),
        {fill(name): fill(text) for name, text in feature.files.items()},
        tuple(map(fill, feature.live)),
    )


@contextmanager
def _loaded(files: dict[str, str], folder: Path) -> Iterator[ModuleType]:
    """Import a program from *folder*; afterwards nothing of it is left."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield importlib.import_module(PROGRAM)
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
                del sys.modules[name]
        for name in files:
            (folder / name).unlink()
        for path in folder.iterdir():
            path.rmdir()


def judge(program: Program, folder: Path, identity: Identity | None = None) -> Outcome:
    """Run *program* before and after its change, and compare results and identities.

    Args:
        identity: another way to identify functions than the engine's.
    """
    descriptions = Descriptions()

    def engine(body: Any) -> bytes | None:
        descriptions.look_again()
        found = descriptions.describe(body)
        return None if found.why is not None else found.digest

    identify = identity or engine
    with _loaded(program.before, folder) as module:
        before = identify(module.body)
        if program.live:
            exec(program.live, vars(module))
            after = identify(module.body)
            changed = module.body(3)
            with_change = True
        else:
            with_change = False
        result = None if with_change else module.body(3)
    if with_change:
        with _loaded(program.before, folder) as module:
            result = module.body(3)
    else:
        with _loaded(program.after, folder) as module:
            after = identify(module.body)
            changed = module.body(3)
    return Outcome(result != changed, before is not None and before == after, before is not None)
