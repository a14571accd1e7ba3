import time
import asyncio
from radical.asyncflow import factory, WorkflowEngine

# HPC backend configuration using factory
backend = await factory.create_backend("radical_pilot", config={
    "resource": "local.localhost"  # (1)!
})
flow = await WorkflowEngine.create(backend=backend)
