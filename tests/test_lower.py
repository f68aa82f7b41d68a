"""The lowered libcst tree is the tree of `ast.parse`: same vocabulary, same dump, same places of expressions."""

from __future__ import annotations

import ast
import random
import sys
import sysconfig
import time
from itertools import pairwise
from pathlib import Path

import libcst as cst
import pytest

from torchmemlint.source import BadFile, Source

STATEMENTS = """
pass
x = 1
x = y = z = 2
x, y = y, x
(x, y) = [a, *b] = c
x.y[0] = 3
x: int
x: int = 5
x.y: int = 5
x += 1; y -= 2; z *= 3; a /= 4; b //= 5; c %= 6; d **= 7; e @= f; g <<= 1; h >>= 1; i |= 1; j &= 1; k ^= 1
del x
del x, y
del (x, y)
del x[0], y.z
assert x
assert x, "why"
import a
import a.b.c as d, e
from a import b
from a.b import c as d, e
from . import a
from ..b import (c, d as e,)
from a import *
raise
raise X
raise X from Y
global g1, g2
if a: pass
if a:
    pass
elif b:
    pass
else:
    pass
while a:
    break
else:
    x
for a in b:
    continue
for a, *b in c, d:
    pass
else:
    pass
with a: pass
with a as b, c as (d, e): pass
with (a as b, c): pass
with (a): pass
with (a, b): pass
try:
    pass
except:
    pass
try:
    pass
except A:
    pass
except (B, C) as d:
    pass
else:
    pass
finally:
    pass
try:
    pass
finally:
    pass
def f(): return
def f(): return 1, 2
def f(a, b: int = 1, /, c=2, *d: str, e, f: int = 3, **g) -> "int": pass
def f(a, *, b): nonlocal_free = 1
def f():
    x = 1
    def g():
        nonlocal x
        yield
        yield x
        y = yield x, 1
        yield from x
@a
@b.c(1)
def f(): pass
async def f():
    await x
    async for a in b: pass
    async with a as b: pass
    return [c async for c in d if await e]
class A: pass
class A(): pass
class A(B, C, metaclass=D, **kw): x = 1
@d
class A(*bases):
    '''docstring'''
    def f(self): pass
match x:
    case 1: pass
    case -1: pass
    case 1 + 2j: pass
    case "a" "b": pass
    case None | True: pass
    case A.B: pass
    case _: pass
match x, y:
    case [a, *_, b] if a: pass
    case (a, b): pass
    case a, *rest: pass
    case {"k": v, **rest}: pass
    case {}: pass
    case Point(x=0, y=(1 | 2) as z): pass
    case Point(a, b): pass
    case str(): pass
    case [Point(x=0), *_]: pass
    case {**all_of_it}: pass
    case (a): pass
    case []: pass
match = case = type = 1
"""

STATEMENTS_OF_3_11 = """
try:
    pass
except* A as e:
    pass
def f(*args: *Ts): pass
a[*b]
"""

