"""The pieces that random programs are made of, each with changes that matter.

A piece is text with the marks ``{n}`` (its number, so that names differ), ``{a}`` and ``{b}``
(numbers); what stands under ``other`` is a file beside the program.  ``use`` is the expression
by which the task uses the piece; it may use the task's argument ``x``.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["FEATURES", "Feature"]


class Feature(NamedTuple):
    """A piece of a program.

    Attributes:
        text: what stands in the program.
        use: an expression in the task's body.
        changes: pairs of texts: the first, which occurs in *text* or in *files*, becomes the
            second.
        files: the files beside the program, by name.
        live: statements that change the piece while the program runs.
    """

    text: str
    use: str
    changes: tuple[tuple[str, str], ...]
    files: dict[str, str] = {}  # noqa: RUF012 - never changed
    live: tuple[str, ...] = ()


def constant(value: str, other: str, imports: str = "", use: str = "{name}") -> Feature:
    """Return a piece with a global whose value is *value*, or *other* when it is changed."""
    name = "K{n}"
    return Feature(
        f"{imports}\n{name} = {value}\n",
        use.replace("{name}", name),
        ((f"{name} = {value}", f"{name} = {other}"),),
        live=(f"{name} = {other}",),
    )


CONSTANTS = (
    constant("{a}", "{b}"),
    constant("'t{a}'", "'t{b}'"),
    constant("b'{a}'", "b'{b}'"),
    constant("{a}.5", "{b}.5"),
    constant("{a}j", "{b}j"),
    constant("0.0", "-0.0", use="str({name})"),
    constant("1", "True", use="str({name})"),
    constant("10**5000 + {a}", "10**5000 + {b}", use="{name} % 1000"),
    constant("[1, [{a}]]", "[1, [{b}]]", use="{name}[1][0] + x"),
    constant("({a}, ({a},))", "({a}, ({b},))"),
    constant("{'a': {a}}", "{'a': {b}}", use="{name}['a'] * x"),
    constant("{'a': {'b': [{a}]}}", "{'a': {'b': [{b}]}}"),
    constant("{'p': {a}, 'q': {a}}", "{'q': {a}, 'p': {a}}", use="list({name})"),
    constant("{{a}, 's'}", "{{b}, 's'}", use="sorted(map(str, {name}))"),
    constant("frozenset([{a}])", "frozenset([{b}])", use="sorted({name})"),
    constant("bytearray([{a}])", "bytearray([{b}])", use="bytes({name})"),
    constant("range({a})", "range({b})", use="len({name})"),
    constant("slice({a})", "slice({b})", use="list(range(20))[{name}]"),
    constant("Decimal('{a}')", "Decimal('{b}')", "from decimal import Decimal", "str({name})"),
    constant(
        "Fraction({a}, 7)", "Fraction({b}, 7)", "from fractions import Fraction", "str({name})"
    ),
    constant(
        "date(2024, 1, {a})", "date(2024, 1, {b})", "from datetime import date", "str({name})"
    ),
    constant("timedelta({a})", "timedelta({b})", "from datetime import timedelta", "str({name})"),
    constant("re.compile('{a}')", "re.compile('{b}')", "import re", "{name}.pattern"),
    constant("re.compile('a')", "re.compile('a', re.I)", "import re", "{name}.flags"),
    constant("deque([{a}])", "deque([{b}])", "from collections import deque", "list({name})"),
    constant(
        "deque([1, 2], 5)", "deque([1, 2], 6)", "from collections import deque", "{name}.maxlen"
    ),
    constant(
        "OrderedDict(p=1, q=2)",
        "OrderedDict(q=2, p=1)",
        "from collections import OrderedDict",
        "list({name})",
    ),
    constant(
        "defaultdict(int, p={a})",
        "defaultdict(int, p={b})",
        "from collections import defaultdict",
        "{name}['p']",
    ),
    constant(
        "Counter('ab{a}')", "Counter('ab{b}')", "from collections import Counter", "sorted({name})"
    ),
    constant("Path('f{a}')", "Path('f{b}')", "from pathlib import Path", "str({name})"),
    constant(
        "SimpleNamespace(k={a})",
        "SimpleNamespace(k={b})",
        "from types import SimpleNamespace",
        "{name}.k",
    ),
    constant("Namespace(k={a})", "Namespace(k={b})", "from argparse import Namespace", "{name}.k"),
    constant("np.arange({a})", "np.arange({b})", "import numpy as np", "{name}.tolist()"),
    constant(
        "np.array([{a}, 1], 'i2')",
        "np.array([{b}, 1], 'i2')",
        "import numpy as np",
        "{name}.tolist()",
    ),
    constant("np.float64({a})", "np.float64({b})", "import numpy as np", "str({name})"),
    constant("np.dtype('f4')", "np.dtype('f8')", "import numpy as np", "str({name})"),
    constant(
        "np.zeros(2, [('p', 'i4')])",
        "np.zeros(2, [('q', 'i4')])",
        "import numpy as np",
        "{name}.dtype.names",
    ),
    constant(
        "np.array([[{a}], None], object)",
        "np.array([[{b}], None], object)",
        "import numpy as np",
        "str({name})",
    ),
    constant(
        "np.ma.array([{a}, 2], mask=[0, 1])",
        "np.ma.array([{b}, 2], mask=[0, 1])",
        "import numpy as np",
        "str({name})",
    ),
    constant(
        "np.ma.array([1, 2], mask=[0, 1])",
        "np.ma.array([1, 2], mask=[1, 0])",
        "import numpy as np",
        "str({name})",
    ),
    constant(
        "np.array(['2024-01-{a}'], 'M8[D]')",
        "np.array(['2024-01-{b}'], 'M8[D]')",
        "import numpy as np",
        "str({name})",
    ),
    constant(
        "np.asfortranarray([[1, 2], [3, {a}]])",
        "np.asfortranarray([[1, 2], [3, {b}]])",
        "import numpy as np",
        "{name}.tolist()",
    ),
    constant(
        "partial(pow, {a})", "partial(pow, {b})", "from functools import partial", "{name}(2)"
    ),
    constant(
        "partial(int, base={a})",
        "partial(int, base={b})",
        "from functools import partial",
        "{name}('1010')",
    ),
    constant(
        "itemgetter({a})", "itemgetter({b})", "from operator import itemgetter", "{name}(range(99))"
    ),
    constant(
        "attrgetter('real')", "attrgetter('imag')", "from operator import attrgetter", "{name}(x)"
    ),
    constant(
        "methodcaller('bit_length')",
        "methodcaller('conjugate')",
        "from operator import methodcaller",
        "{name}(x + 8)",
    ),
    constant("', '.join", "'; '.join", use="{name}(['p', 'q'])"),
    constant("[{a}, {a}].count", "[{a}, {b}].count", use="{name}({a})"),
    constant("lambda y: y + {a}", "lambda y: y + {b}", use="{name}(x)"),
    constant("lambda y: y", "lambda *y: y", use="{name}(x)"),
    constant("lambda y, z={a}: y + z", "lambda y, z={b}: y + z", use="{name}(x)"),
    constant("list[int]", "list[str]", use="str({name})"),
    constant("int | None", "str | None", use="str({name})"),
    constant("min", "max", use="{name}([1, 2])"),
    constant("int", "float", use="str({name}(x))"),
    constant("ValueError({a})", "ValueError({b})", use="{name}.args"),
    constant(
        "MappingProxyType({'k': {a}})",
        "MappingProxyType({'k': {b}})",
        "from types import MappingProxyType",
        "{name}['k']",
    ),
    constant("Random({a})", "Random({b})", "from random import Random", "{name}.getstate()[1][:3]"),
)

FUNCTIONS = (
    Feature(
        "def f{n}(y): return y + {a}\n", "f{n}(x)", (("y + {a}", "y + {b}"), ("y + {a}", "y - {a}"))
    ),
    Feature(
        "def f{n}(y, z={a}): return y + z\n",
        "f{n}(x)",
        (("z={a}", "z={b}"),),
        live=("f{n}.__defaults__ = ({b},)",),
    ),
    Feature(
        "def f{n}(y, *, z={a}): return y + z\n",
        "f{n}(x)",
        (("z={a}", "z={b}"),),
        live=("f{n}.__kwdefaults__ = {'z': {b}}",),
    ),
    Feature(
        "def f{n}(y, z=[{a}]): return z[0]\n",
        "f{n}(x)",
        (("[{a}]", "[{b}]"),),
        live=("f{n}.__defaults__[0][0] = {b}",),
    ),
    Feature(
        "def g{n}(y): return y * {a}\ndef f{n}(y): return g{n}(y) + 1\n",
        "f{n}(x)",
        (("y * {a}", "y * {b}"), ("+ 1", "+ 2")),
    ),
    Feature(
        "def e{n}(y): return {a} if y < 1 else o{n}(y - 1)\ndef o{n}(y): return {b} if y < 1 else e{n}(y - 1)\n",
        "(e{n}(x), e{n}(x + 1))",
        (("{a} if", "11 if"), ("{b} if", "12 if")),
    ),
    Feature(
        "def f{n}(y): return y * f{n}.factor\nf{n}.factor = {a}\n",
        "f{n}(x + 1)",
        (("factor = {a}", "factor = {b}"),),
        live=("f{n}.factor = {b}",),
    ),
    Feature(
        "import functools\n@functools.lru_cache\ndef f{n}(y): return y + {a}\n",
        "f{n}(x)",
        (("y + {a}", "y + {b}"),),
    ),
    Feature(
        "import functools as ft\n@ft.cache\ndef f{n}(y): return g{n}(y)\ndef g{n}(y): return y + {a}\n",
        "f{n}(x)",
        (("y + {a}", "y + {b}"),),
    ),
    Feature(
        "from functools import singledispatch\n@singledispatch\ndef f{n}(y): return {a}\n@f{n}.register\ndef _(y: int): return {b}\n@f{n}.register(str)\ndef _(y): return 0\n",
        "(f{n}(x), f{n}('s'), f{n}(None))",
        (
            ("(y): return {a}\n@f", "(y): return 13\n@f"),
            ("int): return {b}", "int): return 14"),
            ("(y: int)", "(y: float)"),
            ("register(str)", "register(bytes)"),
        ),
    ),
    Feature(
        "from functools import wraps\ndef d{n}(f):\n    @wraps(f)\n    def w(*p): return {a} + f(*p)\n    return w\n@d{n}\ndef f{n}(y): return y * {a}\n",
        "f{n}(x)",
        (("{a} + f", "{b} + f"), ("y * {a}", "y * {b}")),
    ),
    Feature(
        "def d{n}(k):\n    def outer(f):\n        def w(y): return k + f(y)\n        return w\n    return outer\n@d{n}({a})\ndef f{n}(y): return y\n",
        "f{n}(x)",
        (("@d{n}({a})", "@d{n}({b})"), ("k + f", "k - f"), ("(y): return y\n", "(y): return -y\n")),
    ),
    Feature(
        "import numpy as np\ndef g{n}(y): return y + {a}\nf{n} = np.frompyfunc(g{n}, 1, 1)\n",
        "list(f{n}([1, 2]))",
        (("y + {a}", "y + {b}"), ("(g{n}, 1, 1)", "(abs, 1, 1)")),
    ),
    Feature(
        "import struct\nS{n} = struct.Struct('<i')\n",
        "S{n}.pack({a}).hex()",
        (("'<i'", "'>i'"), ("'<i'", "'<q'")),
    ),
    Feature(
        "import numpy as np\n@np.vectorize\ndef f{n}(y): return y + {a}\n",
        "f{n}([1, 2]).tolist()",
        (("y + {a}", "y + {b}"),),
    ),
    Feature(
        "def f{n}(y): return y + {a}\nT{n} = {'p': f{n}, 'q': abs}\n",
        "T{n}['p'](x)",
        (("y + {a}", "y + {b}"), ("'p': f{n}", "'p': abs")),
        live=("T{n}['p'] = abs",),
    ),
    Feature(
        "def f{n}(y): return y + {a}\ndef g{n}(y): return y * {a}\nT{n} = [f{n}, (g{n},)]\n",
        "T{n}[1][0](T{n}[0](x))",
        (("y + {a}", "y + {b}"), ("y * {a}", "y * {b}")),
        live=("T{n}.reverse(); T{n}[1] = (T{n}[1],); T{n}[0] = T{n}[0][0]",),
    ),
    Feature(
        "from types import SimpleNamespace as N\ndef f{n}(y): return y + {a}\nT{n} = N(k=[f{n}])\n",
        "T{n}.k[0](x)",
        (("y + {a}", "y + {b}"),),
    ),
    Feature(
        "from functools import partial\ndef g{n}(k, y): return k * y + {a}\nf{n} = partial(g{n}, {a})\n",
        "f{n}(x)",
        (("y + {a}", "y + {b}"), ("g{n}, {a}", "g{n}, {b}")),
    ),
    Feature(
        "def m{n}(k):\n    def f(y): return y + k\n    return f\nf{n} = m{n}({a})\n",
        "f{n}(x)",
        (("m{n}({a})", "m{n}({b})"), ("y + k", "y - k")),
    ),
    Feature(
        "def m{n}():\n    k = [{a}]\n    def f(y): return y + k[0]\n    return f\nf{n} = m{n}()\n",
        "f{n}(x)",
        (("[{a}]", "[{b}]"),),
        live=(
            "f{n}.__closure__[0].cell_contents[0] = {b}",
            "f{n}.__closure__[0].cell_contents = [{b}]",
        ),
    ),
    Feature(
        "K{n} = {a}\ndef f{n}(y): return [K{n} + z for z in (lambda: [y, K{n}])()]\n",
        "f{n}(x)",
        (("K{n} = {a}", "K{n} = {b}"),),
    ),
    Feature(
        "def f{n}(y):\n    yield y\n    yield {a}\n", "list(f{n}(x))", (("yield {a}", "yield {b}"),)
    ),
    Feature(
        "from contextlib import contextmanager\n@contextmanager\ndef c{n}():\n    yield {a}\ndef f{n}(y):\n    with c{n}() as k: return y + k\n",
        "f{n}(x)",
        (("yield {a}", "yield {b}"),),
    ),
    Feature(
        "def sum{n}(y): return {a}\nlen = sum{n}\n",
        "len([1])",
        (("return {a}", "return {b}"), ("len = sum{n}", "len{n} = sum{n}")),
    ),
    Feature(
        "def f{n}(y):\n    try: return 1 // (y - y)\n    except ZeroDivisionError: return {a}\n",
        "f{n}(x)",
        (("return {a}", "return {b}"),),
    ),
    Feature(
        "def f{n}(y): return y in {'{a}', 'k', 's'}\n",
        "f{n}('{a}')",
        (("'{a}', 'k'", "'{b}', 'k'"),),
    ),
    Feature(
        "def f{n}(y): return f'{y}-{a}'\n", "f{n}(x)", (("-{a}'", "-{b}'"), ("{y}-", "{y!r:>5}-"))
    ),
    Feature(
        'def f{n}(y):\n    """Say {a}."""\n    return f{n}.__doc__\n',
        "f{n}(x)",
        (("Say {a}", "Say {b}"),),
    ),
    Feature(
        "import typing\ndef f{n}(y: int): return y\n",
        "str(typing.get_type_hints(f{n}))",
        (("y: int", "y: str"),),
    ),
    Feature("def f{n}(y): return (lambda z: z + {a})(y)\n", "f{n}(x)", (("z + {a}", "z + {b}"),)),
    Feature("def f{n}(y, /): return y\n", "f{n}(x)", (("return y", "return -y"),)),
    Feature(
        "K{n} = {a}\ndef f{n}():\n    class C:\n        k = K{n}\n    return C.k\n",
        "f{n}()",
        (("K{n} = {a}", "K{n} = {b}"),),
        live=("K{n} = {b}",),
    ),
    Feature(
        "import typing\nclass C{n}: k = {a}\ndef f{n}(y: 'C{n}'): return y\n",
        "typing.get_type_hints(f{n})['y'].k",
        (("k = {a}", "k = {b}"),),
    ),
    Feature(
        "import typing\nclass C{n}:\n    def __reduce__(self): return 'o{n}'\no{n} = C{n}()\no{n}.k = {a}\n",
        "o{n}.k",
        (("k = {a}", "k = {b}"),),
    ),
    Feature(
        "import pydantic\nfrom typing import Annotated\ndef g{n}(v): return v + {a}\nclass C{n}(pydantic.BaseModel):\n    k: Annotated[int, pydantic.AfterValidator(g{n})]\n    z: int = pydantic.Field(default={a}, ge=1)\n    @pydantic.field_validator('z')\n    @classmethod\n    def check(cls, v): return v * {a}\n    @pydantic.computed_field\n    def w(self) -> int: return {a}\n",
        "str(C{n}(k=x, z=x).model_dump())",
        (("v + {a}", "v + {b}"), ("v * {a}", "v * {b}"), ("int: return {a}", "int: return {b}")),
    ),
    Feature(
        "import pydantic\nclass C{n}(pydantic.BaseModel):\n    z: int = pydantic.Field(default=0, ge={a})\ndef f{n}(y):\n    try: C{n}(z=y)\n    except ValueError as e: return str(e)\n",
        "f{n}(x)",
        (("ge={a}", "ge={b}"), ("ge={a}", "ge=1"), ("ge={a}", "le={a}")),
    ),
)

CLASSES = (
    Feature(
        "class C{n}:\n    def __init__(self, k): self.k = k\n    def f(self, y): return y * self.k\no{n} = C{n}({a})\n",
        "o{n}.f(x + 1)",
        (("C{n}({a})", "C{n}({b})"), ("y * self", "y - self")),
        live=("o{n}.k = {b}", "o{n} = C{n}({b})", "C{n}.f = lambda self, y: 99"),
    ),
    Feature(
        "class C{n}:\n    def __init__(self, k): self.k = k\n    def f(self, y): return y * self.k\ng{n} = C{n}({a}).f\n",
        "g{n}(x + 1)",
        (("C{n}({a})", "C{n}({b})"), ("y * self", "y - self")),
        live=("g{n}.__self__.k = {b}",),
    ),
    Feature(
        "class C{n}:\n    k = {a}\n    @staticmethod\n    def s(): return {a}\n    @classmethod\n    def c(cls): return cls.k\n    @property\n    def p(self): return {a}\n",
        "(C{n}.s(), C{n}.c(), C{n}().p)",
        (
            ("k = {a}", "k = {b}"),
            ("s(): return {a}", "s(): return {b}"),
            ("p(self): return {a}", "p(self): return {b}"),
            ("cls.k", "cls.k + 1"),
        ),
        live=("C{n}.k = {b}",),
    ),
    Feature(
        "import functools\nclass C{n}:\n    @functools.cached_property\n    def p(self): return {a}\n",
        "C{n}().p",
        (("return {a}", "return {b}"),),
    ),
    Feature(
        "class C{n}:\n    class D:\n        class E:\n            k = {a}\n",
        "C{n}.D.E.k",
        (("k = {a}", "k = {b}"),),
        live=("C{n}.D.E.k = {b}",),
    ),
    Feature(
        "class M{n}(type):\n    def f(cls): return {a}\nclass C{n}(metaclass=M{n}): pass\n",
        "C{n}.f()",
        (("return {a}", "return {b}"),),
    ),
    Feature(
        "class B{n}:\n    def f(self): return {a}\nclass C{n}(B{n}):\n    def g(self): return self.f()\n",
        "C{n}().g()",
        (
            ("return {a}", "return {b}"),
            ("self.f()", "-self.f()"),
        ),
    ),
    Feature(
        "class A{n}:\n    k = {a}\nclass B{n}:\n    k = {b}\nclass C{n}(A{n}, B{n}): pass\n",
        "C{n}.k",
        (("A{n}, B{n})", "B{n}, A{n})"),),
    ),
    Feature(
        "class D{n}:\n    def __get__(self, o, t): return {a}\nclass C{n}:\n    p = D{n}()\n",
        "C{n}().p",
        (("return {a}", "return {b}"),),
    ),
    Feature(
        "class C{n}:\n    __slots__ = ('k',)\n    def __init__(self, k): self.k = k\no{n} = C{n}({a})\n",
        "o{n}.k",
        (("C{n}({a})", "C{n}({b})"),),
        live=("o{n}.k = {b}",),
    ),
    Feature(
        "import dataclasses\n@dataclasses.dataclass\nclass C{n}:\n    p: int = {a}\n    q: list = dataclasses.field(default_factory=lambda: [{a}])\no{n} = C{n}()\n",
        "(C{n}().p, C{n}().q, o{n}.p)",
        (("p: int = {a}", "p: int = {b}"), ("[{a}]", "[{b}]")),
        live=("o{n}.p = {b}",),
    ),
    Feature(
        "import dataclasses\n@dataclasses.dataclass\nclass C{n}:\n    p: int\n    q: int\n",
        "str((C{n}(1, 2), C{n}.__dataclass_params__))",
        (
            ("p: int\n    q: int", "q: int\n    p: int"),
            ("@dataclasses.dataclass\n", "@dataclasses.dataclass(order=True)\n"),
        ),
    ),
    Feature(
        "import dataclasses, datetime\n@dataclasses.dataclass(frozen=True)\nclass C{n}:\n    d: object\no{n} = C{n}(datetime.date(2024, 1, {a}))\n",
        "str(o{n}.d)",
        (("1, {a}", "1, {b}"),),
    ),
    Feature(
        "from typing import NamedTuple\nclass C{n}(NamedTuple):\n    p: int = {a}\n    def f(self): return self.p * {a}\n",
        "C{n}().f()",
        (("p: int = {a}", "p: int = {b}"), ("* {a}", "* {b}")),
    ),
    Feature(
        "from collections import namedtuple\nC{n} = namedtuple('C{n}', 'p q')\n",
        "str(C{n}(1, 2))",
        (("'p q'", "'q p'"),),
    ),
    Feature(
        "import enum\nclass C{n}(enum.Enum):\n    P = {a}\n    Q = 99\n    def f(self): return self.value * {a}\nK{n} = C{n}.P\n",
        "(K{n}.name, K{n}.f())",
        (("P = {a}", "P = {b}"), ("C{n}.P", "C{n}.Q"), ("* {a}", "* {b}")),
    ),
    Feature(
        "import pydantic\nclass C{n}(pydantic.BaseModel):\n    k: int = {a}\n    def f(self): return self.k + {a}\no{n} = C{n}()\n",
        "(o{n}.f(), C{n}().k)",
        (("k: int = {a}", "k: int = {b}"), ("self.k + {a}", "self.k + {b}")),
    ),
    Feature(
        "import pydantic\nclass C{n}(pydantic.BaseModel):\n    k: int\no{n} = C{n}(k={a})\n",
        "o{n}.k",
        (("C{n}(k={a})", "C{n}(k={b})"),),
        live=("o{n}.k = {b}",),
    ),
    Feature(
        "class C{n}:\n    def __call__(self, y): return y + {a}\n    def __add__(self, y): return {a}\n    def __getattr__(self, name): return (name, {a})\no{n} = C{n}()\n",
        "(o{n}(x), o{n} + 1, o{n}.zz)",
        (
            ("y + {a}", "y + {b}"),
            ("y): return {a}", "y): return {b}"),
            ("(name, {a})", "(name, {b})"),
        ),
    ),
    Feature(
        "class B{n}:\n    def f(self): return {a}\nclass C{n}(B{n}):\n    def f(self): return super().f() + 1\n",
        "C{n}().f()",
        (("return {a}", "return {b}"), ("+ 1", "+ 2")),
    ),
    Feature(
        "import abc\nclass B{n}(abc.ABC):\n    @abc.abstractmethod\n    def f(self): ...\nclass C{n}(B{n}):\n    def f(self): return {a}\n",
        "C{n}().f()",
        (("return {a}", "return {b}"),),
    ),
    Feature(
        "from typing import Generic, TypeVar\nT{n} = TypeVar('T{n}')\nclass C{n}(Generic[T{n}]):\n    def f(self): return {a}\n",
        "C{n}[int]().f()",
        (("return {a}", "return {b}"),),
    ),
    Feature(
        "class C{n}(dict):\n    def f(self): return self['k']\no{n} = C{n}(k={a})\n",
        "o{n}.f()",
        (("k={a}", "k={b}"), ("self['k']", "self.get('z')")),
        live=("o{n}['k'] = {b}",),
    ),
    Feature(
        "class C{n}(list): pass\nclass E{n}(Exception): pass\no{n} = C{n}([E{n}({a})])\n",
        "o{n}[0].args",
        (("E{n}({a})", "E{n}({b})"),),
        live=("o{n}[0].args = ({b},)",),
    ),
    Feature(
        "import numpy as np\nclass C{n}(np.ndarray):\n    k = {a}\no{n} = np.arange({a}).view(C{n})\n",
        "(len(o{n}), o{n}.k)",
        (("arange({a})", "arange({b})"), ("k = {a}", "k = {b}")),
    ),
    Feature(
        "class C{n}:\n    made = []\n    def __init_subclass__(cls): C{n}.made.append(cls.__name__)\nclass D{n}(C{n}): pass\n",
        "C{n}.made",
        (("class D{n}", "class X{n}"),),
        live=("C{n}.made.append({a})",),
    ),
    Feature(
        "class N{n}:\n    def __init__(self, k): self.k, self.other = k, None\no{n} = N{n}({a})\no{n}.other = N{n}({b})\no{n}.other.other = o{n}\n",
        "o{n}.other.k - o{n}.other.other.k",
        (("N{n}({a})", "N{n}(21)"), ("N{n}({b})", "N{n}(22)")),
        live=("o{n}.other.k = 23",),
    ),
    Feature(
        "class C{n}:\n    def f(self): return {a}\nN{n} = 'f'\n",
        "getattr(C{n}(), N{n})()",
        (("return {a}", "return {b}"),),
    ),
    Feature(
        "class C{n}:\n    def __getstate__(self): return {'q': 1}\no{n} = C{n}()\no{n}.k = {a}\n",
        "o{n}.k",
        (("k = {a}", "k = {b}"),),
    ),
    Feature(
        "import functools\nclass C{n}:\n    @functools.singledispatchmethod\n    def f(self, y): return {a}\n    @f.register\n    def _(self, y: int): return {b}\n",
        "(C{n}().f(x), C{n}().f(''))",
        (("y): return {a}", "y): return 15"), ("int): return {b}", "int): return 16")),
    ),
    Feature(
        "import functools\nclass C{n}:\n    def g(self, k, y): return k + y\n    f = functools.partialmethod(g, {a})\n",
        "C{n}().f(x)",
        (("g, {a}", "g, {b}"), ("k + y", "k - y")),
    ),
)

SOME = (
    "def f(y): return y + {a}\n"
    "def g(y): return y * {a}\n"
    "K = {a}\n"
    "TABLE = {'f': f}\n"
    "def unused(): return 1\n"
)
MODULE_CHANGES = (("y + {a}", "y + {b}"),)

MODULES = (
    Feature(
        "import m{n}\n", "m{n}.f(x)", MODULE_CHANGES, {"m{n}.py": SOME}, live=("m{n}.f = abs",)
    ),
    Feature(
        "import m{n} as alias{n}\n",
        "(alias{n}.f(x), alias{n}.K)",
        (*MODULE_CHANGES, ("K = {a}", "K = {b}")),
        {"m{n}.py": SOME},
        live=("alias{n}.K = {b}",),
    ),
    Feature(
        "from m{n} import f as f{n}, g as g{n}\n",
        "f{n}(x) + g{n}(x)",
        (*MODULE_CHANGES, ("y * {a}", "y * {b}"), ("f as f{n}, g", "g as f{n}, g")),
        {"m{n}.py": SOME},
    ),
    Feature("from m{n} import TABLE as T{n}\n", "T{n}['f'](x)", MODULE_CHANGES, {"m{n}.py": SOME}),
    Feature(
        "import m{n}\nN{n} = 'f'\n", "getattr(m{n}, N{n})(x)", MODULE_CHANGES, {"m{n}.py": SOME}
    ),
    Feature(
        "def f{n}(y):\n    import m{n}\n    return m{n}.f(y)\n",
        "f{n}(x)",
        MODULE_CHANGES,
        {"m{n}.py": SOME},
    ),
    Feature(
        "def f{n}(y):\n    from m{n} import f, K\n    return f(y) + K\n",
        "f{n}(x)",
        (*MODULE_CHANGES, ("K = {a}", "K = {b}")),
        {"m{n}.py": SOME},
    ),
    Feature(
        "import m{n}\ndef f{n}(y):\n    import m{n} as z\n    return z.f(y) + z.K\n",
        "f{n}(x)",
        (*MODULE_CHANGES, ("K = {a}", "K = {b}")),
        {"m{n}.py": SOME},
        live=("m{n}.K = {b}",),
    ),
    Feature(
        "def f{n}(y):\n    import m{n} as z\n    return getattr(z, 'f')(y)\n",
        "f{n}(x)",
        MODULE_CHANGES,
        {"m{n}.py": SOME},
    ),
    Feature(
        "import m{n}\n",
        "m{n}.h(x)",
        MODULE_CHANGES,
        {"m{n}.py": "import m{n}_low\ndef h(y): return m{n}_low.f(y)\n", "m{n}_low.py": SOME},
    ),
    Feature(
        "def f{n}(y):\n    import m{n}\n    return m{n}.h(y)\n",
        "f{n}(x)",
        MODULE_CHANGES,
        {"m{n}.py": "from m{n}_low import f\ndef h(y): return f(y)\n", "m{n}_low.py": SOME},
    ),
    Feature(
        "import p{n}.sub\n",
        "p{n}.sub.f(x)",
        MODULE_CHANGES,
        {"p{n}/__init__.py": "", "p{n}/sub.py": SOME},
    ),
    Feature(
        "from p{n} import sub as s{n}\n",
        "s{n}.f(x)",
        MODULE_CHANGES,
        {"p{n}/__init__.py": "", "p{n}/sub.py": SOME},
    ),
    Feature(
        "import p{n}\n",
        "p{n}.f(x)",
        (*MODULE_CHANGES, ("import f", "import g as f")),
        {"p{n}/__init__.py": "from .sub import f\n", "p{n}/sub.py": SOME},
    ),
    Feature(
        "def f{n}(y):\n    from p{n}.sub import h\n    return h(y)\n",
        "f{n}(x)",
        MODULE_CHANGES,
        {
            "p{n}/__init__.py": "",
            "p{n}/sub.py": "from . import low\ndef h(y): return low.f(y)\n",
            "p{n}/low.py": SOME,
        },
    ),
    Feature(
        "def f{n}(y):\n    import p{n}.sub\n    return p{n}.sub.f(y)\n",
        "f{n}(x)",
        MODULE_CHANGES,
        {"p{n}/__init__.py": "", "p{n}/sub.py": SOME},
    ),
    Feature(
        "def f{n}(y):\n    from p{n} import sub\n    return sub.f(y)\n",
        "f{n}(x)",
        MODULE_CHANGES,
        {"p{n}/__init__.py": "", "p{n}/sub.py": SOME},
    ),
    Feature(
        "from m{n} import C as C{n}\n",
        "C{n}().f()",
        (("return {a}", "return {b}"),),
        {"m{n}.py": "class B:\n    def f(self): return {a}\nclass C(B): pass\n"},
    ),
    Feature(
        "from m{n} import d\n@d\ndef f{n}(y): return y + {a}\n",
        "f{n}(x)",
        (("y + {a}", "y + {b}"), ("-f(", "+f(")),
        {
            "m{n}.py": "from functools import wraps\ndef d(f):\n    @wraps(f)\n    def w(y): return -f(y)\n    return w\n"
        },
    ),
    Feature("from math import floor as f{n}\n", "f{n}(2.5)", (("floor", "ceil"),)),
    Feature("from os.path import basename as f{n}\n", "f{n}('p/q')", (("basename", "dirname"),)),
    Feature("import math as m{n}\n", "m{n}.sqrt(4)", (("import math as", "import cmath as"),)),
    Feature(
        "import statistics as m{n}\n",
        "m{n}.mean([1, 2, 6])",
        (
            (
                "import statistics as m{n}\n",
                "import types\nm{n} = types.ModuleType('o')\nm{n}.mean = lambda v: -1\n",
            ),
        ),
        live=("import types; m{n} = types.SimpleNamespace(mean=lambda v: -1)",),
    ),
    Feature(
        "import math\n",
        "(math.pi, math.floor(x + 0.5))",
        (),
        live=("import types; math = types.SimpleNamespace(pi=3, floor=abs)",),
    ),
    Feature(
        "import json\n",
        "json.dumps([x])",
        (),
        {},
        live=("json = __import__('types').SimpleNamespace(dumps=len)",),
    ),
    Feature(
        "import string, functools\nstring.patched{n} = functools.partial(max, {a})\n",
        "string.patched{n}(1)",
        (("max, {a}", "max, {b}"),),
        live=("string.patched{n} = abs",),
    ),
    Feature(
        "import string\nstring.patched{n} = lambda y: {a}\n",
        "string.patched{n}(1)",
        (("y: {a}", "y: {b}"),),
        live=("string.patched{n} = abs",),
    ),
)

FEATURES: tuple[Feature, ...] = (*CONSTANTS, *FUNCTIONS, *CLASSES, *MODULES)
