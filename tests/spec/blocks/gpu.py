# Configure for GPU-accelerated computing
backend = await factory.create_backend("radical_pilot", config={
    "resource": "ornl.summit",
    "queue": "gpu",
    "nodes": 100,
    "gpus_per_node": 6,
    "walltime": 120  # minutes
})
