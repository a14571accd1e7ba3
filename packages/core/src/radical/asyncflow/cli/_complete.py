"""The completion of words in a shell: backends, profiles, settings, runs and tasks.

A shell asks by running the command with a variable.  Its answers come from metadata
and files alone: nothing is started, and no program of the user is run.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import BashComplete, CompletionItem, ZshComplete, add_completion_class

from .._groups import CARRIER_GROUP, OBSERVER_GROUP, PROFILE_GROUP, STORE_GROUP
from .._text import printable

if TYPE_CHECKING:
    from ..journal import RunRecord

__all__ = [
    "backends",
    "carriers",
    "observers",
    "profiles",
    "register",
    "runs",
    "runs_and_tasks",
    "runs_tasks_and_errors",
    "settings",
    "stores",
    "tasks",
]

MAX_JOURNAL_BYTES = 50_000_000
"""The size of a journal from which nothing of it is offered, because nobody waits so long."""

MAX_TASKS = 100
"""The most numbers of tasks that are offered at once."""

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
Finder = Callable[[click.Context, str], Iterator[tuple[str, str]]]


def _completer(find: Finder) -> Completer:
    """Return the completer that offers what *find* yields: words, each with what it means."""

    def complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
        logging.disable(logging.CRITICAL)  # a warning would stand in the middle of the line
        try:
            return [
                CompletionItem(word, help=printable(meaning) or None)
                for word, meaning in find(ctx, incomplete)
                if word.startswith(incomplete) and printable(word) == word  # a shell can type it
            ]
        except Exception:  # a wrong file, or no journal: the command itself will say so
            return []
        finally:
            logging.disable(logging.NOTSET)

    return complete


@_completer
def backends(_: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Offer the names of backends; after a comma, another one."""
    from .._discovery.registry import registry

    before, comma = incomplete.rpartition(",")[:2]
    for name, info in registry.list_available_backends().items():
        if info["available"] and name not in before.split(","):
            yield before + comma + name, info["summary"] or ""


def _named(group: str) -> Completer:
    """Return the completer for the plugins of *group*, with the text that some take behind it."""

    @_completer
    def complete(_: click.Context, __: str) -> Iterator[tuple[str, str]]:
        from .._discovery.registry import registry

        for name, plugin in registry.named.found(group).items():
            if plugin.is_available and plugin.source is not None:
                yield name, plugin.source.summary

    return complete


observers = _named(OBSERVER_GROUP)
carriers = _named(CARRIER_GROUP)
stores = _named(STORE_GROUP)


@_completer
def profiles(ctx: click.Context, _: str) -> Iterator[tuple[str, str]]:
    """Offer the names of profiles."""
    from .._discovery import profiles as known
    from .._discovery.registry import registry
    from .._discovery.settings import CONFIG

    if ctx.params.get("config"):
        os.environ[CONFIG] = str(ctx.params["config"])
    found = known.load()
    found.add_hooks()
    for name, profile in found.profiles.items():
        yield name, ", ".join(choice.name for choice in profile.choices)
    for name, plugin in registry.named.found(PROFILE_GROUP).items():
        if name not in found.profiles and plugin.source is not None:
            yield name, plugin.source.summary


