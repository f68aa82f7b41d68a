"""Places for findings: reading the statements that matter gives the places that reading the whole file gives."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from cases import ROOT
from torchmemlint.engine import lint
from torchmemlint.exact import ExactPlaces
from torchmemlint.facts.project import Project
from torchmemlint.model import Confidence
from torchmemlint.rule import load_rules
from torchmemlint.source import Source

CODE = sorted((ROOT / "torchmemlint" / "facts").glob("*.py"))[::4] + sorted((ROOT / "fixtures").glob("*/*.py"))[::3]
ODD = """\
@decorated(1)
@twice
def f(): return f"{a + b!r:>{width}} {g(c)[0]}" "tail"; x = 1
class A:\x0c
    y = f'''
  {é.append("日本", b.c)}
'''
a = 1; b = (2 +
  3); c = f"{a}{b .d}"
"""


def places(source: Source, lines: range | set[int]) -> None:
    """Compares every place with that in the whole file's tree by libcst."""
    assert source.screen is not None
    exact = ExactPlaces(source, source.screen, set(lines))
    whole = source.tree
    for node, twin in zip(ast.walk(source.screen.module), ast.walk(whole.module), strict=True):
        assert type(node) is type(twin)
        if hasattr(node, "lineno") and source.screen.places.span(node).start.line in lines:
            there = whole.places.span(twin)
            assert there.start == there.end or exact.span(node) == there, ast.dump(node)


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.name)
def test_all_of_a_real_file(path: Path) -> None:
    source = Source(str(path), path.read_bytes())
    places(source, range(1, len(source.lines) + 1))


@pytest.mark.parametrize("ends", ["\n", "\r\n"], ids=repr)
def test_odd_text(ends: str) -> None:
    source = Source("odd.py", b"\xef\xbb\xbf" + ODD.replace("\n", ends).encode())
    places(source, range(1, len(source.lines) + 1))


def test_only_what_is_asked_for_is_read() -> None:
    source = Source("two.py", b"x = f'{a.b}'\ny = f'{a.b}'\n")
    assert source.screen is not None
    exact = ExactPlaces(source, source.screen, {2})
    first, second = source.screen.module.body
    assert exact.span(first) == source.screen.places.span(first)
    field = next(node for node in ast.walk(second) if isinstance(node, ast.Attribute))
    assert source.slice(exact.span(field)) == "a.b"


def test_a_comment_that_looks_like_a_coding_cookie() -> None:
    source = Source("cookie.py", b"a = 1\nb = 2\ndef f():  # coding: latin-1\n    return f'\xc3\xa9{a.b}'\n")
    assert source.screen is not None
    exact = ExactPlaces(source, source.screen, {4})
    assert exact.span(source.screen.module.body[2]).end.line == 4


def test_findings_in_an_fstring_have_their_place() -> None:
    head = "import torch\nfor batch in loader:\n    loss = f(batch)\n    loss.backward()\n"
    source = Source("fstring.py", f"{head}    print(f'''é\n{{torch.cuda.empty_cache()}}''')\n".encode())
    (finding,) = [one for one in lint(source, load_rules(), Project(), Confidence.HIGH) if one.code == "TML101"]
    assert source.slice(finding.span) == "torch.cuda.empty_cache()"