EXPRESSIONS = r"""
a
None
...
1 + 2j
0x1F + 0b1 + 0o7 + 1_000 + 1e5 + 1.
"a"
'a' "b" '''c'''
b"a" b'b'
rb"\d" + br'\d' + R"\d"
u"a"
"\N{BULLET} \x41 é \
next"
f"a{b}c"
f"{a!r:>{width}} {b:.2f} {{literal}} {c=} {d!s} {e=!r} {f = :5}"
f"{a}" "b" f"{c}"
"a" f"{b}"
rf"\d{a}\w"
f'{a["b"]}'
f'''{
a
+ b}'''
f"{x:%Y-%m}"
f"{a:{b}{c}}"
f"\n{a}\t"
f"\"{a}\" b\t"
(a)
((a))
(a, b)
()
(a,)
[a, *b]
[]
{a, *b}
{a: b, **c}
{}
a.b.c
a . b
a[0]
a[0, 1]
a[0,]
a[1:2]
a[1:2:3]
a[:]
a[::2, ..., None]
a[b:c, d]
a[(b, c)]
a[b][c](d).e
f()
f(a, *b, c=d, **e)
f(a for a in b)
f(a, b,)
f((a for a in b), c)
(f)(a)
lambda: 0
lambda a, b=1, *c, d, e=2, **f: (a, b)
lambda *, a: a
lambda a, /, b: a
a if b else c
a and b
a and b and c
a or b and c or d
(a and b) and c
a and (b and c)
a or (b or c) or d
not a
not (a and b)
-a
+a
~a
- -a
a + b - c * d / e // f % g ** h @ i
a << b >> c | d & e ^ f
a ** -b
(a + b) * c
a + (b + c)
a < b
a < b <= c == d != e > f >= g
a is b
a is not b
a in b not in c
[a for a in b]
[a for a in b if c if d for e in f]
{a for a in b}
{a: b for a, b in c}
(a for a in b)
[[a for a in b] for c in d]
(a := b)
[a := 1, b]
f(a := 1)
print(*a, sep="")
(yield_like)
x.y.z().w[0].v(1)(2)
"%s" % a
(a
 + b
 + c)
f(
    a,
    b=c,
)
"""


def cases(text: str) -> list[str]:
    """Top-level statements of a listing, each with its text."""
    lines = text.strip("\n").split("\n")
    starts = {
        min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
        for node in ast.parse("\n".join(lines)).body
    }
    return ["\n".join(lines[a - 1 : b - 1]) + "\n" for a, b in pairwise([*sorted(starts), len(lines) + 1])]


