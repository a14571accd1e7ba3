import time
import asyncio
from radical.asyncflow import factory, WorkflowEngine


async def main():
    # HPC backend configuration using factory
    backend = await factory.create_backend(
        "radical_pilot",
        config={
            "resource": "local.localhost"  # (1)!
        },
    )
    flow = await WorkflowEngine.create(backend=backend)

    @flow.executable_task  # (1)!
    async def task1(*args):
        return "/bin/date"

    @flow.executable_task
    async def task2(*args):
        return "/bin/date"

    @flow.executable_task
    async def task3(*args):
        return "/bin/date"

    async def run_wf(wf_id):
        print(f"Starting workflow {wf_id} at {time.time()}")

        # Create dependent task execution
        t3 = task3(task1(), task2())  # (1)!
        await t3  # Wait for distributed execution to complete

        print(f"Workflow {wf_id} completed at {time.time()}")

    start_time = time.time()

    # Execute 5 workflows concurrently across HPC infrastructure
    await asyncio.gather(*[run_wf(i) for i in range(5)])  # (1)!

    end_time = time.time()
    print(f"\nTotal time running asynchronously is: {end_time - start_time}")

    # Proper cleanup of HPC resources
    await flow.shutdown()


asyncio.run(main())
