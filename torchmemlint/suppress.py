"""Comments that silence findings. May not read files, print, or know rules.

`# noqa` means what it means to flake8 (the same expressions, searched in the same stretch of lines),
except that only real comments count: the words inside a string silence nothing. Beside it stands our
own `# torchmemlint: ignore[TML101] reason`, which linters that tidy up `noqa` comments leave alone.
Both are accepted on the first or the last line of what is flagged.
"""

from __future__ import annotations

import re
import tokenize
from collections.abc import Iterable, Iterator, Sequence

from torchmemlint.model import Finding

# Copied in meaning from flake8.defaults: a code that this does not match makes the comment a blanket one.
_NOQA = re.compile(r"# noqa(?::[\s]?(?P<codes>([A-Z]+[0-9]+(?:[,\s]+)?)+))?", re.IGNORECASE)
_NOQA_FILE = re.compile(r"\s*# flake8[:=]\s*noqa", re.IGNORECASE)
_OWN = re.compile(r"#\s*torchmemlint:\s*ignore\[(?P<codes>[^\]]*)\]")
_MARKS = re.compile(r"noqa|torchmemlint:", re.IGNORECASE)


class Suppressions:
    """The silencing comments of one file, given its lines with their ends."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.whole_file = False
        self._comments: dict[int, list[str]] = {}
        if not any(_MARKS.search(line) for line in lines):
            return
        for first, last, comment in _comments(lines):
            if _NOQA_FILE.match(comment) and not lines[last - 1][: lines[last - 1].rfind(comment)].strip():
                self.whole_file = True
            for line in range(first, last + 1):
                self._comments.setdefault(line, []).append(comment)

    def silence(self, finding: Finding, noqa: bool = True) -> bool:
        """Whether a comment silences the finding; `noqa` False leaves the noqa comments out."""
        if noqa and self.whole_file:
            return True
        for line in {finding.span.start.line, finding.span.end.line}:
            for comment in self._comments.get(line, ()):
                if _own(comment, finding) or (noqa and _noqa(comment, finding.code)):
                    return True
        return False


def _noqa(comment: str, code: str) -> bool:
    match = _NOQA.search(comment)
    if match is None:
        return False
    codes = match["codes"]
    return codes is None or code.startswith(tuple(word for word in re.split(r"[,\s]", codes) if word))


def _own(comment: str, finding: Finding) -> bool:
    for match in _OWN.finditer(comment):
        for word in re.split(r"[,\s]+", match["codes"].strip()):
            if word and (finding.code.startswith(word) or finding.name == word):
                return True
    return False


def _comments(lines: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Each comment with the first and last line of the stretch it stands for.

    A stretch is what lies between two line-end tokens, so a multi-line string or a backslash joins its
    lines and brackets do not: flake8's rule. Where the text cannot be tokenized, each further line that
    has a `#` is taken as it is.
    """
    first, reached, pending = 0, 0, []
    try:
        for token in tokenize.generate_tokens(iter(lines).__next__):
            if token.type in (tokenize.ENDMARKER, tokenize.DEDENT):
                continue
            first = first or token.start[0]
            if token.type == tokenize.COMMENT:
                pending.append(token.string)
            if token.type in (tokenize.NL, tokenize.NEWLINE):
                yield from _stretch(first, token.end[0], pending)
                first, reached, pending = 0, token.end[0], []
    except (tokenize.TokenError, SyntaxError):
        for number in range(reached + 1, len(lines) + 1):
            if "#" in lines[number - 1]:
                yield number, number, lines[number - 1][lines[number - 1].index("#") :].rstrip("\r\n")


def _stretch(first: int, last: int, comments: Iterable[str]) -> Iterator[tuple[int, int, str]]:
    for comment in comments:
        yield first, last, comment
