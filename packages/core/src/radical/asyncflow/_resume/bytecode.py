"""Hash compiled code, and find the names that it looks up.

The bytecode is what this process runs, whatever its file says by now.  It has no comments and no
layout, and it exists where no source does: in a notebook, on stdin, for a lambda.
"""

from __future__ import annotations

import dis
import types
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar

__all__ = ["Import", "Names", "code_hash", "names_of"]

KNOWN_AT_MOST = 1 << 16
ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
GLOBALS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
FREE = frozenset({"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"})
LOCALS = ("LOAD_FAST", "LOAD_DEREF", "LOAD_CLASSDEREF", "STORE_FAST_LOAD_FAST")
NO_EFFECT = frozenset({"CACHE", "EXTENDED_ARG", "NOP", "PRECALL", "PUSH_NULL", "RESUME"})

Chain = tuple[str, ...]
"""A name and the attributes that are looked up on it, such as ``np.random.rand``."""


class Import(NamedTuple):
    """An import inside of a function.

    Attributes:
        module: as it is written, with *level* dots before it.
        chains: what of it is looked up, each from the module that the statement binds on;
            None if that cannot be told.
        top: True if the statement binds the first part of the name.
    """

    module: str
    level: int
    chains: tuple[Chain, ...] | None
    top: bool


class Names(NamedTuple):
    """The names that a piece of code, and the code inside of it, looks up.

    Attributes:
        chains: globals, with the attributes that are looked up on them.
        free: the same for variables of functions around it.
        attributes: all names that occur, as attributes or globals.
    """

    chains: tuple[Chain, ...]
    free: tuple[Chain, ...]
    imports: tuple[Import, ...]
    attributes: frozenset[str]


_T = TypeVar("_T")


def _once(function: Callable[[types.CodeType], _T]) -> Callable[[types.CodeType], _T]:
    """Remember the result for each code object, by identity: to compare two is slow."""
    known: dict[int, tuple[types.CodeType, _T]] = {}

    def remembered(code: types.CodeType) -> _T:
        found = known.get(id(code))
        if found is None:
            if len(known) >= KNOWN_AT_MOST:
                known.clear()
            found = known[id(code)] = code, function(code)
        return found[1]

    return remembered


@_once
def code_hash(code: types.CodeType) -> bytes:
    """Return the hash of all that decides what *code* does; its docstring is left out."""
    digest = blake2b(digest_size=16)
    for part in _parts(code):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def _parts(code: types.CodeType) -> Iterator[bytes]:
    line = _line_load(code)
    if line is None:
        yield code.co_code
    else:
        yield repr(
            [(one.opcode, one.arg) for one in dis.get_instructions(code) if one != line]
        ).encode()
    yield code.co_exceptiontable
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    flags = code.co_flags & ~0x4000000  # it says that there is a docstring
    yield repr((flags, counts, names)).encode("utf-8", "surrogatepass")
    for number, constant in enumerate(code.co_consts):
        if line is not None and number == line.arg and constant == line.argval:
            continue
        if number or not isinstance(constant, str) or _loads_first(code):
            yield _constant(constant)


def _line_load(code: types.CodeType) -> dis.Instruction | None:
    """Return the instruction by which the body of a class loads its own line, in 3.13 and later."""
    if "__firstlineno__" not in code.co_names:
        return None
    before: dis.Instruction | None = None
    for instruction in dis.get_instructions(code):
        if instruction.opname == "STORE_NAME" and instruction.argval == "__firstlineno__":
            return before
        before = instruction
    return None


def _loads_first(code: types.CodeType) -> bool:
    """Tell whether the first constant is used, and not only the docstring."""
    return any(
        instruction.arg == 0 and instruction.opcode in dis.hasconst
        for instruction in dis.get_instructions(code)
    )


def _constant(value: Any) -> bytes:
    kind = type(value).__name__.encode()
    if isinstance(value, types.CodeType):
        return code_hash(value)
    if isinstance(value, tuple | frozenset):
        parts = [_constant(item) for item in value]
        if isinstance(value, frozenset):  # its order differs from process to process
            parts.sort()
        return kind + repr(parts).encode()
    if type(value) is int:
        return kind + hex(value).encode()
    return kind + repr(value).encode("utf-8", "surrogatepass")


@_once
def names_of(code: types.CodeType) -> Names:
    """Return the names that *code* looks up outside of itself."""
    chains: set[Chain] = set()
    free: set[Chain] = set()
    imports: list[Import] = []
    attributes = set(code.co_names)
    instructions = [
        instruction
        for instruction in dis.get_instructions(code)
        if instruction.opname not in NO_EFFECT
    ]
    for place, instruction in enumerate(instructions):
        if instruction.opname in GLOBALS:
            chains.add((instruction.argval, *_attributes(instructions, place)))
        elif instruction.opname in FREE:
            free.add((instruction.argval, *_attributes(instructions, place)))
        elif instruction.opname == "IMPORT_NAME":
            imports.append(_import(instructions, place))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = names_of(constant)
            chains.update(inner.chains)
            free.update(inner.free)
            imports += inner.imports
            attributes |= inner.attributes
    loaded = tuple(sorted(chains)), tuple(sorted(free))
    return Names(*loaded, tuple(imports), frozenset(attributes))


def _attributes(instructions: list[dis.Instruction], place: int) -> Iterator[str]:
    """Yield the attributes that are looked up on what was loaded at *place*."""
    for instruction in instructions[place + 1 :]:
        if instruction.opname not in ATTRIBUTES:
            return
        yield instruction.argval


def _import(instructions: list[dis.Instruction], place: int) -> Import:
    module = instructions[place].argval
    level, names = instructions[place - 2].argval, instructions[place - 1].argval
    if names:
        return Import(module, level, tuple((name,) for name in names), top=False)
    after = place + 1
    while instructions[after].opname in ("IMPORT_FROM", "SWAP", "ROT_TWO", "POP_TOP"):
        after += 1
    top = after == place + 1
    bound = instructions[after]
    chains: set[Chain] = set()
    if bound.opname != "STORE_FAST" or not isinstance(bound.argval, str):
        return Import(module, level, None, top)
    for number, instruction in enumerate(instructions):
        loaded = instruction.argval if instruction.opname.startswith(LOCALS) else None
        names = loaded if isinstance(loaded, tuple) else (loaded,)
        if bound.argval in names:
            chain = tuple(_attributes(instructions, number))
            if not chain or names[-1] != bound.argval or names.count(bound.argval) > 1:
                return Import(module, level, None, top)
            chains.add(chain)
    return Import(module, level, tuple(sorted(chains)), top)
