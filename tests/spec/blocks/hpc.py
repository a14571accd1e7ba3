# HPC execution with RADICAL-Pilot
from radical.asyncflow import factory

# Create backend using factory
backend = await factory.create_backend("radical_pilot", config={
    "resource": "local.localhost"
})
