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
import re
import tokenize
from array import array
from collections.abc import Iterable
from functools import cached_property
from itertools import accumulate, islice
from typing import Protocol

from torchmemlint.model import Position, Span

MAX_NESTING = 150
MAX_CHAIN = 1000
MAX_EXACT_BYTES = 1_000_000
MAX_EXACT_PARTS = 50_000  # libcst takes seconds and hundreds of megabytes for so many
_LINKS = frozenset(("and", "or", "not", "in", "is", "if", "else", "for", "lambda", "await"))
_LONG_IMPORT = re.compile(rb"\b(?:import|from)\b[\w\s.\\\x80-\xff]{2000}")  # one name of many parts, perhaps
_WIDE = {  # the longer marks first: one of them begins with one of the others
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_FORMATTED = re.compile(r"[rR]?[fF]")
_HALF_A_PAIR = re.compile("[\ud800-\udfff]")  # what no parser can encode
_PARTS = re.compile(r"[^\W\d]\w*|[^\w\s\"'\\]")
_BEGINS = bytes(byte & 0xC0 != 0x80 for byte in range(256))  # UTF-8: whether a character begins with this byte
MAX_BYTES = 20_000_000
MAX_PARTS = 500_000
_DENSE = re.compile(
    rb"""\"{3}.*?\"{3}|'{3}.*?'{3}|"[^"\n]*"|'[^'\n]*'|(?P<comment>\#[^\n]*)|[\w.]+|[^\w\s,]""",
    re.DOTALL,
)


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
        self.refused_at = (1, 0)  # where `ast.parse` stopped, and why
        self.refused_for = "syntax error"

    @cached_property
    def text(self) -> str:
        """The decoded text with its line ends as they are, without a byte order mark. Raises BadFile."""
        if len(self.data) > MAX_BYTES:
            raise BadFile(f"file is larger than {MAX_BYTES // 1_000_000} MB")
        if b"\0" in self.data:
            if wide := _wide(self.data):
                raise BadFile(f"file is in {wide}, which Python does not read: save it as UTF-8")
            line = self.data.count(b"\n", 0, self.data.index(b"\0")) + 1
            raise BadFile("file contains a NUL byte", line)
        if _too_dense(self.data):
            raise BadFile(f"file has more than {MAX_PARTS:,} words and signs")
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(self.data).readline)
            data = self.data.removeprefix(codecs.BOM_UTF8)
            text = data.decode("utf-8" if encoding == "utf-8-sig" else encoding)
        except UnicodeDecodeError as error:
            line = self.data.count(b"\n", 0, error.start) + 1
            raise BadFile(f"file is not valid {error.encoding}; name its encoding in a coding cookie", line) from error
        except (SyntaxError, LookupError, UnicodeError) as error:
            raise BadFile(f"unknown or contradictory encoding: {error}") from error
        if half := _HALF_A_PAIR.search(text):
            raise BadFile(f"text in {encoding} holds half a character", text.count("\n", 0, half.start()) + 1)
        return text

    @cached_property
    def lines(self) -> list[str]:
        """Lines as Python counts them, each with its end."""
        return io.StringIO(self.text, newline="").readlines()

    @cached_property
    def step(self) -> str:
        """One level of indentation as the file has it."""
        widths = {len(line) - len(line.lstrip(" ")) for line in self.lines if line.strip()} - {0}
        if not widths and any(line.startswith("\t") for line in self.lines):
            return "\t"
        return " " * (2 if widths and min(widths) == 2 else 4)

    def mentions(self, words: Iterable[str]) -> bool:
        """Whether any of the words occurs in the file; never decodes."""
        return any(word.encode() in self._searched for word in words)

    @cached_property
    def _searched(self) -> bytes:
        """What words are looked for in: a file in UTF-16, which cannot be linted, may be meant to be."""
        return self.data.replace(b"\0", b"") if _wide(self.data) else self.data

    @cached_property
    def screen(self) -> Tree | None:
        """The tree by `ast.parse`, or None where the running Python's grammar refuses the text."""
        try:
            module = ast.parse(self.text.removeprefix("\ufeff"), type_comments=False)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            if isinstance(error, SyntaxError):
                self.refused_at = error.lineno or 1, (error.offset or 1) - 1
                if error.msg != "invalid syntax":
                    self.refused_for = f"syntax error: {error.msg}"
            return None
        return Tree(module, _AstPlaces(self))

    @cached_property
    def tree(self) -> Tree:
        """The tree by libcst, with exact places. Raises BadFile, also where that would take too much for libcst."""
        from torchmemlint.lower import parse  # libcst is only imported for a file that needs it

        if self.screen is None:
            if len(self.data) > MAX_EXACT_BYTES:
                raise BadFile("syntax error, or too large to be read as newer Python", *self.refused_at)
            self.check_depth()
        else:
            if len(self.data) > MAX_EXACT_BYTES or not _fits(self.screen.module, len(self.data)):
                raise BadFile("too large for exact places")
            # what `ast` could nest libcst can too, but for what is flat in `ast` and nested in libcst
            if max(self.data.count(b"and"), self.data.count(b"or")) > MAX_CHAIN or _LONG_IMPORT.search(self.data):
                self.check_depth()
        return parse(self)

    def check_depth(self) -> None:
        """libcst can exhaust the stack of the whole process, or hours, on deep nesting: refuse before it is asked."""
        depth = _Depth()
        try:
            for number, token in enumerate(tokenize.generate_tokens(io.StringIO(self.text).readline)):
                depth.take(token)
                if number > 3 * MAX_EXACT_PARTS:
                    raise BadFile("syntax error, or too large to be read as newer Python", *self.refused_at)
        except (tokenize.TokenError, SyntaxError) as error:
            if "too many" in str(error):  # brackets, blocks or f-strings: what follows has not been counted
                raise BadFile(f"nested deeper than {MAX_NESTING} levels", *self.refused_at) from None

    def slice(self, span: Span) -> str:
        """The text of a span."""
        first, last = span.start, span.end
        if first.line == last.line:
            return self.lines[first.line - 1][first.column : last.column]
        middle = self.lines[first.line : last.line - 1]
        return self.lines[first.line - 1][first.column :] + "".join(middle) + self.lines[last.line - 1][: last.column]


