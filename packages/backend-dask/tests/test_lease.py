"""Which scheduler is used, and that nothing is left when none comes up."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit
from urllib.request import urlopen

import pytest
from asyncflow_backend_dask import DaskExecutionBackend
from distributed import Client, LocalCluster
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.aside import in_thread
from radical.asyncflow.errors import BackendStartError
from radical.asyncflow.testing import LeakGuard, RecordingSink


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Make a cluster, as somebody else would."""

    async def beat(dask_worker: Any) -> None:
        await dask_worker.heartbeat()

    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=True, dashboard_address="127.0.0.1:0"
    ) as made:
        # Its scheduler is in this process.  The first use makes it start threads, and the
        # first heartbeat opens a connection: both now, before a leak guard looks.
        with Client(made) as client:
            client.gather(client.map(pow, range(8), [2] * 8))
            client.run(beat)
        yield made


async def works(driver: Any) -> bool:
    (report,) = await driver.run(driver.function(pow, 2, 5))
    return bool(await report.value.fetch() == 32)


async def test_a_given_cluster_is_used_and_left_alone(start: Any, cluster: LocalCluster) -> None:
    driver = await start(cluster=cluster)
    assert await works(driver)
    await driver.backend.shutdown()
    assert cluster.status.name == "running"


async def test_a_given_client_is_used_and_left_alone(start: Any, cluster: LocalCluster) -> None:
    client = await in_thread(Client, cluster)
    try:
        driver = await start(client=client)
        assert await works(driver)
        await driver.backend.shutdown()
        assert await in_thread(lambda: client.submit(pow, 2, 3).result()) == 8
    finally:
        await in_thread(client.close)


async def test_an_address_is_enough(start: Any, cluster: LocalCluster) -> None:
    assert await works(await start(address=cluster.scheduler_address))


async def test_a_scheduler_file_may_come_late(
    start: Any, cluster: LocalCluster, tmp_path: Path
) -> None:
    file = tmp_path / "scheduler.json"
    starting = asyncio.ensure_future(start(scheduler_file=str(file)))
    await asyncio.sleep(0)
    file.write_text(json.dumps({"address": cluster.scheduler_address}))
    assert await works(await starting)


async def test_a_cluster_class_is_made_and_closed(start: Any) -> None:
    driver = await start(
        cluster_class="distributed.LocalCluster",
        cluster_kwargs={"n_workers": 1, "processes": False, "dashboard_address": "127.0.0.1:0"},
    )
    assert await works(driver)


async def test_a_cluster_that_adapts_starts_its_first_worker_for_the_first_task(
    start: Any,
) -> None:
    driver = await start(adapt={"minimum": 0, "maximum": 1}, dashboard_address=None)
    assert await works(driver)


async def test_the_link_to_the_dashboard_is_that_of_the_cluster(
    start: Any, cluster: LocalCluster
) -> None:
    driver = await start(cluster=cluster)
    assert driver.backend.dashboard_link == cluster.dashboard_link


async def test_the_dashboard_of_a_cluster_that_we_start_has_pages(start: Any) -> None:
    driver = await start(n_workers=1, dashboard_address="127.0.0.1:0")

    def page(name: str) -> str:
        with urlopen(urljoin(driver.backend.dashboard_link, name), timeout=60) as answer:
            return str(answer.read().decode())

    assert urlsplit(driver.backend.dashboard_link).path == "/status"
    assert "Dask Diagnostic UI" in await in_thread(page, "/status")
    # Without Bokeh there is none of the plots.
    assert "individual-workers" in await in_thread(page, "/individual-plots.json")


async def refused(settings: dict[str, Any]) -> str:
    """Return the message of a start that must fail and leave nothing."""
    backend = DaskExecutionBackend(**settings)
    async with LeakGuard(), asyncio.timeout(200):
        with pytest.raises(BackendStartError) as caught:
            await backend.start(RecordingSink())
        await backend.shutdown()
    return str(caught.value)


async def test_nobody_at_the_address_is_an_error_after_startup_timeout() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        assert "startup_timeout=0.5" in await refused({"address": address, "startup_timeout": 0.5})


async def test_an_own_cluster_that_is_too_slow_leaves_nothing() -> None:
    message = await refused({"n_workers": 1, "startup_timeout": 0.2, "dashboard_address": None})
    assert "within startup_timeout=0.2 s: the cluster did not come up" in message


async def test_a_scheduler_without_workers_is_named_as_that() -> None:
    with LocalCluster(
        n_workers=0, processes=False, protocol="tcp://", dashboard_address="127.0.0.1:0"
    ) as empty:
        message = await refused({"address": empty.scheduler_address, "startup_timeout": 3.0})
    assert f"the scheduler at {empty.scheduler_address} has no worker" in message


async def test_a_cluster_class_that_raises_is_told_with_its_reason() -> None:
    def broken(queue: str) -> None:
        raise ValueError(f"there is no queue {queue}")

    message = await refused({"cluster_class": broken, "cluster_kwargs": {"queue": "long"}})
    assert "there is no queue long" in message


async def test_a_cluster_class_that_is_not_installed_is_named() -> None:
    assert "no_such_module" in await refused({"cluster_class": "no_such_module.Cluster"})


async def test_what_is_named_as_a_cluster_class_and_is_none_is_not_called(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    message = await refused(
        {"cluster_class": "subprocess.Popen", "cluster_kwargs": {"args": ["touch", str(trace)]}}
    )
    assert "'subprocess.Popen' is not the class of a Dask cluster" in message
    assert not trace.exists()
    assert "is not the class" in await refused({"cluster_class": "subprocess.run"})


async def test_require_tls_refuses_a_plain_scheduler(cluster: LocalCluster) -> None:
    message = await refused({"address": cluster.scheduler_address, "require_tls": True})
    assert "tls://" in message


async def test_tls_of_its_own(start: Any) -> None:
    driver = await start(n_workers=1, dashboard_address=None, security=True, require_tls=True)
    assert await works(driver)


async def test_cancelling_the_start_leaves_nothing() -> None:
    backend = DaskExecutionBackend(n_workers=1, dashboard_address=None)
    async with LeakGuard():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(backend.start(RecordingSink()), 0.5)
        await backend.shutdown()


async def test_a_version_that_differs_is_warned_of_with_the_table(
    start: Any, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import versions

    genuine = versions.get_versions

    def other(*args: Any, **options: Any) -> Any:
        found = genuine(*args, **options)
        found["packages"]["dask"] = "1999.1.0"
        return found

    monkeypatch.setattr(versions, "get_versions", other)
    with pytest.warns(Warning, match=r"(?s)Mismatched versions found.*1999\.1\.0"):
        driver = await start(address=cluster.scheduler_address)
    assert await works(driver)


async def test_two_engines_share_a_cluster(cluster: LocalCluster) -> None:
    async def run(number: int) -> int:
        async with WorkflowEngine.create("dask", config={"cluster": cluster}) as flow:
            add = flow.function_task(lambda left, right: left + right)
            return int(await add(add(number, 1), 1))

    assert await asyncio.gather(run(1), run(10)) == [3, 12]
