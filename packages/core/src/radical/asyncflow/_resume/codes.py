"""Describe functions, classes and modules by all that they can reach.

A description names each piece of code once and refers to it by its number, so that functions
may call each other in circles.  Whatever is reached and cannot be described completely makes
the whole `Unidentified`: it is never passed over.
"""

from __future__ import annotations

import builtins
import functools
import gc
import importlib
import inspect
import math
import os
import pkgutil
import runpy
import sys
import types
from collections import deque
from collections.abc import Callable, Collection, Iterator
from functools import partial
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import PurePath
from typing import Any

from .._task.function import TaskFunction
from .bytecode import Chain, Import, code_hash, names_of
from .distributions import HEAP_TYPE, Home, home_of_file, home_of_module, installed_name, version_of
from .modules import Needed, absolute_name, extension_hash, find_module, read_module
from .values import SINGLE, TEXTUAL, Leaf, Unidentified, ValueWalk, hash_parts, is_code
from .watches import MISSING, Watches

__all__ = ["CodeWalk", "fingerprint"]

OPAQUE: tuple[Callable[..., Any], ...] = (
    builtins.eval,
    builtins.exec,
    builtins.globals,
    builtins.compile,
    builtins.__import__,
    importlib.import_module,
    importlib.__import__,
    importlib.reload,
    runpy.run_module,
    runpy.run_path,
    pkgutil.resolve_name,
    sys._getframe,
    inspect.currentframe,
    inspect.stack,
    inspect.getsource,
    inspect.getsourcelines,
    inspect.getmodule,
    gc.get_objects,
    gc.get_referrers,
)
"""Functions that reach what no name in the code tells."""

PARTS_AT_MOST = 60
"""The most things that a function reaches whose names are kept."""

OPAQUE_NAMES = frozenset(
    ["__globals__", "__subclasses__", "__builtins__", "f_globals", "f_locals", "f_back"]
)
OPAQUE_MODULES = frozenset({"builtins", "importlib", "inspect", "runpy", "gc", "__main__"})

READS_TEXT = frozenset(
    {"__doc__", "getdoc", "help", "cleandoc", "__annotations__", "signature"}
) | {
    "get_type_hints",
    "get_annotations",
    "getfullargspec",
    "fields",
}
"""Names by which code reads docstrings or annotations, which do not count otherwise."""

DERIVED = frozenset(
    [
        "__dict__",
        "__weakref__",
        "__doc__",
        "__module__",
        "__qualname__",
        "__slotnames__",
        "__firstlineno__",
        "__static_attributes__",
        "__annotations_cache__",
        "__classdictcell__",
        "_abc_impl",
        "__pydantic_core_schema__",
        "__pydantic_validator__",
        "__pydantic_serializer__",
        "__signature__",
        "__pydantic_parent_namespace__",
        "__pydantic_setattr_handlers__",
        "__pydantic_complete__",
        "__pydantic_generic_metadata__",
        "__pydantic_fields_complete__",
        "__pydantic_decorators__",
        "__pydantic_post_init__",
        "__pydantic_root_model__",
        "__pydantic_custom_init__",
    ]
)
"""Members of a class that are made from its other members, or say where it stands."""

FIXED_TYPES = TEXTUAL | SINGLE

FIXED_NAMES = frozenset(
    [
        "datetime.date",
        "datetime.datetime",
        "datetime.time",
        "datetime.timedelta",
        "datetime.timezone",
        "decimal.Decimal",
        "fractions.Fraction",
        "re.Pattern",
        "uuid.UUID",
        "numpy.dtype",
        "numpy.bool",
        "numpy.float64",
        "numpy.float32",
        "numpy.int64",
        "numpy.int32",
        "operator.itemgetter",
        "operator.attrgetter",
        "operator.methodcaller",
        "_struct.Struct",
        "_thread.lock",
        "logging.Logger",
    ]
)


CONSTANTS: dict[str, float | None] = {
    "numpy.newaxis": None,
    "numpy.euler_gamma": 0.5772156649015329,
    **{
        f"{module}.{name}": getattr(math, name)
        for module, names in (("math", ("tau",)), ("cmath", ("tau",)), ("numpy", ()))
        for name in ("pi", "e", "inf", "nan", *names)
    },
}
"""Values in installed modules that are known before these are imported."""


