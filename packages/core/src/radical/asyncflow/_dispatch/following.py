"""Let the inputs of a task that name outputs of its dependencies be those outputs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._files.declared import FileSet, InputFile
from .._graph.arguments import rewrite_call
from .._task.future import TaskFuture
from ..model import TaskKind

__all__ = ["follow_dependencies", "tasks_among"]


def follow_dependencies(
    node: TaskFuture[Any], files: FileSet, dependencies: Iterable[TaskFuture[Any]]
) -> dict[int, InputFile]:
    """Let the inputs of *node* that name outputs of its *dependencies* be those outputs.

    Returns:
        The inputs that are now in the place of others, by the ids of those.

    Raises:
        ConfigurationError: an input may be several outputs.
    """
    if all(item._given is None for item in files.inputs):
        return {}
    from .._files.following import find_output  # here, because most programs have no files

    made = [(other, _declared_outputs(other)) for other in dict.fromkeys(dependencies)]
    found: dict[int, InputFile] = {}
    for item in files.inputs:
        if (output := find_output(item, made)) is not None:
            found[id(item)] = item.from_task(*output)
    if found:
        files.inputs[:] = [found.get(id(item), item) for item in files.inputs]
        node._args, node._kwargs = rewrite_call(
            node._args, node._kwargs, lambda leaf: found.get(id(leaf), leaf)
        )
    return found


def tasks_among(node: TaskFuture[Any]) -> list[TaskFuture[Any]]:
    """Return the tasks of its engine whose futures are anywhere among the arguments of *node*."""
    found: list[TaskFuture[Any]] = []

    def collect(leaf: Any) -> Any:
        if isinstance(leaf, TaskFuture) and leaf._owner is node._owner:
            found.append(leaf)
        return leaf

    rewrite_call(node._args, node._kwargs, collect)
    return found


def _declared_outputs(node: TaskFuture[Any]) -> list[str]:
    """Return the names of the outputs of *node*, as far as they are known."""
    extras = node._extras
    if extras is None or node._spec.kind is TaskKind.BLOCK:  # whose outputs are those of its tasks
        return []
    if extras.outputs is not None:
        return list(extras.outputs)
    return [] if extras.files is None else [output.name for output in extras.files.all_outputs]
