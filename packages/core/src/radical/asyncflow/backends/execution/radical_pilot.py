"""A module of the public AsyncFlow; import its name from `radical.asyncflow`."""

from ..._former import former_names

__all__: list[str] = []  # not in the reference

__getattr__, __dir__ = former_names(
    __name__, {"RadicalExecutionBackend": ":RadicalExecutionBackend"}
)