def is_fixed(value: Any) -> bool:
    """Tell whether the content of *value* cannot change, but for code, which is watched."""
    kind = type(value)
    if kind in FIXED_TYPES or is_code(value) or isinstance(value, PurePath):
        return True
    if kind is tuple or kind is frozenset:
        return all(map(is_fixed, value))
    if kind is types.MethodType:
        return is_fixed(value.__self__)
    if kind is staticmethod or kind is classmethod or kind is functools.cached_property:
        return True
    if kind is property:
        return True
    return f"{kind.__module__}.{kind.__qualname__}" in FIXED_NAMES


class _Fingerprints(ValueWalk):
    """A walk whose hashes hold in this process only: code counts by its identity."""

    def __init__(self, leaf: Leaf, *, computed: bool) -> None:
        super().__init__(leaf, computed=computed)
        self._in_order = True

    def reference(self, value: Any) -> bytes:
        return id(value).to_bytes(8, "big")


def fingerprint(value: Any, computed: bool = True) -> tuple[bytes, bool]:
    """Return bytes that differ if the content of *value* differs, in this process.

    Args:
        computed: whether the values of cached properties count.

    Returns:
        The bytes, and whether there are values of cached properties.
    """

    def leaf(item: Any) -> bytes | None:
        return id(item).to_bytes(8, "big") if isinstance(item, TaskFunction) else None

    walk = _Fingerprints(leaf, computed=computed)
    try:
        return walk.content(value), walk.met_computed
    except Unidentified as reason:
        return str(reason).encode(), walk.met_computed