def plain(tree: ast.AST) -> str:
    """A dump without the fields that the facts never read: `kind`, `type_comment`, `type_ignores`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            node.kind = None
        if hasattr(node, "type_comment"):
            node.type_comment = None
        if isinstance(node, ast.JoinedStr):  # Python 3.12.1 adds an empty text behind a field in a format
            node.values = [part for part in node.values if not (isinstance(part, ast.Constant) and part.value == "")]
    return ast.dump(tree)


# What `ast` and libcst measure differently, and no finding or edit rests on: a generator that is a call's
# only argument counts the call's parentheses in `ast`, a tuple as index its last comma, and parts of
# formatted strings have no places of their own before Python 3.12. (libcst 1.9 cannot parse `(x): int = 5`.)
def comparable(tree: ast.AST) -> list[ast.expr]:
    skip: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            skip.update(inner for inner in ast.walk(node) if inner is not node)
        if isinstance(node, ast.Call) and len(node.args) == 1 and isinstance(node.args[0], ast.GeneratorExp):
            skip.add(node.args[0])
    return [node for node in ast.walk(tree) if isinstance(node, ast.expr) and node not in skip]


def differences(source: Source, kinds: type[ast.expr] | tuple[type[ast.expr], ...] = ast.expr) -> list[str]:
    screen, tree = source.screen, source.tree
    assert screen is not None
    if plain(screen.module) != plain(tree.module):
        return ["dumps differ"]
    wrong = []
    for theirs, ours in zip(comparable(screen.module), comparable(tree.module), strict=True):
        if isinstance(theirs, kinds):
            want, have = screen.places.span(theirs), tree.places.span(ours)
            comma = isinstance(theirs, ast.Tuple) and source.slice(want).rstrip(", \n") == source.slice(have)
            if want != have and not comma:
                wrong.append(f"{type(theirs).__name__} {source.slice(want)!r}: {want} is {have}")
    return wrong


LISTING = cases(STATEMENTS) + cases(EXPRESSIONS)
if sys.version_info >= (3, 11):
    LISTING += cases(STATEMENTS_OF_3_11)


@pytest.mark.parametrize("text", LISTING)
def test_every_syntax(text: str) -> None:
    source = Source("case.py", text.encode())
    assert source.screen is not None
    assert plain(source.tree.module) == plain(source.screen.module)


@pytest.mark.parametrize("text", LISTING)
def test_places(text: str) -> None:
    wrong = differences(Source("case.py", text.encode()))
    assert not wrong, "\n".join(wrong)


def test_the_listing_names_every_node() -> None:
    """A new kind of node in `ast` must be added to the listing above."""
    seen = {type(node).__name__ for text in LISTING for node in ast.walk(ast.parse(text))}
    abstract = {
        "expr",
        "stmt",
        "mod",
        "expr_context",
        "boolop",
        "operator",
        "unaryop",
        "cmpop",
        "excepthandler",
        "pattern",
    }
    other_modes = {"Expression", "Interactive", "FunctionType", "TypeIgnore", "type_ignore", "type_param"}
    old = {
        "Num",
        "Str",
        "Bytes",
        "NameConstant",
        "Ellipsis",
        "Index",
        "ExtSlice",
        "Suite",
        "AugLoad",
        "AugStore",
        "Param",
        "slice",
    }
    newer = {"TypeAlias", "TypeVar", "ParamSpec", "TypeVarTuple", "TemplateStr", "Interpolation"}
    kinds = {
        name
        for name, kind in vars(ast).items()
        if isinstance(kind, type) and issubclass(kind, ast.AST) and kind is not ast.AST and not name.startswith("_")
    }
    assert kinds - abstract - other_modes - old - newer <= seen


@pytest.mark.skipif(sys.version_info < (3, 12), reason="syntax of Python 3.12")
@pytest.mark.parametrize(
    "text",
    [
        "type X = int\n",
        "type X[T: int, *Ts, **P] = T\n",
        "def f[T](x: T) -> T: ...\n",
        "class A[T, U: (int, str)]: ...\n",
        "f'{a['b']}'\n",
    ],
)
def test_newer_syntax(text: str) -> None:
    assert not differences(Source("case.py", text.encode()))


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfx = f(1)\n",
        b"x = f(1)\r\ny = g(\r\n    2)\r\n",
        b"# coding: latin-1\nx = f('\xe9', g(2))\n",
        "x = f('é😀', g(2))\ny = 'ü' + h(é)\n".encode(),
        b"x = 1\n\x0cy = f(2)\n",
        b"if a:\n\tb = f(1)\n\tc = g(2)\n",
        b"x = f(1)",
        b"",
        b"\n\n# only a comment\n",
        b"x = a \\\n    + f(b)\n",
        b"if a: x = f(1); y = g(2)\n",
        b"'''doc\nstring'''\nf('''a\nb''')\n",
    ],
)
def test_odd_texts(data: bytes) -> None:
    wrong = differences(Source("case.py", data))
    assert not wrong, "\n".join(wrong)


def test_a_syntax_error_has_its_place() -> None:
    with pytest.raises(BadFile) as caught:
        _ = Source("case.py", b"x = 1\ny = (\n").tree
    assert caught.value.place.line >= 2


def sample(count: int) -> list[Path]:
    """Files of the standard library and of the installed packages, the same ones every time."""
    roots = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")]
    found = sorted(
        {
            path
            for root in roots
            for path in root.rglob("*.py")
            if "lib2to3" not in path.parts and "bad" not in path.name and 200 < path.stat().st_size < 40_000
        }
    )
    return random.Random(20240611).sample(found, min(count, len(found)))


def test_real_files() -> None:
    """A few hundred real files, for as long as ten seconds: same dump, and calls stand where `ast` says."""
    deadline = time.monotonic() + 10
    wrong, read = [], 0
    for path in sample(300):
        if time.monotonic() > deadline:
            break
        source = Source(str(path), path.read_bytes())
        try:
            if source.screen is None:
                continue
        except BadFile:
            continue
        read += 1
        wrong += [f"{path}: {line}" for line in differences(source)[:2]]
    assert read > 20
    assert not wrong, "\n".join(wrong[:20])


def test_ctrl_c_while_libcst_computes_places_is_no_failure_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """libcst looks up a node in a `finally`, and where that has no place yet its KeyError takes the place of ours."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    tree = Source("a.py", b"for x in y:\n    f(x)\n    g()\n").tree
    monkeypatch.setattr(cst.Arg, "_codegen_impl", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tree.places.span(tree.module.body[0])
