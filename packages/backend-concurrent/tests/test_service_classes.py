"""Services of classes on this machine: how they end, and who may speak to them."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from polling import until
from radical.asyncflow import (
    ConfigurationError,
    SerializationError,
    ServiceLostError,
    ServiceStoppedError,
    WorkflowEngine,
    factory,
)
from radical.asyncflow.worker import current_task

pytestmark = pytest.mark.usefixtures("leak_guard", "empty_folder")


class Place:
    """A service that tells where it is."""

    limit = 3

    def __init__(self) -> None:
        self.attempts = 0

    def pid(self) -> int:
        return os.getpid()

    def thread(self) -> str:
        return threading.current_thread().name

    def gpus(self) -> Any:
        task = current_task()
        assert task is not None
        return task.gpus, os.environ.get("CUDA_VISIBLE_DEVICES")

    def sleep(self) -> None:
        time.sleep(60)

    def wait(self, gate: Path) -> None:
        while not gate.exists():
            time.sleep(0.01)

    def exit(self, code: int) -> None:
        os._exit(code)

    def take(self, value: Any) -> str:
        return type(value).__name__

    def number(self) -> int:
        self.attempts += 1
        if self.attempts < 3:
            raise ValueError("not yet")
        return self.attempts


def engine(kind: str = "process", **settings: Any) -> Any:
    config = {"max_workers": 2, "executor_type": kind, "grace": 1.0, **settings}
    return WorkflowEngine.create("concurrent", config)


async def test_a_service_lives_in_a_process_of_its_own_or_in_a_thread() -> None:
    async with engine() as flow:
        assert await flow.service(Place)().pid() != os.getpid()
    async with engine("thread") as flow:
        place = flow.service(Place)()
        assert await place.pid() == os.getpid()
        assert await place.thread() == await place.thread() != threading.current_thread().name


async def test_a_service_has_its_gpu_for_its_life() -> None:
    async with engine(gpus=2) as flow:
        kind = flow.service(resources={"gpus": 1})(Place)
        one, other = kind(), kind()
        assert sorted(await asyncio.gather(one.gpus(), other.gpus())) == [
            ((0,), "0"),
            ((1,), "1"),
        ]


async def test_a_method_that_does_not_return_is_ended_with_its_service() -> None:
    async with engine() as flow:
        place = flow.service(Place)()
        await place
        stuck = place.sleep()
        flow.observe(lambda _: None)
        await asyncio.sleep(0)
        stopped = place.stop()
        with pytest.raises(ServiceStoppedError):
            await stuck
        await stopped


async def test_to_cancel_calls_nobody_looks_through_those_that_go_on(tmp_path: Path) -> None:
    class Cancelled(list[int]):
        looks = 0

        def __contains__(self, item: object) -> bool:
            Cancelled.looks += 1
            return super().__contains__(item)

    async with engine() as flow:
        place = flow.service(Place)()
        await place
        first = place.wait(tmp_path / "gate")
        calls = [place.take(number) for number in range(50)]
        instance: Any = first._lane.backend
        await until(lambda: len(instance._sent) == 51)
        instance.cancel(Cancelled([first._number, *(call._number for call in calls[:25])]))
        assert Cancelled.looks == 0
        assert len(instance._sent) == 26  # the first one runs
        for call in calls[:25]:
            call.cancel()
        (tmp_path / "gate").touch()
        assert await asyncio.gather(*calls[25:]) == ["int"] * 25
        assert not instance._sent
        assert not instance._attempts
        assert all(call.cancelled() for call in calls[:25])


async def test_what_cannot_travel_fails_that_call_alone() -> None:
    async with engine() as flow:
        place = flow.service(Place)()
        with pytest.raises(SerializationError, match="the arguments cannot travel"):
            await place.take(threading.Lock())
        assert await place.take("text") == "str"


async def test_a_call_with_retries_runs_again_on_the_same_instance() -> None:
    async with engine() as flow:
        place = flow.service(Place)()
        assert await place.number.options(retries=2)() == 3


async def test_a_call_with_retries_runs_on_the_new_instance_after_a_death() -> None:
    async with engine() as flow:
        place = flow.service(restarts=1)(Place)()
        pid = await place.pid()
        waiting = place.pid.options(retries=1)
        lost, again = await asyncio.gather(place.exit(9), waiting(), return_exceptions=True)
        assert isinstance(lost, ServiceLostError)
        assert "exited with code 9" in str(lost)
        assert isinstance(again, int)
        assert again != pid


async def test_a_stranger_at_the_door_is_shut_out_and_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with engine() as flow:
        place = flow.service(Place)()
        pid = await place.pid()
        family, where = flow._dispatcher.instances._door.address
        stranger = socket.socket(getattr(socket, family))
        stranger.setblocking(False)
        loop = asyncio.get_running_loop()
        with stranger:
            await loop.sock_connect(stranger, where)
            assert len(await loop.sock_recv(stranger, 64)) == 32
            await loop.sock_sendall(stranger, b"x" * 64)
            assert await loop.sock_recv(stranger, 64) == b""
        assert await place.pid() == pid
    assert "knew no service's token was refused" in caplog.text


async def test_what_is_no_method_is_named() -> None:
    async with engine("thread") as flow:
        place = flow.service(Place)()
        with pytest.raises(AttributeError, match="no method 'pit'; did you mean 'pid'"):
            place.pit  # noqa: B018
        with pytest.raises(AttributeError, match="'limit' of service 'Place' is no method"):
            place.limit  # noqa: B018
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            place.pid(now=True)
        with pytest.raises(TypeError, match="service 'Place': too many positional"):
            flow.service(Place)(1)


async def test_what_cannot_be_a_service_is_refused_where_it_is_made() -> None:
    class Taken:
        def stop(self) -> None: ...

    async with engine("thread") as flow:
        with pytest.raises(ConfigurationError, match="a service has a 'stop' of its own"):
            flow.service(Taken)
        with pytest.raises(ConfigurationError, match="takes no 'ready_port'"):
            flow.service(ready_port=80)
        with pytest.raises(TypeError, match="is for a class, not for"):
            flow.service(len)
        with pytest.raises(TypeError, match="cannot be sent to a worker"):
            await asyncio.to_thread(flow.service(Place)().__reduce__)


async def test_a_service_that_is_stopped_before_it_is_up_ends() -> None:
    async with engine() as flow:
        place = flow.service(Place)()
        call = place.pid()
        await place.stop()
        with pytest.raises(ServiceStoppedError):
            await call


@pytest.mark.parametrize("kind", ["thread", "process"])
async def test_calls_made_before_the_stop_are_finished(kind: str) -> None:
    async with engine(kind) as flow:
        place = flow.service(Place)()
        await place
        number = flow.function_task(abs)
        calls = [place.take(7), place.take([7]), place.take([number(-7), number]), place.pid()]
        stopped = place.stop()
        assert isinstance(await calls[3], int)
        assert await asyncio.gather(*calls[:2]) == ["int", "list"]
        with pytest.raises(ServiceStoppedError):
            await calls[2]
        await stopped


async def test_a_method_takes_no_option_of_the_whole_service() -> None:
    async with engine("thread") as flow:
        place = flow.service(Place)()
        for options, why in (
            ({"backend": "other"}, "runs where its service is"),
            ({"priority": 1}, "runs in the order in which calls were sent"),
            ({"resources": {"cores": 2}}, r"give them to the class: flow\.service\(resources="),
            ({"resources": lambda attempt: {"cores": attempt}}, "the resources that its service"),
        ):
            with pytest.raises(ConfigurationError, match=why):
                place.pid.options(**options)()


async def test_a_service_works_where_a_lost_backend_has_a_next() -> None:
    settings = {"max_workers": 2, "executor_type": "process"}
    both = [await factory.create_backend("concurrent", settings, name=name) for name in "ab"]
    async with WorkflowEngine.create(both, failover=True) as flow:
        place = flow.service(Place)()
        assert await place.take(7) == "int"
        assert place._future.backend == "a"


async def test_a_dry_run_starts_no_service() -> None:
    async with WorkflowEngine.create("concurrent", dry_run=True) as flow:
        place = flow.service(Place)()
        await place.pid()
        assert [task.name for task in flow.plan().tasks] == ["Place", "Place.pid"]