class CodeWalk(ValueWalk):
    """A walk through a value and all code that it can reach.

    Args:
        ignored: the distributions whose versions do not count; True for all.

    Attributes:
        watches: what has to stay as it is for the description to hold.
        parts: the first of what was reached, by name, each with the beginning of its hash or
            with its version; it only serves to tell somebody what changed.
    """

    def __init__(self, ignored: Collection[str] | bool = False, leaf: Leaf | None = None) -> None:
        super().__init__(leaf)
        self.watches = Watches(fingerprint)
        self.parts: dict[str, str] = {}
        self._ignored = ignored
        self._numbers: dict[int, int] = {}
        self._queue: deque[Any] = deque()
        self._texts: list[tuple[str, Callable[[], Any]]] = []
        self._reads_text = False
        self._home_names: dict[int, bytes] = {}

    def describe(self, value: Any) -> bytes:
        """Return the hash of *value* and of all that it can reach.

        Raises:
            Unidentified: something of that cannot be described.
        """
        digests = [self.content(value)]
        while self._queue or (self._reads_text and self._texts):
            if self._queue:
                digests.append(self._piece(self._queue.popleft()))
                continue
            texts, self._texts = self._texts, []
            digests += [self._bind(where, read()) for where, read in texts]
        return hash_parts(*digests)

    def reference(self, value: Any) -> bytes:
        known = self._home_names.get(id(value))
        if known is not None:
            return known
        number = self._numbers.get(id(value))
        if number is None:
            _check_transparent(value)
            found = installed_name(value)
            if found is not None:
                name = self._installed(*found) + self._patches(value)
                self._home_names[id(value)] = name
                self.watches.keep(value)
                return name
            number = self._numbers[id(value)] = len(self._numbers)
            self.watches.keep(value)
            self._queue.append(value)
        return b"piece %d" % number

    def _inside(self, value: Any, kind: type) -> bytes:
        if isinstance(value, TaskFunction):
            spec = value.spec
            named = f"{spec.kind} {spec.name} {spec.version}".encode()
            return hash_parts(b"task", named, self.content(spec.function))
        return super()._inside(value, kind)

    def _installed(self, home: Home, name: str) -> bytes:
        version = version_of(home, self._ignored)
        self._note(f"the version of {home.name}", version)
        return f"{name} of {home.name} {version}".encode()

    def _note(self, name: str, what: str) -> None:
        if len(self.parts) < PARTS_AT_MOST:
            self.parts.setdefault(name, what)

    def _patches(self, value: Any) -> bytes:
        """Return what stands for the user's functions that replace those of an installed class."""
        if not isinstance(value, type) or not value.__flags__ & HEAP_TYPE:
            return b""
        self.watches.methods(value)
        own = [
            name.encode() + self.reference(member)
            for kind in value.__mro__
            for name, member in vars(kind).items()
            if isinstance(member, types.FunctionType)
            and home_of_file(member.__code__.co_filename) is None
            and os.path.exists(member.__code__.co_filename)  # noqa: PTH110 - not generated code
        ]
        return b"".join(own)

    def _bind(self, where: str, value: Any) -> bytes:
        """Return the content of *value*, which is found at *where*, and watch it."""
        self._in_order = True  # code may loop over a dict that it reaches
        try:
            _check_transparent(value)
            digest = self.content(value)
        except Unidentified as reason:
            raise Unidentified(f"{where.removesuffix(': ')}: {reason}") from reason
        except RecursionError:
            raise Unidentified(f"{where.removesuffix(': ')} is nested too deeply") from None
        if not is_fixed(value):
            self.watches.value(where, value)
        if not is_code(value):  # its code is noted itself
            self._note(where.removesuffix(": "), digest[:4].hex())
        return digest

    # --------------------------------------------------------------- pieces

    def _piece(self, value: Any) -> bytes:
        if isinstance(value, types.FunctionType):
            parts = self._function(value)
        elif isinstance(value, type):
            parts = self._class(value)
        elif isinstance(value, types.ModuleType):
            parts = self._module(value)
        elif isinstance(value, types.CodeType):
            parts = iter([code_hash(value)])
        elif isinstance(value, functools._lru_cache_wrapper):
            parts = self._cached(value)
        else:
            parts = self._compiled(value)
        return hash_parts(type(value).__name__.encode(), *parts)

    def _function(self, function: types.FunctionType) -> Iterator[bytes]:
        code = function.__code__
        name = _name_of(function)
        self.watches.function(function)
        yield function.__name__.encode()
        own = code_hash(code)
        self._note(f"the code of {name}", own[:4].hex())
        yield own
        for default in function.__defaults__ or ():
            yield self._bind(f"a default of {name}", default)
        for key, default in sorted((function.__kwdefaults__ or {}).items()):
            yield key.encode()
            yield self._bind(f"the default of {key} of {name}", default)
        attributes = function.__dict__
        if "registry" in attributes and "dispatch" in attributes and "_clear_cache" in attributes:
            yield from self._dispatcher(function, name)
            return
        yield from self._closure(function, name)
        for key, value in sorted(attributes.items()):
            self.watches.name(f"{name}.", attributes, key, value)
            yield key.encode()
            yield self._bind(f"{name}.{key}", value)
        self._texts.append((f"{name}.__doc__", partial(getattr, function, "__doc__", None)))
        self._texts.append((f"{name}.__annotations__", partial(_annotations, function)))
        home = home_of_file(code.co_filename)
        if home is not None:  # its surroundings are those of a distribution
            yield self._installed(home, function.__qualname__)
            return
        yield from self._surroundings(function, name)

    def _dispatcher(self, function: types.FunctionType, name: str) -> Iterator[bytes]:
        """Yield the parts of what `functools.singledispatch` made."""
        registry = dict(function.registry)  # type: ignore[attr-defined]
        self.watches.size(name, function.registry)  # type: ignore[attr-defined]
        self.watches.value(name, function.registry)  # type: ignore[attr-defined]
        for kind in sorted(registry, key=lambda kind: f"{kind.__module__}.{kind.__qualname__}"):
            yield self.reference(kind)
            yield self._bind(f"{name} for a {kind.__name__}", registry[kind])

    def _closure(self, function: types.FunctionType, name: str) -> Iterator[bytes]:
        free = function.__code__.co_freevars
        for variable, cell in zip(free, function.__closure__ or (), strict=True):
            self.watches.cell(f"{variable} in {name}", cell)
            yield variable.encode()
            try:
                value = cell.cell_contents
            except ValueError:  # not bound yet
                continue
            chains = [chain for chain in names_of(function.__code__).free if chain[0] == variable]
            if isinstance(value, types.ModuleType) and all(len(chain) > 1 for chain in chains):
                for chain in chains:
                    yield self._chain(value.__name__, value, chain[1:])
            else:
                yield self._bind(f"{variable} in {name}", value)

    def _surroundings(self, function: types.FunctionType, name: str) -> Iterator[bytes]:
        """Yield what the body takes from its module, and from those that it imports."""
        around = function.__globals__
        names = names_of(function.__code__)
        if hidden := names.attributes & OPAQUE_NAMES:
            raise Unidentified(f"{name} uses {min(hidden)}, so what it reaches cannot be known")
        self._reads_text = self._reads_text or not READS_TEXT.isdisjoint(names.attributes)
        where = "" if around.get("__name__") == "__main__" else f"{around.get('__name__')}."
        seen: set[Chain] = set()
        for chain in names.chains:
            value = around.get(chain[0], MISSING)
            if (chain[0],) in seen:
                continue
            if not isinstance(value, types.ModuleType):
                chain = chain[:1]
            seen.add(chain)
            self.watches.name(where, around, chain[0], value)
            yield chain[0].encode()
            yield self._looked_up(f"{where}{chain[0]}", chain, value, around)
        for found in names.imports:
            yield from self._imported(found, around)

    def _looked_up(self, where: str, chain: Chain, value: Any, around: dict[str, Any]) -> bytes:
        if value is not MISSING:
            return self._chain(where, value, chain[1:])
        inside = around.get("__builtins__", builtins)
        inside = vars(inside) if isinstance(inside, types.ModuleType) else inside
        value = inside.get(chain[0], MISSING)
        return b"not there" if value is MISSING else self._bind(where, value)

    def _chain(self, where: str, value: Any, attributes: Chain) -> bytes:
        """Return what stands for *attributes*, looked up on *value* one after the other."""
        parts: list[bytes] = []
        while isinstance(value, types.ModuleType) and attributes:
            attribute, *rest = attributes
            attributes = tuple(rest)
            home = installed_name(value)
            members = vars(value)
            found = members.get(attribute, MISSING)
            self.watches.name(f"{where}.", members, attribute, found)
            where = f"{where}.{attribute}"
            parts.append(attribute.encode())
            if home is not None:
                parts.append(self._installed(home[0], home[1]))
                if found is MISSING or self._is_part(found):
                    _check_transparent(found)
                    if isinstance(found, type):
                        parts.append(self.reference(found))
                    return hash_parts(*parts)
            elif found is MISSING:
                if "__getattr__" in members:
                    raise Unidentified(f"{where} is made by a module's own __getattr__")
                return hash_parts(*parts, b"not there")
            value = found
        return hash_parts(*parts, self._bind(where, value))

    def _is_part(self, value: Any) -> bool:
        """Tell whether *value*, found in an installed module, counts by its name there."""
        if isinstance(value, types.ModuleType | functools.partial) or type(value) in FIXED_TYPES:
            return False
        if isinstance(value, types.FunctionType) and home_of_file(value.__code__.co_filename):
            return not value.__closure__ or installed_name(value) is not None
        if isinstance(value, types.MethodType):
            return self._is_part(value.__func__)
        if isinstance(value, list | tuple | dict | set | frozenset):
            return value is sys.modules or not _is_plain(value)
        if is_code(value) and not isinstance(value, types.BuiltinFunctionType):
            return installed_name(value) is not None
        return installed_name(type(value)) is not None

    def _imported(self, found: Import, around: dict[str, Any]) -> Iterator[bytes]:
        """Yield what stands for an import inside of a function."""
        name = absolute_name(found.module, found.level, around.get("__package__") or None)
        yield name.encode()
        home = _home_before_or_after(name)
        if home is not None:
            yield from self._installed_import(name, found, home)
            return
        module = sys.modules.get(name)
        if module is None:
            yield self._unimported(name, found)
            return
        if found.top:
            module = sys.modules.get(name.partition(".")[0], module)
        if found.chains is None:
            yield self._bind(f"the module {name}", module)
            return
        for chain in found.chains:
            inside = f"{name}.{chain[0]}"
            if not hasattr(module, "__path__") or chain[0] in vars(module):
                yield self._chain(name, module, chain)
            elif inside in sys.modules:
                yield self._chain(inside, sys.modules[inside], chain[1:])
            else:
                yield self._unimported(inside, None)

    def _installed_import(self, name: str, found: Import, home: Home) -> Iterator[bytes]:
        """Yield what stands for an import from a distribution: the same before and after it.

        So a task that is the first to import something has the identity of those that follow.
        What is there already counts as well where it is not as the distribution has it.
        """
        yield self._installed(home, name)
        yield repr(found.chains).encode()
        first = name.partition(".")[0] if found.top else name
        for needed in {first, name}:
            if sys.modules.get(needed) is None:
                self.watches.absent(needed)
        module = sys.modules.get(first)
        if module is not None:
            for chain in found.chains or ((),):
                if changes := tuple(self._changes(first, module, chain, home)):
                    yield hash_parts(repr(chain).encode(), *changes)

    def _changes(self, where: str, value: Any, attributes: Chain, home: Home) -> Iterator[bytes]:
        """Yield what of *attributes* is not as the distribution *home* has it, or may not be."""
        while isinstance(value, types.ModuleType) and attributes:
            own, members, attribute = installed_name(value), vars(value), attributes[0]
            if own is None and getattr(value, "__file__", None) is not None:
                yield self._chain(where, value, attributes)
                return
            if own is not None and own[0] != home:
                yield self._installed(*own)
            found = members.get(attribute, MISSING)
            inside = f"{value.__name__}.{attribute}"
            where, attributes = f"{where}.{attribute}", attributes[1:]
            if found is MISSING:
                self.watches.absent_name(where, members, attribute)
                found = sys.modules.get(inside)
                if found is None:  # not imported yet, or made by the module's own __getattr__
                    return
            else:
                self.watches.name(where.removesuffix(attribute), members, attribute, found)
            if _is_constant(inside, found):
                return
            if own is not None and self._is_part(found):
                _check_transparent(found)
                if isinstance(found, type):
                    its = installed_name(found)
                    if its is None or its[0] != home or self._patches(found):
                        yield self.reference(found)
                return
            value = found
        own = installed_name(value) if isinstance(value, types.ModuleType) else None
        if own is None or own[0] != home:
            yield self._bind(where, value)
        else:
            _check_transparent(value)

    def _unimported(self, name: str, found: Import | None) -> bytes:
        """Return what stands for a module that is not imported yet, and for those it imports."""
        self.watches.absent(name)
        digests: set[bytes] = set()
        waiting = [Needed(name, None)]
        if found is not None and found.chains is not None:
            waiting = _needed_of(name, found)
        seen: set[Needed] = set()
        while waiting:
            one = waiting.pop()
            if one in seen:
                continue
            seen.add(one)
            parent = one.module.rpartition(".")[0]
            if parent:
                waiting.append(Needed(parent, frozenset()))
            if one.module != name and one.module in sys.modules:
                imported = sys.modules[one.module]
                digest = self._bind(f"the module {one.module}", imported)
                digests.add(one.module.encode() + digest)
                continue
            module = find_module(one.module)
            if module is None:
                if parent and find_module(parent) is not None:
                    continue  # it is something in its parent, where it counts by its name
                raise Unidentified(f"the module {one.module} cannot be found")
            if module.home is not None:
                digests.add(self._installed(module.home, one.module.partition(".")[0]))
            elif module.path:
                self.watches.file(module.path)
                digest, more = read_module(module, one.names)
                digests.add(one.module.encode() + digest)
                waiting += more
        return hash_parts(*sorted(digests))

    def _class(self, kind: type) -> Iterator[bytes]:
        name = f"{kind.__module__}.{kind.__qualname__}"
        self.watches.members(kind)
        yield name.encode()
        module = sys.modules.get(kind.__module__)
        if _is_extension(module):
            yield extension_hash(str(module.__file__))  # type: ignore[union-attr]
        if type(kind) is not type:
            yield self.reference(type(kind))
        for base in kind.__bases__:
            yield self.reference(base)
        self._texts.append((f"{kind.__qualname__}.__doc__", partial(vars(kind).get, "__doc__")))
        for key, member in sorted(vars(kind).items()):
            if key in DERIVED or (key == "__annotations__" and not member):
                continue
            yield key.encode()
            yield self._bind(f"{kind.__qualname__}.{key}", member)

    def _module(self, module: types.ModuleType) -> Iterator[bytes]:
        """Yield all that is in a module of the user's, of which more than parts is used."""
        name = module.__name__
        members = vars(module)
        yield name.encode()
        if _is_extension(module):
            yield extension_hash(str(module.__file__))
            return
        self.watches.size(f"the module {name}", members)
        for key, value in sorted(members.items()):
            if not key.startswith("__") or key == "__getattr__":
                self.watches.name(f"{name}.", members, key, value)
                yield key.encode()
                yield self._bind(f"{name}.{key}", value)

    def _cached(self, wrapper: Any) -> Iterator[bytes]:
        yield repr(sorted(wrapper.cache_parameters().items())).encode()
        yield self.content(wrapper.__wrapped__)
        for key, value in sorted(wrapper.__dict__.items()):
            if key not in ("__wrapped__", "cache_parameters", "__doc__", "__annotations__"):
                yield key.encode()
                yield self._bind(f"{wrapper.__qualname__}.{key}", value)
        self.watches.value(wrapper.__qualname__, wrapper.__dict__)

    def _compiled(self, value: Any) -> Iterator[bytes]:
        """Yield the parts of a built-in function, or of a member that C code made."""
        name = str(getattr(value, "__qualname__", getattr(value, "__name__", "")))
        yield name.encode()
        owner = getattr(value, "__objclass__", None)
        if isinstance(owner, type):
            yield self.reference(owner)
            return
        owner = getattr(value, "__self__", None)
        if owner is not None and not isinstance(owner, types.ModuleType):
            yield self._bind(f"the object of {name}", owner)
            return
        module = sys.modules.get(str(getattr(owner, "__name__", None) or value.__module__))
        if not _is_extension(module):
            raise Unidentified(f"the code of {name} cannot be read")
        yield extension_hash(str(module.__file__))  # type: ignore[union-attr]


