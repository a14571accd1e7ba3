"""The backend `skeleton` of radical.asyncflow."""
