"""One file's text: decoding, the word gate, the parsed tree, and the place of every node.

Facts are built on the vocabulary of the standard library's `ast`. The tree itself comes from libcst,
lowered by `torchmemlint.lower`, so grammar newer than the running Python is read and every place is
exact; `screen` is the same tree by `ast.parse`, ten times cheaper, for asking whether a file can fire
at all. May not read files, print, or know rules.
"""

from __future__ import annotations

import ast
import codecs
import io
import tokenize
from collections.abc import Iterable
from functools import cached_property
from typing import Protocol

from torchmemlint.model import Position, Span

MAX_NESTING = 150
MAX_CHAIN = 1000
_LINKS = frozenset(("and", "or", "not", "in", "is", "if", "else", "for", "lambda", "await"))
MAX_BYTES = 20_000_000


class BadFile(Exception):
    """A file that cannot be linted: what is wrong and where (line from 1, column from 0)."""

    def __init__(self, reason: str, line: int = 1, column: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.place = Position(max(line, 1), max(column, 0))


class Places(Protocol):
    """Answers where a node of one particular tree stands."""

    def span(self, node: ast.AST) -> Span: ...


class Tree:
    """A parsed module and the places of its nodes."""

    def __init__(self, module: ast.Module, places: Places) -> None:
        self.module = module
        self.places = places


class Source:
    """One file. `path` is what the caller calls it; positions count code points of `text`."""

    def __init__(self, path: str, data: bytes) -> None:
        self.path = path
        self.data = data

    @cached_property
    def text(self) -> str:
        """The decoded text with its line ends as they are, without a byte order mark. Raises BadFile."""
        if len(self.data) > MAX_BYTES:
            raise BadFile(f"file is larger than {MAX_BYTES // 1_000_000} MB")
        if b"\0" in self.data:
            line = self.data.count(b"\n", 0, self.data.index(b"\0")) + 1
            raise BadFile("file contains a NUL byte", line)
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(self.data).readline)
            data = self.data.removeprefix(codecs.BOM_UTF8)
            return data.decode("utf-8" if encoding == "utf-8-sig" else encoding)
        except UnicodeDecodeError as error:
            line = self.data.count(b"\n", 0, error.start) + 1
            raise BadFile(f"file is not valid {error.encoding}; name its encoding in a coding cookie", line) from error
        except (SyntaxError, LookupError) as error:
            raise BadFile(f"unknown or contradictory encoding: {error}") from error

    @cached_property
    def lines(self) -> list[str]:
        """Lines as Python counts them, each with its end."""
        return io.StringIO(self.text, newline="").readlines()

    def mentions(self, words: Iterable[str]) -> bool:
        """Whether any of the words occurs in the file; never decodes."""
        return any(word.encode() in self.data for word in words)

    @cached_property
    def screen(self) -> Tree | None:
        """The tree by `ast.parse`, or None where the running Python's grammar refuses the text."""
        try:
            module = ast.parse(self.text.removeprefix("\ufeff"), type_comments=False)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
        return Tree(module, _AstPlaces(self))

    @cached_property
    def tree(self) -> Tree:
        """The tree by libcst, with exact places. Raises BadFile."""
        from torchmemlint.lower import parse  # libcst is only imported for a file that needs it

        # what `ast` could nest libcst can too, but for chains of `and` and `or`, which are flat in `ast`
        if self.screen is None or max(self.data.count(b"and"), self.data.count(b"or")) > MAX_CHAIN:
            self.check_depth()
        return parse(self)

    def check_depth(self) -> None:
        """libcst can exhaust the stack of the whole process, or hours, on deep nesting: refuse before it is asked."""
        depth = _Depth()
        try:
            for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
                depth.take(token)
        except (tokenize.TokenError, SyntaxError):
            pass

    def slice(self, span: Span) -> str:
        """The text of a span."""
        first, last = span.start, span.end
        if first.line == last.line:
            return self.lines[first.line - 1][first.column : last.column]
        middle = self.lines[first.line : last.line - 1]
        return self.lines[first.line - 1][first.column :] + "".join(middle) + self.lines[last.line - 1][: last.column]


class _Depth:
    """How deep the tree of a stream of tokens must be, at least; raises BadFile where that is too deep.

    Brackets and blocks nest. So do the links of a chain (`a + b + c`, `f()()`, `x.y.z`, `not not x`), which
    commas and line ends break, and the branches of an `if`.
    """

    def __init__(self) -> None:
        self._links = [0]
        self._branches = [0]

    def take(self, token: tokenize.TokenInfo) -> None:
        if token.type == tokenize.INDENT:
            self._branches.append(0)
        elif token.type == tokenize.DEDENT and len(self._branches) > 1:
            self._branches.pop()
        elif token.type == tokenize.NEWLINE:
            self._links = [0]
        elif token.type == tokenize.NAME:
            self._links[-1] += token.string in _LINKS
            self._branches[-1] += token.string == "elif"
        elif token.type == tokenize.OP:
            self._operator(token.string)
        if len(self._links) + len(self._branches) > MAX_NESTING + 2:
            raise BadFile(f"nested deeper than {MAX_NESTING} levels", token.start[0])
        if max(self._links[-1], self._branches[-1]) > MAX_CHAIN:
            raise BadFile(f"more than {MAX_CHAIN} operators, calls or branches in one chain", token.start[0])

    def _operator(self, text: str) -> None:
        if text in (",", ";"):
            self._links[-1] = 0
        elif text in (")", "]", "}"):
            self._links = self._links[:-1] or [0]
        else:
            self._links[-1] += 1
            if text in ("(", "[", "{"):
                self._links.append(0)


class _AstPlaces:
    """Spans of `ast.parse` nodes: byte columns turned into code points."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def span(self, node: ast.AST) -> Span:
        line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
        end_line, end_column = getattr(node, "end_lineno", line), getattr(node, "end_col_offset", column)
        return Span(self._position(line, column), self._position(end_line, end_column))

    def _position(self, line: int, byte_column: int) -> Position:
        if line > len(self._source.lines):
            return Position(line, 0)
        text = self._source.lines[line - 1]
        if text.isascii():
            return Position(line, byte_column)
        return Position(line, len(text.encode("utf-8")[:byte_column].decode("utf-8", "ignore")))
