"""The backend itself: it joins the nodes, the blocks and the process that holds Parsl."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import secrets
import shutil
import socket
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radical.asyncflow.aside import in_thread
from radical.asyncflow.backend import (
    ExecutionBackend,
    ReportSink,
    TaskId,
    TaskRequest,
    TaskSpec,
    Wait,
)
from radical.asyncflow.config import validate
from radical.asyncflow.errors import (
    BackendLostError,
    BackendStartError,
    ConfigurationError,
    UnsupportedOptionError,
    WorkerLostError,
)
from radical.asyncflow.model import DEFAULT_RESOURCES
from radical.asyncflow.worker import (
    found_gpus,
    guard,
    import_path,
    log_setup,
    machine_addresses,
    program_arguments,
    usable_memory,
)

from ._host.ledger import end_jobs, last_will
from ._host.messages import (
    BlockAdded,
    BlockRefused,
    BlockStates,
    Event,
    NodeEnded,
    Open,
    Opened,
    OpenFailed,
)
from ._host.process import HostProcess
from ._node.size import slots_here
from ._program.blocks import NOT_EXPLAINED, Blocks
from ._program.nodes import Node, NodeSize, Sent
from ._program.router import Router
from ._program.tunnels import Tunnels
from ._program.waits import explain_waits
from ._site.order import SiteOrder
from ._site.reading import read_site
from ._site.systems import ONE_NODE
from ._wire.messages import Setup
from .capabilities import CAPABILITIES

if TYPE_CHECKING:
    from .config import ParslConfig, PbsConfig, SlurmConfig

__all__ = ["ParslExecutionBackend"]

_OPEN_S = 60.0  # for the process that holds Parsl to come up
_HOST_LOOK_S = 10.0  # between two looks at the process that holds Parsl
_FIRST_ANSWER_S = 60.0  # for the batch system to take the first job
_NODES_END_S = 8.0
_JOBS_END_S = 20.0  # for a batch system that does not answer at once
_STRANGE = re.compile(r"[^\w@+=:,./-]")  # what a shell, or a pattern for files, may take apart
_BATCH_VARIABLES = frozenset({"HOME", "LANG", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "TZ", "USER"})
_BATCH_BEGINNINGS = ("LSB", "LSF", "MUNGE", "PBS", "SGE", "SLURM", "_CONDOR")
_log = logging.getLogger("radical.asyncflow")


class ParslExecutionBackend(ExecutionBackend):
    """A backend that runs tasks on the nodes of blocks, which Parsl gets from a batch system.

    Args:
        config: a ``parsl.Config``, or a file or ``"module:name"`` that holds one; or settings:
            a ``ParslConfig``, ``SlurmConfig`` or ``PbsConfig``, or a dict of those of the first.
        name: how tasks ask for this backend.
        **settings: settings of ``ParslConfig``, which describes them.

    Raises:
        ConfigurationError: names everything that is wrong with the settings.
    """

    def __init__(
        self,
        config: Any = None,
        *,
        name: str = "parsl",
        **settings: Any,
    ) -> None:
        # Imported when a backend is made: it needs pydantic.
        from .config import ParslConfig, PbsConfig, SlurmConfig

        self.name = name
        self.capabilities = CAPABILITIES
        if isinstance(config, SlurmConfig | PbsConfig):
            self._config: ParslConfig | SlurmConfig | PbsConfig = config
        else:
            if config is not None and not isinstance(config, Mapping | ParslConfig):
                config, settings = None, {"config": config, **settings}
            self._config = validate(ParslConfig, config, settings, backend=name)
        self._site = read_site(self._config, name)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._folder: Path | None = None
        self._channel: Any = None
        self._router: Router | None = None
        self._tunnels: Tunnels | None = None
        self._blocks: Blocks | None = None
        self._host: HostProcess | None = None
        self._opened: asyncio.Future[None] | None = None
        self._is_open = False
        self._reported: ReportSink | None = None
        self._hope_lost = ""
        self._is_ending = False
        self._end_lock = asyncio.Lock()
        self._has_ended = False

    # ------------------------------------------------------------ before the start

    def plan(self) -> dict[str, Any]:
        """Return the batch script of a block, and how many there may be; nothing is started."""
        from ._site.parsl_objects import script_of

        site = self._site
        script, command = script_of(site)
        return {
            "system": site.system or "as Parsl's configuration says",
            "nodes_per_block": site.nodes_per_block,
            "init_blocks": site.init_blocks,
            "min_blocks": site.min_blocks,
            "max_blocks": site.max_blocks,
            "command": command,
            "script": script,
        }

    def capacity(self) -> int | None:
        """Return the number of cores of the nodes that are up; None before there is one."""
        slots = 0 if self._router is None else self._router.slots()
        return slots * self._site.workers.cores or None

    def check(self, spec: TaskSpec) -> None:
        super().check(spec)
        if spec.service and spec.resources.ranks > 1:
            raise UnsupportedOptionError(
                f"task {spec.name!r}: a service has one rank on backend {self.name!r}; leave ranks "
                "out, and let the service start its processes itself"
            )
        if self._router is not None and spec.resources != DEFAULT_RESOURCES:
            self._router.check(spec, self.name, self._config.mpi_launcher)

    # --------------------------------------------------------------------- start

    async def start(self, sink: ReportSink) -> None:
        """Start Parsl, and have the batch system take the first block.

        Raises:
            BackendStartError: Parsl does not come up, or the batch system refuses the block; the
                text has the batch system's words.
            ConfigurationError: Parsl refuses the settings.
        """
        await super().start(sink)
        self._loop = asyncio.get_running_loop()
        self._opened = self._loop.create_future()
        self._reported = sink
        guard().acquire()
        try:
            await in_thread(self._begin, sink)
            async with asyncio.timeout(_OPEN_S):
                await asyncio.shield(self._opened)
            await self._wait_for_first_block()
        except BaseException as error:
            words = "" if self._host is None else self._host.last_words()
            await self._end(cancel=True)
            if isinstance(error, TimeoutError):
                text = f"the process that holds Parsl did not come up within {_OPEN_S:g} s"
                error = BackendStartError(text)
            if isinstance(error, BackendStartError):
                more = f"\n{words}" if words else ""
                raise BackendStartError(f"backend {self.name!r}: {error}{more}") from None
            raise error from None

    async def _wait_for_first_block(self) -> None:
        blocks = self._blocks
        assert blocks is not None
        if self._site.init_blocks or self._site.min_blocks:
            await in_thread(blocks.first_answer.wait, _FIRST_ANSWER_S)
        if reason := self._hope_lost or blocks.refusal:
            raise BackendStartError(reason)

    def _begin(self, sink: ReportSink) -> None:
        """Start everything, in a thread."""
        from ._wire.channel import Channel

        site = self._site
        work_dir = sink.work_dir().absolute()
        _check_folder(work_dir, self.name)
        label = f"asyncflow-{secrets.token_hex(4)}"
        folder = self._folder = work_dir / f"parsl-{label[-8:]}"
        folder.mkdir(mode=0o700)
        is_local = site.system == "local"
        host = site.address or ("127.0.0.1" if is_local else "*")
        hosts = [site.address] if site.address else list(machine_addresses())
        if site.address:
            _check_address(site.address, self.name)
        if is_local and not site.address:
            hosts = ["127.0.0.1"]
        listener = _Listener(self)
        try:
            channel = self._channel = Channel(
                listener,
                host="*" if site.address else host,
                ports=site.ports,
                encrypted=site.encrypted,
            )
        except OSError as error:
            raise ConfigurationError(f"backend {self.name!r}: address: {error}") from None
        self._tunnels = Tunnels(channel)
        self._router = Router(
            sink,
            channel.send,
            setup=self._setup(sink, work_dir),
            cores_each=site.workers.cores,
            expected=_size_here(site) if is_local else None,
            span=1 if is_local or site.launcher in ONE_NODE else site.nodes_per_block,
            lose_node=self._lose_node,
            refuse_node=self._refuse_node,
            is_expected=lambda name: self._blocks is not None and self._blocks.expects(name),
            changed=channel.wake,
            tunnels=self._tunnels,
        )
        self._host = HostProcess(folder, on_event=self._take_event, on_end=self._lose_host)
        guard().run_after_death(last_will(folder), _batch_environment())
        self._blocks = Blocks(
            site,
            backend=self.name,
            idle_seconds=self._config.idle_seconds,
            connect_timeout=self._config.connect_timeout,
            send=self._host.send,
            lose_hope=self._lose_hope,
            retire=self._router.retire,
            drain=self._router.drain,
        )
        file = folder / "node.json"
        file.touch(mode=0o600)  # it holds what encrypts the connection
        file.write_text(json.dumps(self._node_order(channel.address(hosts), folder)))
        self._host.send(Open(site, label, str(folder), str(file)))
        channel.start()

    def _setup(self, sink: ReportSink, work_dir: Path) -> Setup:
        return Setup(
            path=import_path(),
            arguments=program_arguments(),
            folder=os.getcwd(),  # noqa: PTH109 - it may be gone
            work_dir=str(work_dir),
            keeps_output=sink.keeps_output,
            keeps_usage=sink.keeps_usage,
            logs=log_setup() if self._config.forward_logs else None,
            uid=sink.uid,
        )

    def _node_order(self, address: Any, folder: Path) -> dict[str, Any]:
        workers = self._site.workers
        settings: dict[str, Any] = {
            "grace": self._config.grace,
            "forward_logs": self._config.forward_logs,
        }
        if self._config.mpi_launcher is not None:
            settings["mpi_launcher"] = self._config.mpi_launcher
        if workers.available_gpus is not None:
            settings["gpus"] = list(workers.available_gpus)
        return {
            "address": list(address),
            "name": self.name,
            "connect_s": self._config.connect_timeout,
            "settings": settings,
            "workers": list(workers[:4]),
            "ends": str(folder / "ends"),
        }

    # ---------------------------------------------------------------------- tasks

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        _ = self.sink  # raises before the start and after the end
        assert self._router is not None
        self._router.submit(batch)

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        if self._router is not None:
            self._router.cancel(task_ids)

    def waits(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, Wait]:
        if self._router is None or self._blocks is None:
            return {}
        return explain_waits(self._router, self._blocks, frozenset(task_ids), self.name)

    # -------------------------------------------------------- what happens elsewhere

    def _take_event(self, event: Event) -> None:
        """Take an event of the process that holds Parsl."""
        blocks = self._blocks
        if blocks is None:
            return
        match event:
            case Opened():
                self._is_open = True
                self._settle(None)
            case OpenFailed(error, is_configuration):
                text = f"Parsl did not start: {error}"
                self._settle(
                    ConfigurationError(f"backend {self.name!r}: {error}")
                    if is_configuration
                    else BackendStartError(text)
                )
            case BlockAdded():
                blocks.add(event)
            case BlockRefused():
                blocks.refuse(event)
            case BlockStates():
                blocks.take_states(event)
            case NodeEnded():
                blocks.take_node_end(event)
        self._channel.wake()

    def _settle(self, error: BaseException | None) -> None:
        """Let the start go on, or fail; from any thread."""
        opened, loop = self._opened, self._loop
        assert opened is not None
        assert loop is not None

        def settle() -> None:
            if opened.done():
                return
            if error is None:
                opened.set_result(None)
            else:
                opened.set_exception(error)

        loop.call_soon_threadsafe(settle)

    def _lose_host(self, code: int | None) -> None:
        """Take note that the process that holds Parsl has ended."""
        if self._is_ending:
            return
        how = "how is not known" if code is None else f"exit code {code}"
        words = "" if self._host is None else self._host.last_words()
        text = f"the process that held Parsl ended ({how})\n{words}".rstrip()
        self._settle(BackendStartError(text))
        self._lose_hope(text)
        threading.Thread(target=self._end_jobs, name="asyncflow-parsl", daemon=True).start()

    def _end_jobs(self) -> None:
        """End the jobs that the process that holds Parsl has not ended itself."""
        left = [] if self._folder is None else end_jobs(str(self._folder), _JOBS_END_S)
        if left:
            _log.warning(
                "backend %r: the batch system does not take the order to end these jobs: %s",
                self.name,
                ", ".join(left),
            )

    def _lose_hope(self, reason: str) -> None:
        """Give everything up: no block comes any more."""
        if self._is_ending or self._hope_lost:
            return
        self._hope_lost = reason
        router, blocks, sink = self._router, self._blocks, self._reported
        if blocks is not None:
            blocks.first_answer.set()
        if self._opened is None or not self._opened.done() or router is None or sink is None:
            return
        waiting = router.take_waiting()
        error = BackendLostError(f"backend {self.name!r} gets no node any more: {reason}")
        sink.lost(error, [task.task_id for task in waiting])
        router.dismiss_all(cancel=True)

    def _refuse_node(self, reason: str) -> None:
        assert self._blocks is not None
        self._blocks.fail_node(reason)

    def _lose_node(self, node: Node, lost: list[Sent], why: str) -> None:
        """Fail the tasks that *node* had begun, with the true reason, as soon as that is known."""
        if not lost and (self._is_ending or node.is_retired):
            return
        threading.Thread(
            target=self._explain, args=(node, lost, why), name="asyncflow-parsl", daemon=True
        ).start()

    def _explain(self, node: Node, lost: list[Sent], why: str) -> None:
        assert self._blocks is not None
        assert self._router is not None
        end = self._blocks.explain(node, why) if lost else NOT_EXPLAINED

        def error(sent: Sent) -> BaseException:
            return WorkerLostError(
                sent.task.name,
                node.name,
                attempt=sent.task.attempt,
                detail=end.evidence,
                reason=end.reason,
            )

        self._router.give_up(lost, error)
        # Only now, because the end of its block would hide the reason for its own.
        self._blocks.drop(node, list(self._router.nodes.values()))
        self._channel.wake()

    # ------------------------------------------------------------------------ end

    async def shutdown(self, *, cancel: bool = True) -> None:
        """End the nodes, the blocks and Parsl in bounded time."""
        await super().shutdown(cancel=cancel)
        await self._end(cancel=cancel)

    async def _end(self, *, cancel: bool) -> None:
        if cancel and self._router is not None:
            self._router.cancel_all()  # before the lock: another shutdown may wait for them
        async with self._end_lock:
            if self._has_ended or self._reported is None:
                return
            self._has_ended = True
            await in_thread(self._finish, cancel)

    def _finish(self, cancel: bool) -> None:
        try:
            router, blocks = self._router, self._blocks
            if router is not None:
                if not cancel:
                    router.wait()  # not for services, which run on until the end
                router.cancel_all()
                self._is_ending = True
                router.wait(self._config.grace + _NODES_END_S)
                router.dismiss_all(cancel=True)
            self._is_ending = True
            if blocks is not None:
                blocks.close()
            if self._host is not None:
                self._host.close()
            self._end_jobs()
            if self._channel is not None:
                self._channel.close()
        finally:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
            guard().release()


class _Listener:
    """Hands what the channel receives to the backend's parts; in the thread of the channel."""

    def __init__(self, backend: ParslExecutionBackend) -> None:
        self._backend = backend
        self._next_look = 0.0
        self._host_was_stopped = False

    def receive(self, peer: bytes, message: Any) -> None:
        router = self._backend._router
        if router is not None:
            router.receive(peer, message)

    def lose(self, peer: bytes, how: str) -> None:
        router = self._backend._router
        if router is not None:
            router.lose(peer, how)

    def tick(self, now: float) -> float:
        backend = self._backend
        router, blocks, tunnels = backend._router, backend._blocks, backend._tunnels
        if router is None or blocks is None or tunnels is None or not backend._is_open:
            return 1.0
        pause = tunnels.tick(1.0)
        if backend._is_ending or backend._hope_lost:
            return pause
        self._look_at_host(now)
        nodes = list(router.nodes.values())
        for node in nodes:
            if node.is_ready and node.block is None:
                blocks.connect(node)
        return min(
            pause, blocks.adjust(router.demand(), nodes, now, needs_whole=router.lacks_block())
        )

    def _look_at_host(self, now: float) -> None:
        """Give up the process that holds Parsl if it was stopped for long: no block would come."""
        host = self._backend._host
        if host is None or now < self._next_look:
            return
        self._next_look = now + _HOST_LOOK_S
        is_stopped = host.is_stopped()
        if is_stopped and self._host_was_stopped:
            self._backend._lose_hope("somebody has stopped the process that holds Parsl")
            host.kill()
        self._host_was_stopped = is_stopped

    def fail(self, error: BaseException) -> None:
        backend = self._backend
        backend._lose_hope(f"the thread that talks to the nodes has failed: {error!r}")
        router = backend._router
        if router is not None:
            for peer in list(router.nodes):
                router.lose(peer, "the program does not talk to it any more")


