"""Let files follow dependencies: outputs that inputs name, and all that a dependency wrote."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._files.declared import FileSet, InputFile
from .._graph.arguments import rewrite_call
from .._graph.items import parent_of
from .._task.future import TaskFuture
from ..errors import ConfigurationError
from ..model import TaskKind

__all__ = ["add_outputs_of_dependencies", "follow_dependencies", "tasks_among", "tasks_to_link"]


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


def tasks_to_link(node: TaskFuture[Any]) -> list[TaskFuture[Any]]:
    """Return the tasks whose files *node* finds only if they are brought into its folder.

    Raises:
        ConfigurationError: the files of one of them are in no folder of its own, or *node* runs
            in none.
    """
    shared = node._lane.backend.shared_dir
    tasks = [*dict.fromkeys(tasks_among(node))]
    for other in tasks:
        lane = other._lane
        if (None if lane is None else lane.backend.shared_dir) != shared:
            where = "in the engine's loop" if lane is None else f"on backend {lane.name!r}"
            raise ConfigurationError(
                f"task {node.name!r} runs on backend {node._lane.name!r}, and {other.name!r}, on "
                f"which it depends, ran {where}, so link_dependencies=True cannot bring its files "
                "here: declare them as OutputFile and InputFile"
            )
    return [] if shared is None else tasks


def add_outputs_of_dependencies(files: FileSet, tasks: Iterable[TaskFuture[Any]]) -> None:
    """Add to *files* the outputs of *tasks* that have a relative name, under that name."""
    names = {item.name for item in files.inputs}
    for other in tasks:
        outputs = None if other._extras is None else other._extras.outputs
        for output in outputs or ():
            if output not in names and not output.startswith(("/", "..")):
                files.inputs.append(InputFile(other, output).from_task(other, output))


def tasks_among(node: TaskFuture[Any]) -> list[TaskFuture[Any]]:
    """Return the tasks of its engine that the arguments of *node* are, or have items of."""
    found: list[TaskFuture[Any]] = []

    def collect(leaf: Any) -> Any:
        source = parent_of(leaf)
        if isinstance(source, TaskFuture) and source._owner is node._owner:
            found.append(source)
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
