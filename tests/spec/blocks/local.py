# Local execution with concurrent backend
from radical.asyncflow import factory

# Create backend using factory
backend = await factory.create_backend("concurrent", config={
    "max_workers": 4,
    "executor_type": "thread"  # or "process"
})
