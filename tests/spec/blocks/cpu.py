# Configure for massive CPU parallelism
backend = await factory.create_backend("radical_pilot", config={
    "resource": "tacc.frontera",
    "queue": "normal",
    "nodes": 1000,
    "cores_per_node": 56,
    "walltime": 240  # minutes
})