def _home_before_or_after(name: str) -> Home | None:
    """Return the distribution of the module *name*, whether it is imported or not."""
    module = sys.modules.get(name)
    if module is not None:
        return home_of_module(name) if isinstance(module, types.ModuleType) else None
    found = find_module(name)
    return None if found is None else found.home


def _is_constant(name: str, value: Any) -> bool:
    """Tell whether *value* is the mathematical constant that *name* means in every version."""
    known = CONSTANTS.get(name, MISSING)
    return type(value) is type(known) and repr(value) == repr(known)


def _annotations(function: types.FunctionType) -> list[Any]:
    """Return the annotations of *function*, and what the names in those that are texts mean."""
    found = getattr(function, "__annotations__", {})
    meant: list[Any] = []
    for text in found.values():
        if isinstance(text, str):
            try:
                code = compile(text, "<annotation>", "eval")
            except SyntaxError:
                continue
            names = sorted({chain[0] for chain in names_of(code).chains})
            meant += [function.__globals__.get(one) for one in names]
    return [found, meant]


def _needed_of(name: str, found: Import) -> list[Needed]:
    """Return the modules that an import needs, and what of them."""
    chains = found.chains or ()
    if not found.top:
        names = frozenset(chain[0] for chain in chains)
        return [Needed(name, names), *(Needed(f"{name}.{one}", None) for one in sorted(names))]
    needed = [Needed(name, frozenset())]
    top = name.partition(".")[0]
    for chain in chains:
        module, rest = top, chain
        while rest and (f"{module}.{rest[0]}" == name or name.startswith(f"{module}.{rest[0]}.")):
            module, rest = f"{module}.{rest[0]}", rest[1:]
        if not rest:
            needed.append(Needed(module, None))
        else:
            needed.append(Needed(module, frozenset({rest[0]})))
            needed.append(Needed(f"{module}.{rest[0]}", None))
    return needed


def _check_transparent(value: Any) -> None:
    """Raise Unidentified if *value* reaches what no name in the code tells."""
    for opaque in OPAQUE:
        if value is opaque:
            raise Unidentified(f"{opaque.__name__}() is used, so what is reached cannot be known")
    if value is sys.modules:
        raise Unidentified("sys.modules is used, so what is reached cannot be known")
    if isinstance(value, types.ModuleType) and value.__name__ in OPAQUE_MODULES:
        raise Unidentified(f"the module {value.__name__} is used as a whole")


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, value)) and all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(_is_plain, value))
    return type(value) in FIXED_TYPES


def _is_extension(module: types.ModuleType | None) -> bool:
    file = getattr(module, "__file__", None)
    return (
        isinstance(file, str)
        and file.endswith(tuple(EXTENSION_SUFFIXES))
        and module is not None
        and home_of_module(module.__name__) is None
    )


def _name_of(function: types.FunctionType) -> str:
    module = "" if function.__module__ == "__main__" else f"{function.__module__}."
    return f"{module}{function.__qualname__}()"
