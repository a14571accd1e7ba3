@flow.executable_task # (1)!
async def task1(*args):
    return "/bin/date"

@flow.executable_task
async def task2(*args):
    return "/bin/date"

@flow.executable_task
async def task3(*args):
    return "/bin/date"
