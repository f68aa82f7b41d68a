"""Comments that silence findings: what they say and how far they reach. May not read files, print, or know rules.

`# noqa` means what it means to flake8 (the same expressions, searched in the same stretch of lines), except
that only real comments count: the words inside a string silence nothing. Beside it stand our own comments,
which linters that tidy up `noqa` leave alone:

    x = f()  # torchmemlint: ignore[TML101] reason     what begins or ends on this line
    # torchmemlint: ignore[TML101] reason              the same of the statement below
    # torchmemlint: disable[TML101] reason             from here to `enable[TML101]` or the end of the block
    # torchmemlint: file-ignore[TML101] reason         the whole file

In the brackets stand codes, beginnings of codes (`TML3`) or names of rules, separated by commas.
"""

from __future__ import annotations

import enum
import re
import tokenize
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from torchmemlint.model import Finding, Position, Span

# Copied in meaning from flake8.defaults: a code that this does not match makes the comment a blanket one.
_NOQA = re.compile(r"# noqa(?::[\s]?(?P<codes>([A-Z]+[0-9]+(?:[,\s]+)?)+))?", re.IGNORECASE)
_NOQA_FILE = re.compile(r"\s*# flake8[:=]\s*noqa", re.IGNORECASE)
_OWN = re.compile(r"#\s*torchmemlint:\s*(?P<verb>[\w-]*)(?P<open>\s*\[(?P<codes>[^\]#]*)(?P<close>\]?))?")
_MARKS = re.compile(r"noqa|torchmemlint:", re.IGNORECASE)
_NEXT = re.compile(r"(?<!\s)\s+#(?=\s|noqa|torchmemlint:)|$")  # where a further comment begins within a comment


class Verb(enum.Enum):
    """What a comment asks for."""

    NOQA = "noqa"
    IGNORE = "ignore"
    DISABLE = "disable"
    ENABLE = "enable"
    FILE_IGNORE = "file-ignore"
    NONE = ""  # it cannot be understood


@dataclass(frozen=True)
class Word:
    """One code or name in a comment's list, with its columns."""

    text: str
    start: int
    end: int

    def names(self, code: str, name: str) -> bool:
        """Whether it stands for a rule."""
        return self.text == name or code.startswith(self.text)


@dataclass(frozen=True, eq=False)
class Comment:
    """One silencing comment.

    span     from its `#` to its end, its reason included.
    alone    whether the line holds nothing else.
    first, last  the lines that it reaches.
    problem  why it silences nothing, where it cannot be understood.
    """

    verb: Verb
    span: Span
    words: tuple[Word, ...] = ()
    reason: str = ""
    alone: bool = False
    first: int = 0
    last: int = 0
    problem: str = ""

    @property
    def blanket(self) -> bool:
        return self.verb is Verb.NOQA and not self.words


Hit = tuple[Comment, Word | None]


class _Reaching:
    """What one word silences: the comments that it stands in, by their first lines."""

    def __init__(self, entries: Iterable[tuple[int, int, Hit]]) -> None:
        self._entries = sorted(entries, key=lambda entry: entry[0])
        self._firsts = [first for first, _, _ in self._entries]
        self._furthest = list(accumulate((last for _, last, _ in self._entries), max))

    def on(self, line: int) -> Iterator[Hit]:
        at = bisect_right(self._firsts, line)
        while at and self._furthest[at - 1] >= line:
            at -= 1
            _, last, hit = self._entries[at]
            if last >= line:
                yield hit


