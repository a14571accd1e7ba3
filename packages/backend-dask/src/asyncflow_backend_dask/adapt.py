"""The bounds of a cluster that follows the load, and the words that its class takes for them."""

from __future__ import annotations

import inspect
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Adapt", "adapt_keywords", "unknown_words"]


class Adapt(BaseModel):
    """The bounds between which the number of workers follows the load.

    Beside `minimum` and `maximum` it may hold whatever the method ``adapt`` of the cluster's
    class takes.
    """

    model_config = ConfigDict(extra="allow", strict=True)

    minimum: int = Field(default=0, ge=0, description="Workers that are always there.")
    maximum: int | None = Field(default=None, ge=1, description="Workers at the most.")

    def problem(self) -> str | None:
        """Return what is wrong with the bounds; None if nothing is."""
        options = self.options()
        upper = [name for name in options if name.startswith("maximum")]
        if not upper:
            return (
                "adapt has no maximum: say how many workers there are at the most, by maximum or "
                "by another upper bound that the cluster takes, such as maximum_jobs"
            )
        for name in upper:
            least_name = name.replace("maximum", "minimum", 1)
            least, most = options.get(least_name), options[name]
            numbers = isinstance(least, int | float) and isinstance(most, int | float)
            if numbers and least > most:
                return f"adapt: {least_name} ({least}) is above {name} ({most})"
        return None

    @property
    def may_be_empty(self) -> bool:
        """True if there may be no worker at all while there is nothing to do."""
        bounds = [value for name, value in self.options().items() if name.startswith("minimum")]
        return not any(bounds)

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments for the method ``adapt`` of a cluster."""
        more = dict(self.model_extra or {})
        bounds: dict[str, Any] = {}
        # A default beside another lower bound would be a second one.
        if "minimum" in self.model_fields_set or not any(
            name.startswith("minimum") for name in more
        ):
            bounds["minimum"] = self.minimum
        if self.maximum is not None:
            bounds["maximum"] = self.maximum
        return {**bounds, **more}


def unknown_words(adapt: Adapt, cluster_class: Any) -> str | None:
    """Return which words of *adapt* a class of clusters does not take, and what it takes.

    None means that it takes them all, or that the class does not show what it takes.
    """
    known = adapt_keywords(cluster_class)
    if known is None:
        return None
    unknown = sorted(adapt.options().keys() - known)
    if not unknown:
        return None
    return (
        f"adapt: {cluster_class.__name__} does not take {', '.join(map(repr, unknown))}; it takes "
        f"{', '.join(map(repr, sorted(known)))}"
    )


def adapt_keywords(cluster_class: Any) -> frozenset[str] | None:
    """Return the keywords that the method ``adapt`` of a class takes; None if that is not shown.

    A method that takes any keyword passes on what it does not know: to the method of its base
    class, and in the end to Dask's ``Adaptive``.
    """
    names: set[str] = set()
    for cls in inspect.getmro(cluster_class) if inspect.isclass(cluster_class) else ():
        method = vars(cls).get("adapt")
        if not inspect.isfunction(method):
            continue
        passes_on = _add_keywords(names, method)
        if not passes_on:
            return frozenset(names)
        if cls.__module__.partition(".")[0] == "distributed" and cls.__name__ == "Cluster":
            from distributed.deploy.adaptive import Adaptive

            _add_keywords(names, Adaptive.__init__)
            return frozenset(names - {"cluster"})
    return None


def _add_keywords(names: set[str], method: Any) -> bool:
    """Add the keywords of *method*; return whether it takes any other one, too."""
    _, *parameters = inspect.signature(method).parameters.values()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names.update(one.name for one in parameters if one.kind in named)
    return any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)
