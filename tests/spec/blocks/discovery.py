from radical.asyncflow import factory

# List available backends
backends = factory.list_available_backends()
for name, info in backends.items():
    print(f"Backend '{name}': {'✅' if info['available'] else '❌'}")
    if not info['available']:
        print(f"  Installation hint: {info['installation_hint']}")