class Suppressions:
    """The silencing comments of one file, given its lines with their ends.

    comments  from the top down.
    ends      each word of a `disable` that an `enable` ends, and that `enable`.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        self.whole_file = False
        self.comments: list[Comment] = []
        self.ends: dict[tuple[Comment, Word], Comment] = {}
        self._on_lines: dict[str, _Reaching] = {}  # by the word, "" for a blanket comment
        self._wide: dict[str, _Reaching] = {}
        if not any(_MARKS.search(line) for line in lines):
            return
        layout = _Layout(lines)
        for place in layout.comments:
            if _NOQA_FILE.match(place.text) and not lines[place.last - 1][: place.at.column].strip():
                self.whole_file = True
            self.comments += _read(place, layout)
        self.ends = _pairs(self.comments)
        self._on_lines = self._reaching(Verb.NOQA, Verb.IGNORE)
        self._wide = self._reaching(Verb.DISABLE, Verb.FILE_IGNORE)

    def _reaching(self, *verbs: Verb) -> dict[str, _Reaching]:
        by_text: dict[str, list[tuple[int, int, Hit]]] = {}
        for comment in self.comments:
            for word in comment.words if comment.verb in verbs else ():
                ended = self.ends.get((comment, word))
                last = comment.last if ended is None else ended.span.start.line
                by_text.setdefault(word.text, []).append((comment.first, last, (comment, word)))
            if comment.blanket and comment.verb in verbs:
                by_text.setdefault("", []).append((comment.first, comment.last, (comment, None)))
        return {text: _Reaching(entries) for text, entries in by_text.items()}

    def silence(self, finding: Finding, noqa: bool = True) -> bool:
        """Whether a comment silences the finding; `noqa` False leaves the noqa comments out."""
        if noqa and self.whole_file:
            return True
        return any(noqa or comment.verb is not Verb.NOQA for comment, _ in self.hits(finding))

    def hits(self, finding: Finding) -> Iterator[Hit]:
        """The comments that silence a finding and the words that do so; of a blanket noqa None."""
        start, end = finding.span.start.line, finding.span.end.line
        for text in ("", *(finding.code[:size] for size in range(1, len(finding.code) + 1)), finding.name):
            for line in {start, end} if text in self._on_lines else ():
                for comment, word in self._on_lines[text].on(line):
                    noqa = comment.verb is Verb.NOQA
                    if (line == start or noqa or not comment.alone) and (text != finding.name or not noqa):
                        yield comment, word
            if text in self._wide:
                yield from self._wide[text].on(start)


# ---- reading comments ------------------------------------------------------------------------------


def _read(place: _Place, layout: _Layout) -> Iterator[Comment]:
    """The silencing comments that one comment of the text holds."""
    if noqa := _NOQA.search(place.text):
        words = tuple(_words(noqa, place)) if noqa["codes"] else ()
        yield Comment(Verb.NOQA, _span(noqa, place), words, alone=place.alone, first=place.first, last=place.last)
    for match in _OWN.finditer(place.text):
        span = _span(match, place)
        if problem := _problem(match, place):
            yield Comment(Verb.NONE, span, alone=place.alone, problem=problem)
            continue
        verb, words = Verb(match["verb"]), tuple(_words(match, place))
        reason = place.text[match.end() : _end(match, place)].strip(" \t:-")
        yield Comment(verb, span, words, reason, place.alone, *layout.reach(verb, place))


def _problem(match: re.Match[str], place: _Place) -> str:
    """Why one of our own comments cannot be understood."""
    verbs = [verb.value for verb in Verb if verb not in (Verb.NOQA, Verb.NONE)]
    verb = match["verb"]
    if verb not in verbs:
        return f"`{verb}` is none of {', '.join(verbs)}" if verb else f"names none of {', '.join(verbs)}"
    if match["open"] is None or not match["codes"].strip(" \t,"):
        return f"`{verb}` names no codes, as in `{verb}[TML101]`"
    if not match["close"]:
        return f"the bracket after `{verb}` is not closed"
    if verb != Verb.IGNORE.value and not place.alone:
        return f"`{verb}` stands on a line with code, not on one of its own"
    return ""


def _words(match: re.Match[str], place: _Place) -> Iterator[Word]:
    start = place.at.column + match.start("codes")
    for word in re.finditer(r"[^,\s]+", match["codes"]):
        yield Word(word[0], start + word.start(), start + word.end())


def _end(match: re.Match[str], place: _Place) -> int:
    """Where a comment ends within the comment that it is a part of."""
    found = _NEXT.search(place.text, match.start() + len(match[0].rstrip()))
    return found.start() if found else len(place.text)


def _span(match: re.Match[str], place: _Place) -> Span:
    line, column = place.at.line, place.at.column
    return Span(Position(line, column + match.start()), Position(line, column + _end(match, place)))


def _pairs(comments: Sequence[Comment]) -> dict[tuple[Comment, Word], Comment]:
    """Each word of an `enable` ends the last `disable` above it of the same word that reaches so far."""
    begun: dict[str, list[tuple[Comment, Word]]] = {}
    pairs: dict[tuple[Comment, Word], Comment] = {}
    for comment in comments:
        for word in comment.words:
            waiting = begun.setdefault(word.text, [])
            if comment.verb is Verb.DISABLE:
                waiting.append((comment, word))
            elif comment.verb is Verb.ENABLE:
                while waiting and waiting[-1][0].last < comment.span.start.line:
                    waiting.pop()
                if waiting:
                    pairs[waiting.pop()] = comment
    return pairs


# ---- where comments stand --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    """One comment of the text: its place, and the first and last line of the stretch it stands for.

    A stretch is what lies between two line-end tokens, so a multi-line string or a backslash joins its lines
    and brackets do not: flake8's rule. `inside` says that a statement has begun above and goes on below.
    """

    text: str
    at: Position
    first: int
    last: int
    alone: bool
    inside: bool = False


class _Layout:
    """The comments of a text and its statements: first and last line and indentation, from the top down."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.comments: list[_Place] = []
        self._lines = lines
        self._statements: list[tuple[int, int, int]] = []
        self._stretches: list[tuple[int, int]] = []
        try:
            self._take(lines)
        except (tokenize.TokenError, SyntaxError):  # each further line that has a `#` is taken as it is
            reached = self._stretches[-1][1] if self._stretches else 0
            for number in range(reached + 1, len(lines) + 1):
                self._guess(number, lines[number - 1].rstrip("\r\n"))

    def _take(self, lines: Sequence[str]) -> None:
        first, statement, pending = 0, (0, 0), []
        for token in tokenize.generate_tokens(iter(lines).__next__):
            if token.type in (tokenize.ENDMARKER, tokenize.INDENT, tokenize.DEDENT):
                continue
            first = first or token.start[0]
            if token.type == tokenize.COMMENT:
                pending.append(token)
            elif token.type not in (tokenize.NL, tokenize.NEWLINE) and not statement[0]:
                statement = token.start
            if token.type in (tokenize.NL, tokenize.NEWLINE):
                last = token.end[0]
                for one in pending:
                    alone = not lines[one.start[0] - 1][: one.start[1]].strip()
                    place = Position(*one.start)
                    self.comments.append(_Place(one.string, place, first, last, alone, statement[0] > 0))
                self._stretches.append((first, last))
                if token.type == tokenize.NEWLINE:
                    self._statements.append((statement[0] or first, last, statement[1]))
                    statement = (0, 0)
                first, pending = 0, []

    def _guess(self, number: int, line: str) -> None:
        self._stretches.append((number, number))
        if line.strip() and not line.lstrip().startswith("#"):
            self._statements.append((number, number, len(line) - len(line.lstrip())))
        if "#" in line:
            column = line.index("#")
            alone = not line[:column].strip()
            self.comments.append(_Place(line[column:], Position(number, column), number, number, alone))

    def reach(self, verb: Verb, place: _Place) -> tuple[int, int]:
        """The first and last line on which a comment silences."""
        if verb is Verb.FILE_IGNORE:
            return 1, len(self._lines) + 1
        if verb is Verb.IGNORE and not place.alone:
            return place.first, place.last
        if verb is Verb.IGNORE and place.inside:
            after = bisect_right(self._stretches, (place.at.line, len(self._lines)))
            return self._stretches[after] if after < len(self._stretches) else (0, -1)
        after = bisect_right(self._statements, (place.at.line, len(self._lines), 0))
        if verb is Verb.IGNORE:
            return place.first, self._statements[after][1] if after < len(self._statements) else place.last
        while after < len(self._statements) and self._statements[after][2] >= place.at.column:
            after = self._outside[after]
        return place.first, self._statements[after][0] - 1 if after < len(self._statements) else len(self._lines)

    @cached_property
    def _outside(self) -> list[int]:
        """For each statement the next one that is indented less."""
        outside = [len(self._statements)] * len(self._statements)
        waiting: list[int] = []
        for number, (_, _, column) in enumerate(self._statements):
            while waiting and self._statements[waiting[-1]][2] > column:
                outside[waiting.pop()] = number
            waiting.append(number)
        return outside
