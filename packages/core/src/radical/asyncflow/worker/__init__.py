"""What a backend needs on the side where a task really runs.

Nothing here knows the engine or asyncio's side of it: the functions are called in
a worker's thread or process.

=======================  ===========================================================
running a function
`call`                   its result, whether it is sync or async
`close_loop`             at the end of a thread that called `call`
`TaskContext`            makes a task current, and tells it that it was cancelled
`current_task`           the context of the code that asks
`cancelled`              whether that was cancelled
`carried`, `Carried`     a function with what plugins send along
`Entered`                what they enter around a body
`Failure`                an exception as bytes, and back
`safe_str`               an exception as text, even if its own methods raise
running a command
`Execution`              a `Command`, from its start to the end of its process tree
`Output`                 the beginning of a long stream, with the path of the whole
processes of one's own
`guard`, `Guard`         ends what the program leaves behind when it is killed
`child_environment`      what marks a child as the program's, and as one of its own
`signal_group`           a signal to a process group
`kill_tree`              the end of a process group, and of those who left it
=======================  ===========================================================

Everything but the context is imported on first use, because the face of the package
needs the context alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names
from ._context import TaskContext, cancelled, current_task

if TYPE_CHECKING:
    from ._call import call, close_loop
    from ._carried import Carried, Entered, carried
    from ._code import Code, Codes, by_value, dump_function, safe_str, unsendable
    from ._command import Execution
    from ._failure import Failure
    from ._guard import Guard, child_environment, guard
    from ._output import Output
    from ._processes import kill_tree, signal_group

__all__ = [
    "Carried",
    "Code",
    "Codes",
    "Entered",
    "Execution",
    "Failure",
    "Guard",
    "Output",
    "TaskContext",
    "by_value",
    "call",
    "cancelled",
    "carried",
    "child_environment",
    "close_loop",
    "current_task",
    "dump_function",
    "guard",
    "kill_tree",
    "safe_str",
    "signal_group",
    "unsendable",
]

_HOMES = {
    "Carried": "_carried",
    "Code": "_code",
    "Codes": "_code",
    "Entered": "_carried",
    "Execution": "_command",
    "Failure": "_failure",
    "Guard": "_guard",
    "Output": "_output",
    "by_value": "_code",
    "call": "_call",
    "carried": "_carried",
    "child_environment": "_guard",
    "close_loop": "_call",
    "dump_function": "_code",
    "guard": "_guard",
    "kill_tree": "_processes",
    "safe_str": "_code",
    "signal_group": "_processes",
    "unsendable": "_code",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
