"""A class as a service: its instance lives in one worker, and its methods are tasks there."""

from __future__ import annotations

import difflib
import inspect
import types
from collections.abc import Callable, Generator, Mapping
from typing import Any, NoReturn, Unpack

from .._public import public
from ..errors import ConfigurationError, ServiceStoppedError, UnsupportedOptionError
from ..model import DEFAULT_RESOURCES, TaskKind, TaskSpec
from .description import PARAMETER, whole_description
from .function import TaskFunction
from .future import TaskFuture
from .options import TaskOptions, change_spec, first_spec
from .owner import Owner
from .service import Phase, Service, ServiceFuture

__all__ = ["ServiceClass", "ServiceInstance"]

OPTIONS = ("name", "backend", "resources", "restarts", "retries", "timeout", "task_description")
"""The options of a class that is a service."""

OWN_NAMES = ("stop", "state")


@public("radical.asyncflow")
class ServiceClass:
    """A class whose instances are services: what ``@flow.service`` returns.

    A call starts a service and returns its `ServiceInstance` at once.
    """

    def __init__(self, owner: Owner, kind: type, options: Mapping[str, Any]) -> None:
        self.__name__ = kind.__name__
        self.__qualname__ = kind.__qualname__
        self.__module__ = kind.__module__
        self.__doc__ = kind.__doc__
        self.__wrapped__ = kind
        self._owner = owner
        self._kind = kind
        check_service_options(options)
        if taken := [name for name in OWN_NAMES if hasattr(kind, name)]:
            raise ConfigurationError(
                f"service {kind.__name__!r}: a service has a {taken[0]!r} of its own; give that "
                "of the class another name"
            )
        plain = TaskSpec(kind.__name__, TaskKind.FUNCTION, kind, service=True, cache=False)
        self._spec = first_spec(plain, options)

    def options(self, **options: Any) -> ServiceClass:
        """Return the same class with other options; this one stays as it is.

        Raises:
            ConfigurationError: an option is wrong; the message has every problem.
        """
        check_service_options(options)
        return self._with_spec(change_spec(self._spec, options))

    def _with_spec(self, spec: TaskSpec) -> ServiceClass:
        made = object.__new__(ServiceClass)
        made.__dict__.update(self.__dict__)
        made._spec = spec
        return made

    def __call__(self, /, *args: Any, **kwargs: Any) -> ServiceInstance:
        """Start a service.  Arguments may be futures, or hold futures in containers.

        Raises:
            EngineClosedError: the engine was shut down.
            TypeError: the class does not take these arguments.
            ConfigurationError: there is no such backend, or it runs no such services.
        """
        if PARAMETER in kwargs:
            given = kwargs.pop(PARAMETER)
            whole = whole_description(self._kind, given)
            described = self._with_spec(change_spec(self._spec, {PARAMETER: given}))
            return described._start(args, kwargs if whole is None else {**kwargs, PARAMETER: whole})
        return self._start(args, kwargs)

    def _start(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> ServiceInstance:
        try:
            inspect.signature(self._kind).bind(*args, **kwargs)
        except ValueError:  # a class of C that does not tell
            pass
        except TypeError as error:
            raise TypeError(f"service {self._spec.name!r}: {error}") from None
        future, lane = self._owner.start_instance(self._spec, args, kwargs)
        return ServiceInstance(self._kind, self._owner, future, lane)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"service {self._spec.name!r} belongs to its engine and cannot travel to a worker: a "
            "function that starts services has to be a block (@flow.block)"
        )

    def __repr__(self) -> str:
        return f"<service {self._spec.name!r}>"