@_completer
def settings(ctx: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Offer ``key=`` for each setting of the backend; behind the sign, the values that it takes."""
    key, equals, _ = incomplete.partition("=")
    schema = _schema(ctx)
    for name, field in _fields(schema, schema.get("$defs", {}), ""):
        if not equals:
            yield f"{name}=", ""
        elif name == key:
            for value in _values(field, schema.get("$defs", {})):
                yield f"{name}={value}", ""


def _schema(ctx: click.Context) -> Mapping[str, Any]:
    """Return the schema of the settings of the backend that the words before choose."""
    from .._discovery import profiles as known
    from .._discovery.registry import registry

    named = ctx.params.get("backend") or ctx.params.get("name")
    choice = known.resolve(backend=named, profile=ctx.params.get("profile"))[0]
    return registry.describe(choice.name).get("config_schema") or {}


def _fields(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], prefix: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, field in schema.get("properties", {}).items():
        target = definitions.get(field.get("$ref", "").rpartition("/")[2], {})
        if target.get("properties") and not prefix:
            yield from _fields(target, definitions, f"{key}.")
        else:
            yield prefix + key, field


def _values(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[str]:
    """Yield the values of a setting that has few."""
    for choice in (field, *field.get("anyOf", ())):
        target = definitions.get(choice.get("$ref", "").rpartition("/")[2], choice)
        yield from map(str, target.get("enum", ()))
        if "const" in target:
            yield str(target["const"])
        if target.get("type") == "boolean":
            yield from ("true", "false")


@_completer
def runs(ctx: click.Context, _: str) -> Iterator[tuple[str, str]]:
    """Offer ``last`` and the names of runs, the latest first."""
    yield from _runs(_load(ctx))


def _runs_and_tasks(ctx: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Offer runs and the tasks of the last one; behind a run, its tasks."""
    before = tuple(ctx.params.get("words") or ())
    if not before:
        found = _load(ctx)
        yield from _tasks(found[-1], incomplete)
        yield from _runs(found)
    elif len(before) == 1:
        yield from _tasks(_chosen(ctx, before[0]), incomplete)


runs_and_tasks = _completer(_runs_and_tasks)


@_completer
def runs_tasks_and_errors(ctx: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Offer what `runs_and_tasks` offers; to a word with a capital letter, classes of errors."""
    if incomplete[:1].isupper() and not ctx.params.get("words"):
        from ._errors import explained_errors

        yield from ((name, "") for name in explained_errors())
    else:
        yield from _runs_and_tasks(ctx, incomplete)


@_completer
def tasks(ctx: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Offer the tasks of the run that stands before."""
    yield from _tasks(_chosen(ctx, ctx.params.get("run")), incomplete)


def _load(ctx: click.Context) -> Sequence[RunRecord]:
    from ..journal import read
    from ._lookup import find_journal

    path = find_journal(ctx.params.get("journal"))
    return () if Path(path).stat().st_size > MAX_JOURNAL_BYTES else read(path, damage=[])


def _chosen(ctx: click.Context, given: str | None) -> RunRecord:
    from ._lookup import LAST, find_run

    return find_run(given or LAST, ctx.params.get("journal"))[1]


def _runs(found: Sequence[RunRecord]) -> Iterator[tuple[str, str]]:
    from ..report.words import moment

    if found:
        yield "last", "the run that began last"
    for run in reversed(found):
        yield run.uid, " ".join((moment(run.begun), *run.program))


def _tasks(run: RunRecord, incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield the names of the tasks, the numbers of those that failed, and those that match."""
    for name in dict.fromkeys(task.name for task in run.tasks.values()):
        yield name, "all tasks of this name"
    digits = incomplete.removeprefix("task.")
    many = 0
    for number, task in run.tasks.items():
        word = task.id if incomplete.startswith("task.") else str(number)
        if (digits and word.startswith(incomplete)) or task.state == "FAILED":
            yield word, f"{task.name}, {task.state.lower()}"
            many += 1
            if many >= MAX_TASKS:
                return


class _Bash(BashComplete):
    """The completion in bash, which takes ``key=value`` for three words."""

    source_template = BashComplete.source_template.replace(
        "COMPREPLY+=($value)\n",
        "COMPREPLY+=($value)\n            [[ $value == *= ]] && compopt -o nospace\n",
    )

    def get_completion_args(self) -> tuple[list[str], str]:
        words, incomplete = super().get_completion_args()
        every = [*words, incomplete]
        joined: list[str] = []
        for word in every:
            if joined and (word.startswith("=") or joined[-1].endswith("=")):
                joined[-1] += word
            else:
                joined.append(word)
        *words, incomplete = joined
        return words, incomplete

    def format_completion(self, item: CompletionItem) -> str:
        # Bash replaces only what is behind the sign.
        key, _, value = str(item.value).partition("=")
        return f"{item.type},{value if key and value else item.value}"


class _Zsh(ZshComplete):
    """The completion in zsh, without a space behind ``key=``."""

    source_template = ZshComplete.source_template.replace(
        "compadd -U -V unsorted -a completions",
        'local -a keys=("${(@M)completions:#*=}") words_only=("${(@)completions:#*=}")\n'
        "        (( $#keys )) && compadd -U -S '' -V unsorted -a keys\n"
        "        (( $#words_only )) && compadd -U -V unsorted -a words_only",
    )


def register() -> None:
    """Have the answers for bash and zsh made by the classes of this module."""
    add_completion_class(_Bash, "bash")
    add_completion_class(_Zsh, "zsh")