def as_bytes(text: str) -> bytes:
    """A text that was read elsewhere, in the encoding that its own cookie names, so that it is decoded as it was."""
    data = text.encode("utf-8", "surrogatepass")
    try:
        return text.encode(tokenize.detect_encoding(io.BytesIO(data).readline)[0])
    except (SyntaxError, LookupError, UnicodeError):
        return data


def _wide(data: bytes) -> str:
    """UTF-16 or UTF-32 where a byte order mark says so."""
    return next((name for mark, name in _WIDE.items() if data.startswith(mark)), "")


def _too_dense(data: bytes) -> bool:
    """Whether a tree of the file would take gigabytes: too many names, numbers, signs and strings of any length."""
    if len(data) <= MAX_PARTS:
        return False
    parts = (found for found in _DENSE.finditer(data) if found.lastgroup is None)
    return next(islice(parts, MAX_PARTS, None), None) is not None


def _fits(module: ast.Module, size: int) -> bool:
    """Whether libcst can be asked for a tree of so many nodes; a node takes two bytes of text at least."""
    return size < 2 * MAX_EXACT_PARTS or sum(1 for _ in islice(ast.walk(module), MAX_EXACT_PARTS)) < MAX_EXACT_PARTS


class _Depth:
    """How deep the tree of a stream of tokens must be, at least; raises BadFile where that is too deep.

    Brackets and blocks nest. So do the links of a chain (`a + b + c`, `f()()`, `x.y.z`, `not not x`), which
    commas and line ends break, and the branches of an `if`.
    """

    def __init__(self) -> None:
        self._links = [0]
        self._branches = [0]
        self._name_ends = (0, 0)

    def take(self, token: tokenize.TokenInfo) -> None:
        if token.type == tokenize.INDENT:
            self._branches.append(0)
        elif token.type == tokenize.DEDENT and len(self._branches) > 1:
            self._branches.pop()
        elif token.type == tokenize.NEWLINE:
            self._links = [0]
        elif token.type == tokenize.NAME:
            self._branches[-1] += token.string == "elif"
            self._name_ends = token.end
        if token.type in (tokenize.NAME, tokenize.OP):
            self._part(token.string, token.start[0])
        elif token.type == tokenize.STRING:
            # a name right in front is a prefix that the running Python does not know yet
            if _FORMATTED.match(token.string) or token.start == self._name_ends:
                self._fields(token)

    def _fields(self, token: tokenize.TokenInfo) -> None:
        """What an f-string may hold: before Python 3.12 it is one token. Its plain text is counted too."""
        outside = list(self._links)
        for part in _PARTS.findall(token.string):
            self._part(part, token.start[0])
        self._links = outside

    def _part(self, text: str, line: int) -> None:
        if text in (",", ";"):
            self._links[-1] = 0
        elif text in (")", "]", "}"):
            self._links = self._links[:-1] or [0]
        elif text in _LINKS or not text[0].isidentifier():
            self._links[-1] += 1
            if text in ("(", "[", "{"):
                self._links.append(0)
        if len(self._links) + len(self._branches) > MAX_NESTING + 2:
            raise BadFile(f"nested deeper than {MAX_NESTING} levels", line)
        if max(self._links[-1], self._branches[-1]) > MAX_CHAIN:
            raise BadFile(f"more than {MAX_CHAIN} operators, calls or branches in one chain", line)


class _AstPlaces:
    """Spans of `ast.parse` nodes: byte columns turned into code points."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._columns: dict[int, array[int]] = {}  # for lines with other characters: how many begin before each byte

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
        if line not in self._columns:
            begun = accumulate(text.encode("utf-8").translate(_BEGINS), initial=0)
            self._columns[line] = array("L", begun)
        known = self._columns[line]
        return Position(line, known[min(byte_column, len(known) - 1)])
