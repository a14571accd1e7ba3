"""The tools of a backend on the side where a task really runs.

These functions are called in a worker's thread or process, or by whoever starts one.
They know neither the engine nor its event loop: this room imports the leaves and
`radical.asyncflow.model`, and nothing else of the core.

========================  ==========================================================
run a function
`call`                    call a function, sync or async, and return its result
`call_async`              the same of an async function in a loop that others use too
`is_async`                whether a function is known to be async
`close_loop`              at the end of a thread that called `call`
`TaskContext`             makes a task current, and tells it that it was cancelled
`RankContext`             the same for one rank of a function with several
`current_task`            the context of the code that asks
`cancelled`               whether that was cancelled
`carried`, `Carried`      a function with what plugins send along
`PluginContexts`          what is entered around the body of a task
know what it did
`keep_output`             keeps what the tasks of this process print and log
`Meter`                   measures what one attempt at a task uses
`peak_of`                 the peak memory that the system tells of a process
`trace_of`                what it printed, logged and used, for `ReportSink.traced`
`forward_logs`            sends the log records of this process to the program
`log_setup`, `take_log`   what that needs of the program, and what takes them there
send it elsewhere
`Codes`, `Code`           the functions of a backend, each pickled once
`dump_function`           a function as bytes
`dump_arguments`          its arguments as bytes
`dump`                    any value as bytes
`PlainPickler`            the pickler behind these; `Pickler` copies by value, too
`keep_apart`              what it needs to leave large buffers out
`by_value`                what a worker cannot import is copied meanwhile
`import_path`             what a worker can import
`program_arguments`       its ``sys.argv``, for workers
`reloaded`                which of the program's modules were loaded anew
`reloads`                 how often one of the program's modules was loaded anew
`answer`                  call a function; the outcome as bytes
`answer_pickled`          the same of a function and arguments that are bytes
`open_answer`             the value that an answer holds, or a `Raised` error
`Failure`                 an exception as bytes, and back
`safe_str`                an exception as text, even if its own methods raise
`unsendable`, `unsent`    the error, and the answer, for what cannot travel
run a command
`Execution`               a `Command`, from its start to the end of its process tree
`Attendant`, `Leaving`    many of them in one thread
`ServiceExecution`        one that is a service, which tells when it is up
`Output`                  the beginning of a long output, with the path of all of it
`OutputSearch`            a search for the info of a service in what it writes
`find_info`               the same with all other signs that a service is up
`find_other`              what answers before the service has begun
`read_end`                the end of a file, as an `Output`
`file_stem`               a task's name as the beginning of a file's name
start the ranks of MPI
`MpiLauncher`             what starts them on this machine, such as ``mpiexec``
`RankedExecution`         a `Command`, once for each rank
`SpreadCommand`           one whose ranks run on several nodes, each a `RankNode`
`RankShare`               the place for ranks on a node that the launcher is not on
`RankGroups`, `RankCall`  a function on all ranks of a group, which is kept for the next
start and end processes
`start_guarded`           a process that ends with the program
`guard`, `Guard`          ends what the program leaves behind when it is killed
`SupervisedProcess`       one that exchanges messages with the program
`Greeting`                what it says of its interpreter at the start
`ProgramLink`             its end of the connection
`child_environment`       marks a child as the program's, and as one of its own
`signal_group`            a signal to a process group
`kill_tree`               ends a process group, and those who left it
`end_all`                 ends processes until there are none
`marked_processes`        the processes that carry a token in their environment
`explain_death`, `Death`  why a process died, as far as the system tells
`expect_deaths`           makes it count from now on what the kernel kills for memory
know the machine
`usable_cores`            the number of cores that this process may use
`count_cores`             the same, as a `CoreCount`, which says where it comes from
`core_order`              those cores, neighbours side by side
`bind`, `can_bind`        lets a thread or a process run on some of them alone
`usable_memory`           the memory that it may use
`found_gpus`              the GPUs that it may use, as `FoundGpus`, with how they were found
`missing_gpus`            those of some GPUs that it does not have
`visible_gpus`            the GPUs that a variable names
`FreeGpus`                those, and parts of those, that no task has
`gpus_by_rank`            those of each rank, of what a task has taken
`set_visible_gpus`        lets a process see those of its task
`Clocks`, `read_clock`    a moment there as a moment here
know the way back to it
`NodeCheck`               has a node connect to this machine
`Knock`, `NodeSign`       the outcome for an address, and the node that tried
`machine_addresses`       the addresses of this machine that others may know
`knock`                   connect to some addresses, and say what goes wrong
`JOB_ID_VARIABLES`        where a batch job finds its own id
`job_state`               the state of a job, as its batch system tells it
`SLURM_END_STATES`        the states of a Slurm job that has ended
`slurm_facts`             all that Slurm tells of a job
`explain_slurm_job`       why nothing of a job runs any more, as Slurm tells
`ask_batch_system`        what one of its programs prints
`LastAnswer`              the last answer to a slow question, such as to a batch system
========================  ==========================================================

Everything but the context is imported on first use, because the face of the package
needs the context alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names
from ._context import RankContext, TaskContext, cancelled, current_task

if TYPE_CHECKING:
    from ._answer import (
        FAILURE,
        UNSENT,
        VALUE,
        Raised,
        answer,
        answer_pickled,
        open_answer,
        unsent,
    )
    from ._attendant import Attendant, Leaving
    from ._batch_jobs import (
        SLURM_END_STATES,
        ask_batch_system,
        explain_slurm_job,
        job_state,
        slurm_facts,
    )
    from ._binding import bind, can_bind, core_order
    from ._buffers import PlainPickler
    from ._call import call, call_async, is_async
    from ._carried import Carried, PluginContexts, carried
    from ._clocks import Clocks, read_clock
    from ._code import Code, Codes
    from ._command import Execution, file_stem
    from ._death import Death, expect_deaths, explain_death
    from ._failure import Failure, safe_str
    from ._forwarding import LogSetup, forward_logs, log_setup, take_log
    from ._found_gpus import FoundGpus, found_gpus, missing_gpus
    from ._gpus import (
        GPU_VARIABLE,
        FreeGpus,
        Gpu,
        GpuShares,
        gpus_by_rank,
        set_visible_gpus,
        visible_gpus,
    )
    from ._guard import Guard, child_environment, guard, start_guarded
    from ._importing import by_value, import_path, program_arguments, reloaded, reloads
    from ._knock import JOB_ID_VARIABLES
    from ._last_answer import LastAnswer
    from ._limits import CoreCount, count_cores, usable_cores, usable_memory
    from ._loop import close_loop
    from ._meter import Meter, peak_of
    from ._mpi_launcher import MpiLauncher
    from ._node_check import Knock, NodeCheck, NodeSign, knock, machine_addresses
    from ._output import Output, read_end
    from ._pickling import (
        ATOMS,
        Buffer,
        dump,
        dump_arguments,
        dump_function,
        keep_apart,
        unsendable,
    )
    from ._processes import end_all, kill_tree, marked_processes, signal_group
    from ._program_link import ProgramLink
    from ._rank_command import RankedExecution
    from ._rank_groups import RankCall, RankGroups
    from ._rank_nodes import RankNode, SpreadCommand
    from ._rank_share import RankShare
    from ._readiness import OutputSearch, find_info, find_other
    from ._reducers import Pickler
    from ._service import ServiceExecution
    from ._supervised import Greeting, SupervisedProcess
    from ._taps import keep_output, trace_of

__all__ = [
    "ATOMS",
    "FAILURE",
    "GPU_VARIABLE",
    "JOB_ID_VARIABLES",
    "SLURM_END_STATES",
    "UNSENT",
    "VALUE",
    "Attendant",
    "Buffer",
    "Carried",
    "Clocks",
    "Code",
    "Codes",
    "CoreCount",
    "Death",
    "Execution",
    "Failure",
    "FoundGpus",
    "FreeGpus",
    "Gpu",
    "GpuShares",
    "Greeting",
    "Guard",
    "Knock",
    "LastAnswer",
    "Leaving",
    "LogSetup",
    "Meter",
    "MpiLauncher",
    "NodeCheck",
    "NodeSign",
    "Output",
    "OutputSearch",
    "Pickler",
    "PlainPickler",
    "PluginContexts",
    "ProgramLink",
    "Raised",
    "RankCall",
    "RankContext",
    "RankGroups",
    "RankNode",
    "RankShare",
    "RankedExecution",
    "ServiceExecution",
    "SpreadCommand",
    "SupervisedProcess",
    "TaskContext",
    "answer",
    "answer_pickled",
    "ask_batch_system",
    "bind",
    "by_value",
    "call",
    "call_async",
    "can_bind",
    "cancelled",
    "carried",
    "child_environment",
    "close_loop",
    "core_order",
    "count_cores",
    "current_task",
    "dump",
    "dump_arguments",
    "dump_function",
    "end_all",
    "expect_deaths",
    "explain_death",
    "explain_slurm_job",
    "file_stem",
    "find_info",
    "find_other",
    "forward_logs",
    "found_gpus",
    "gpus_by_rank",
    "guard",
    "import_path",
    "is_async",
    "job_state",
    "keep_apart",
    "keep_output",
    "kill_tree",
    "knock",
    "log_setup",
    "machine_addresses",
    "marked_processes",
    "missing_gpus",
    "open_answer",
    "peak_of",
    "program_arguments",
    "read_clock",
    "read_end",
    "reloaded",
    "reloads",
    "safe_str",
    "set_visible_gpus",
    "signal_group",
    "slurm_facts",
    "start_guarded",
    "take_log",
    "trace_of",
    "unsendable",
    "unsent",
    "usable_cores",
    "usable_memory",
    "visible_gpus",
]

_HOMES = {
    "ATOMS": "_pickling",
    "Attendant": "_attendant",
    "Buffer": "_pickling",
    "Carried": "_carried",
    "Clocks": "_clocks",
    "Code": "_code",
    "Codes": "_code",
    "Death": "_death",
    "CoreCount": "_limits",
    "Execution": "_command",
    "FAILURE": "_answer",
    "Failure": "_failure",
    "FoundGpus": "_found_gpus",
    "FreeGpus": "_gpus",
    "GPU_VARIABLE": "_gpus",
    "Gpu": "_gpus",
    "GpuShares": "_gpus",
    "Greeting": "_supervised",
    "Guard": "_guard",
    "JOB_ID_VARIABLES": "_knock",
    "Knock": "_node_check",
    "LastAnswer": "_last_answer",
    "Leaving": "_attendant",
    "NodeCheck": "_node_check",
    "NodeSign": "_node_check",
    "MpiLauncher": "_mpi_launcher",
    "Output": "_output",
    "OutputSearch": "_readiness",
    "Pickler": "_reducers",
    "PlainPickler": "_buffers",
    "PluginContexts": "_carried",
    "ProgramLink": "_program_link",
    "Raised": "_answer",
    "ServiceExecution": "_service",
    "SupervisedProcess": "_supervised",
    "SLURM_END_STATES": "_batch_jobs",
    "RankedExecution": "_rank_command",
    "RankCall": "_rank_groups",
    "RankGroups": "_rank_groups",
    "RankNode": "_rank_nodes",
    "RankShare": "_rank_share",
    "SpreadCommand": "_rank_nodes",
    "UNSENT": "_answer",
    "VALUE": "_answer",
    "answer": "_answer",
    "answer_pickled": "_answer",
    "ask_batch_system": "_batch_jobs",
    "bind": "_binding",
    "by_value": "_importing",
    "call": "_call",
    "call_async": "_call",
    "can_bind": "_binding",
    "carried": "_carried",
    "child_environment": "_guard",
    "close_loop": "_loop",
    "core_order": "_binding",
    "count_cores": "_limits",
    "dump": "_pickling",
    "dump_arguments": "_pickling",
    "dump_function": "_pickling",
    "end_all": "_processes",
    "expect_deaths": "_death",
    "explain_death": "_death",
    "explain_slurm_job": "_batch_jobs",
    "file_stem": "_command",
    "find_info": "_readiness",
    "find_other": "_readiness",
    "found_gpus": "_found_gpus",
    "gpus_by_rank": "_gpus",
    "guard": "_guard",
    "import_path": "_importing",
    "is_async": "_call",
    "job_state": "_batch_jobs",
    "keep_apart": "_pickling",
    "kill_tree": "_processes",
    "knock": "_node_check",
    "machine_addresses": "_node_check",
    "marked_processes": "_processes",
    "missing_gpus": "_found_gpus",
    "open_answer": "_answer",
    "program_arguments": "_importing",
    "read_clock": "_clocks",
    "read_end": "_output",
    "reloaded": "_importing",
    "reloads": "_importing",
    "safe_str": "_failure",
    "set_visible_gpus": "_gpus",
    "signal_group": "_processes",
    "slurm_facts": "_batch_jobs",
    "start_guarded": "_guard",
    "unsendable": "_pickling",
    "unsent": "_answer",
    "usable_cores": "_limits",
    "usable_memory": "_limits",
    "visible_gpus": "_gpus",
    "Meter": "_meter",
    "peak_of": "_meter",
    "keep_output": "_taps",
    "forward_logs": "_forwarding",
    "LogSetup": "_forwarding",
    "log_setup": "_forwarding",
    "take_log": "_forwarding",
    "trace_of": "_taps",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