@public("radical.asyncflow")
class ServiceInstance:
    """A running service: each of its methods is a task that runs where the instance lives.

    Calls run one after the other, in the order in which they were sent.  Await the service itself
    to wait until it is up.
    """

    def __init__(self, kind: type, owner: Owner, future: ServiceFuture, lane: Any) -> None:
        self._kind = kind
        self._owner = owner
        self._future = future
        self._lane = lane

    @property
    def _service(self) -> Service:
        return self._future._service

    @property
    def state(self) -> str:
        """The state of the service, one of PENDING, RUNNING, DONE (it is up), FAILED, CANCELLED."""
        return self._future.state

    def stop(self) -> Any:
        """Stop the service; await the result to wait for its end.

        Calls that were sent before are finished first, for at most some seconds.
        """
        return self._future.stop()

    def __await__(self) -> Generator[Any, None, ServiceInstance]:
        yield from self._future.__await__()
        return self

    def __getattr__(self, name: str) -> MethodTask:
        function = None if name.startswith("_") else getattr(self._kind, name, None)
        if not isinstance(function, types.FunctionType | types.MethodType):
            raise AttributeError(self._why_not(name, function))
        from ..worker._instance import Method  # with what pickles calls

        bound = function
        if isinstance(inspect.getattr_static(self._kind, name), types.FunctionType):
            bound = types.MethodType(function, self)
        plain = TaskSpec(
            f"{self._future.name}.{name}",
            TaskKind.FUNCTION,
            Method(name, bound),
            backend=self._lane.name,
            cache=False,
        )
        spec = first_spec(plain, {})
        task = MethodTask(self._owner, spec, self._lane, self._service)
        self.__dict__[name] = task
        return task

    def _why_not(self, name: str, found: Any) -> str:
        if found is not None:
            return (
                f"{name!r} of service {self._future.name!r} is no method: the instance is in a "
                "worker, and only methods can be called there; write one that returns it"
            )
        names = [other for other in dir(self._kind) if not other.startswith("_")]
        close = difflib.get_close_matches(name, names, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return f"service {self._future.name!r} has no method {name!r}{hint}"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"service {self._future.name!r} cannot be sent to a worker: call its methods in the "
            "program or in a block, and pass their futures to other tasks"
        )

    def __repr__(self) -> str:
        return f"<service {self._future.id} {self._future.name!r} {self.state}>"


class MethodTask(TaskFunction[..., Any]):
    """A method of a service, whose calls are tasks."""

    def __init__(self, owner: Owner, spec: TaskSpec, lane: Any, service: Service) -> None:
        super().__init__(owner, spec)
        self._lane = lane
        self._service = service

    def options(self, **options: Unpack[TaskOptions]) -> MethodTask:
        return MethodTask(self._owner, self._variant(options), self._lane, self._service)

    def _check(self) -> None:
        """Raise UnsupportedOptionError if an option belongs to the whole service."""
        spec = self._spec
        why = None
        if spec.backend != self._lane.name:
            why = f"runs where its service is, on backend {self._lane.name!r}; leave backend= out"
        elif spec.priority:
            why = "runs in the order in which calls were sent, so it takes no priority"
        elif spec.resources != DEFAULT_RESOURCES or spec.resources_of is not None:
            why = (
                "has the resources that its service has; give them to the class: "
                "flow.service(resources=...)"
            )
        if why is not None:
            raise UnsupportedOptionError(f"task {self.name!r}: a method {why}")

    def __call__(self, /, *args: Any, **kwargs: Any) -> TaskFuture[Any]:
        """Call the method.

        Raises:
            ServiceStoppedError: the service was stopped.
            TypeError: the method does not take these arguments.
            ConfigurationError: an option is one that a method cannot have.
        """
        service = self._service
        if service.phase is Phase.STOPPING or isinstance(service.error, ServiceStoppedError):
            raise ServiceStoppedError(service.name)
        if self._call is None:
            self._check()
            self._call = self._owner.bind_to(self._spec, self._lane)
        return super().__call__(*args, **kwargs)


def check_service_options(options: Mapping[str, Any]) -> None:
    """Raise ConfigurationError if a class that is a service has no such options."""
    unknown = [name for name in options if name not in OPTIONS]
    if unknown:
        names = ", ".join(map(repr, unknown))
        raise ConfigurationError(
            f"a class that is a service takes no {names} (options: {', '.join(OPTIONS)}); give "
            "options of a call to the method: service.method.options(...)"
        )


def decorate_class(
    owner: Owner, kind: Any, options: Mapping[str, Any]
) -> ServiceClass | Callable[[type], ServiceClass]:
    """Return *kind* as a service, or the decorator with *options* if *kind* is None.

    Raises:
        ConfigurationError: an option is wrong; the message has every problem.
        TypeError: *kind* is no class.
    """
    if kind is None:
        check_service_options(options)

        def decorate(body: type) -> ServiceClass:
            made = decorate_class(owner, body, options)
            assert isinstance(made, ServiceClass)
            return made

        return decorate
    if not isinstance(kind, type):
        raise TypeError(
            f"@flow.service is for a class, not for {kind!r}; a command is a service with "
            "@flow.executable_task(service=True)"
        )
    return ServiceClass(owner, kind, options)