def _check_folder(work_dir: Path, name: str) -> None:
    """Raise ConfigurationError for a folder that Parsl cannot use."""
    if strange := sorted(set(_STRANGE.findall(str(work_dir)))):
        # Parsl writes it into scripts and commands as it is.
        raise ConfigurationError(
            f"backend {name!r}: Parsl cannot use the folder of this run, {work_dir}: its path has "
            f"{', '.join(map(repr, strange))}; start the program in another folder, or give the "
            "engine another work_dir"
        )


def _check_address(address: str, backend: str) -> None:
    """Refuse an address that nobody knows; warn of one that is not of this machine."""
    try:
        found = socket.gethostbyname(address)
    except OSError as error:
        raise ConfigurationError(f"backend {backend!r}: address {address!r}: {error}") from None
    if found not in machine_addresses() and not found.startswith("127."):
        _log.warning(
            "backend %r: %s is no address of this machine, so nodes reach it only if another one "
            "passes on what arrives there",
            backend,
            address,
        )


def _size_here(site: SiteOrder) -> NodeSize:
    """Return what a node has that is this machine."""
    workers = site.workers
    return NodeSize(
        slots_here(workers.most, workers.cores, workers.memory, workers.gpus),
        len(found_gpus().ids),
        usable_memory(),
    )


def _batch_environment() -> dict[str, str]:
    """Return the variables by which the programs of a batch system find it."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in _BATCH_VARIABLES or name.startswith(_BATCH_BEGINNINGS)
    }
