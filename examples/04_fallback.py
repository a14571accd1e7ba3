"""Use the HPC backend if it is installed, and the cores of this machine if it is not."""

from __future__ import annotations

import asyncio

from radical.asyncflow import ExecutionBackend, WorkflowEngine, factory


async def choose_backend() -> ExecutionBackend:
    pilot = factory.list_available_backends()["radical_pilot"]
    if pilot["available"]:
        return await factory.create_backend("radical_pilot", config={"resource": "local.localhost"})
    print(f"RADICAL-Pilot not available: {pilot['installation_hint']}")
    return await factory.create_backend("concurrent")


async def main() -> None:
    for name, info in factory.list_available_backends().items():
        print(f"Backend {name!r}: {'✅' if info['available'] else '❌'}")

    async with WorkflowEngine.create(backend=await choose_backend()) as flow:

        @flow.executable_task
        def where() -> str:
            return "uname -s"

        print(f"{flow.backend.name}: {(await where()).strip()}")


if __name__ == "__main__":
    asyncio.run(main())
