"""A module of the public AsyncFlow; a backend is written for `radical.asyncflow.backend`."""

from ..._former import former_names

__all__: list[str] = []  # not in the reference

__getattr__, __dir__ = former_names(
    __name__,
    {},
    gone={
        "BaseExecutionBackend": (
            "a backend derives from radical.asyncflow.ExecutionBackend, which has other methods; "
            "the page 'Writing a backend' of the documentation describes them"
        )
    },
)
