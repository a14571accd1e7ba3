"""The plugin `skeleton` of radical.asyncflow."""
