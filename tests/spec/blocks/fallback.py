# Check if HPC backend is available before creating
backends = factory.list_available_backends()
if backends["radical_pilot"]["available"]:
    backend = await factory.create_backend("radical_pilot", config={...})
else:
    print(f"RADICAL-Pilot not available: {backends['radical_pilot']['installation_hint']}")
    # Fallback to local execution
    backend = await factory.create_backend("concurrent")
