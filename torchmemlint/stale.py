"""Silencing comments that silence nothing: unused, misspelt, without the reason that is asked for (TML002). Pure.

A comment is only called unused where every rule that it names has looked at the file and none of them, at any
confidence, found something on the lines that it reaches. What other tools' comments say is their business.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property

from torchmemlint.model import Applicability, Confidence, Edit, Finding, Fix, Position, Severity, Span
from torchmemlint.rule import UNUSED
from torchmemlint.settings import meant_code
from torchmemlint.suppress import Comment, Suppressions, Verb, Word

NAME = "unused-suppression"
_OURS = re.compile(r"TML\d*")
_INK = re.compile(r"\S")


@dataclass(frozen=True)
class Judged:
    """What a file's comments are held against.

    found    everything that was found in the file, silenced or not, at any confidence.
    ran      the codes of the rules that looked at it.
    known    all rules: codes and names.
    notices  the codes that no rule raises, with their names: never called unused.
    noqa     whether noqa comments count.
    reasons  whether each of our own comments is to give a reason.
    """

    found: Sequence[Finding]
    ran: Collection[str]
    known: Mapping[str, str]
    notices: Mapping[str, str]
    noqa: bool = True
    reasons: bool = False

    def named(self, word: Word) -> frozenset[str]:
        """The codes of the rules that a word stands for."""
        if word.text not in self._named:
            self._named[word.text] = frozenset(_named(word, self.known))
        return self._named[word.text]

    @cached_property
    def _named(self) -> dict[str, frozenset[str]]:
        return {}

    @cached_property
    def all_that_ran(self) -> frozenset[str]:
        return frozenset(self.ran)


def stale(path: str, lines: Sequence[str], comments: Suppressions, judged: Judged) -> Iterator[Finding]:
    """The findings about comments, those silenced that a comment names TML002 for."""
    alike = {(one.code, one.span.start.line, one.span.end.line): one for one in judged.found}
    used = {hit for finding in alike.values() for hit in comments.hits(finding)}
    used.update(_ending(comments))
    silenced: dict[tuple[int, int], bool] = {}
    for comment in comments.comments:
        if comment.verb is Verb.NOQA and not judged.noqa:
            continue
        on = comment.span.start.line, comment.span.end.line
        for message, fix in _faults(comment, lines, comments, judged, used):
            finding = Finding(path, comment.span, UNUSED, NAME, Severity.INFO, Confidence.HIGH, message, fix=fix)
            if on not in silenced:
                silenced[on] = _silenced(finding, comments)
            if not silenced[on]:
                yield finding


def _ending(comments: Suppressions) -> Iterator[tuple[Comment, Word | None]]:
    """Each `enable` that ends a `disable`, with the first of its words that says so."""
    firsts: dict[Comment, dict[str, Word]] = {}
    for (_, word), enable in comments.ends.items():
        if enable not in firsts:
            firsts[enable] = {one.text: one for one in reversed(enable.words)}
        yield enable, firsts[enable].get(word.text)


def _silenced(finding: Finding, comments: Suppressions) -> bool:
    """Only a word that means this code alone silences it: an unused `noqa: TML` would hide itself."""
    return comments.whole_file or any(word is None or word.text in (UNUSED, NAME) for _, word in comments.hits(finding))


def _faults(
    comment: Comment,
    lines: Sequence[str],
    comments: Suppressions,
    judged: Judged,
    used: Collection[tuple[Comment, Word | None]],
) -> Iterator[tuple[str, Fix | None]]:
    """What is wrong with one comment, in words, and what mends it."""
    if comment.problem:
        yield f"this comment silences nothing: {comment.problem}", None
        return
    for word in comment.words:
        if _unknown(word, comment, judged):
            yield f"`{word.text}` is no rule: it silences nothing{meant_code(word.text, judged.known)}", None
    unused = [word for word in comment.words if (comment, word) not in used and _decided(word, comment, judged)]
    if unused:
        names = ", ".join(f"`{word.text}`" for word in unused)
        what = "ends no `disable`" if comment.verb is Verb.ENABLE else "silences nothing here"
        yield f"{names} {what}", _fix(comment, unused, lines, comments)
    if judged.reasons and comment.verb not in (Verb.NOQA, Verb.ENABLE) and not comment.reason:
        yield f"`{comment.verb.value}` gives no reason", None


def _unknown(word: Word, comment: Comment, judged: Judged) -> bool:
    if comment.verb is Verb.NOQA and not _OURS.fullmatch(word.text):
        return False
    return not judged.named(word) and not _named(word, judged.notices)


def _decided(word: Word, comment: Comment, judged: Judged) -> bool:
    """Whether every rule that the word names has run, so that it is known to have found nothing."""
    if comment.verb is Verb.NOQA and not _OURS.fullmatch(word.text):
        return False
    named = judged.named(word)
    if comment.verb is Verb.ENABLE:
        return bool(named)
    return bool(named) and named <= judged.all_that_ran


def _named(word: Word, known: Mapping[str, str]) -> set[str]:
    return {code for code, name in known.items() if word.names(code, name)}


# ---- the fix ---------------------------------------------------------------------------------------


def _fix(comment: Comment, unused: Sequence[Word], lines: Sequence[str], comments: Suppressions) -> Fix:
    """Takes the words out of the comment, and out of the `enable` that ends it; without words it goes altogether."""
    edits = [_without(comment, set(unused), lines)]
    ended: dict[Comment, set[str]] = {}
    for word in unused:
        if other := comments.ends.get((comment, word)):
            ended.setdefault(other, set()).add(word.text)
    for other, texts in ended.items():
        edits.append(_without(other, {one for one in other.words if one.text in texts}, lines))
    if len(unused) == len(comment.words):
        return Fix("remove the comment", Applicability.SAFE, tuple(edits))
    names = ", ".join(f"`{word.text}`" for word in unused)
    return Fix(f"remove {names} from the comment", Applicability.SAFE, tuple(edits))


def _without(comment: Comment, unused: Set[Word], lines: Sequence[str]) -> Edit:
    number = comment.span.start.line
    line = lines[number - 1]
    kept = [word for word in comment.words if word not in unused]
    if not kept:
        return _removed(comment, line)
    text = [kept[0].text]
    for before, word in zip(comment.words, comment.words[1:], strict=False):
        if word not in unused and word is not kept[0]:
            text += (line[before.end : word.start], word.text)
    return Edit(_on(number, comment.words[0].start, comment.words[-1].end), "".join(text))


def _removed(comment: Comment, line: str) -> Edit:
    """Takes a comment off its line, and the line away where it holds nothing else."""
    number, start, end = comment.span.start.line, comment.span.start.column, comment.span.end.column
    if behind := _INK.search(line, end):
        return Edit(_on(number, start, behind.start()), "")
    bare = line.rstrip("\r\n")
    before = bare[:start].rstrip()
    if before or bare == line:
        return Edit(_on(number, len(before), len(bare)), "")
    return Edit(Span(Position(number, 0), Position(number + 1, 0)), "")


def _on(line: int, start: int, end: int) -> Span:
    return Span(Position(line, start), Position(line, end))
