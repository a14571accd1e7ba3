async def run_wf(wf_id):
    print(f'Starting workflow {wf_id} at {time.time()}')

    # Create dependent task execution
    t3 = task3(task1(), task2()) # (1)!
    await t3  # Wait for distributed execution to complete

    print(f'Workflow {wf_id} completed at {time.time()}')
