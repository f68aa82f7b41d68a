"""Sources and rules to findings. Pure: reads no files, prints nothing, exits nowhere."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from torchmemlint.document import Document, Script, opened
from torchmemlint.facts.project import Project
from torchmemlint.model import Confidence, Finding, Position, Severity, Span
from torchmemlint.rule import BAD_FILE, INTERNAL_ERROR, Rule
from torchmemlint.source import BadFile, Source, Tree

if TYPE_CHECKING:
    from torchmemlint.facts.file_model import FileModel


def lint(source: Source, rules: Sequence[Rule], project: Project, least: Confidence = Confidence.LOW) -> list[Finding]:
    """All findings of one file, sorted, without regard to suppressions or confidence.

    A file that cannot be parsed gives one TML001, a rule that fails one TML000; neither hides the
    findings of the other rules. Where no finding of a rule is as sure as `least`, which is what is going to be
    shown, their places are those of Python's own parser.
    """
    wanted = [rule for rule in rules if _may_fire(source, rule, project)]
    if not wanted:
        return []
    try:
        project.shared.adopt(source)
        try:
            return _asked(source, wanted, project, least)
        except _TooDeep as error:
            if not error.others:
                raise
            return _asked(source, wanted, project.without(error.others), least)
    except BadFile as error:
        return fingerprinted(source, [_bad(source.path, "file", error.reason, error.place)])


class _TooDeep(BadFile):
    """Something was too deep to be followed. `others`: the files besides this one that nest as deep as that."""

    def __init__(self, others: frozenset[str] = frozenset()) -> None:
        super().__init__("expression too long or too deeply nested")
        self.others = others


def _asked(source: Source, rules: Sequence[Rule], project: Project, least: Confidence) -> list[Finding]:
    screen = source.screen
    if screen is None:
        with _modelled(source, source.tree, project) as model:
            return _sorted(source, _checked(source, rules, model))
    with _modelled(source, screen, project) as model:
        return _sorted(source, _exactly(source, screen, rules, model, least))


def lint_file(
    path: str, data: bytes, rules: Sequence[Rule], project: Project, least: Confidence = Confidence.LOW
) -> tuple[Document, list[Finding]]:
    """A file opened by its name, and the findings in its source; `Document.placed` says where in the file they are.

    A cell of a notebook that is no Python gives one TML001 and does not hide the findings of the other cells.
    """
    try:
        document = opened(path, data)
    except BadFile as error:
        nothing = Script(path, b"")
        return nothing, fingerprinted(nothing.source, [_bad(path, "file", error.reason, error.place)])
    findings = lint(document.source, rules, project, least)
    if any(one.code == BAD_FILE for one in findings) and (bad := document.bad_cells()):
        document = document.without(bad)
        named = [_bad(path, f"cell {one.number}", one.reason, one.place) for one in bad]
        findings = [*fingerprinted(document.source, named), *lint(document.source, rules, project, least)]
    return document, findings


def _bad(path: str, what: str, reason: str, place: Position) -> Finding:
    span = Span(place, Position(place.line, place.column + 1))
    return _own(path, BAD_FILE, "file-not-parsed", f"{what} cannot be parsed: {reason}", span)


def _exactly(source: Source, screen: Tree, rules: Iterable[Rule], model: FileModel, least: Confidence) -> list[Finding]:
    """The findings of some rules; those that will be shown are found again where libcst says that they stand.

    Where libcst fails on what the running Python reads, they stay where they were.
    """
    findings = _checked(source, rules, model)
    shown = [finding for finding in findings if finding.confidence.rank >= least.rank]
    if not shown:
        return findings
    from torchmemlint.exact import ExactPlaces  # libcst is only imported for a file with findings

    codes = {finding.code for finding in shown}
    rough = screen.places
    screen.places = ExactPlaces(source, screen, set(_lines_of(source, shown)))
    try:
        again = _checked(source, [rule for rule in rules if rule.code in codes], model)
    except BadFile:
        return findings
    finally:
        screen.places = rough  # others see this tree too, and what they see must not depend on who came first
    return [finding for finding in findings if finding.code not in codes or finding.code == INTERNAL_ERROR] + again


def _lines_of(source: Source, findings: Iterable[Finding]) -> Iterator[int]:
    """The lines of a file that findings, their reasons and their fixes speak of."""
    for finding in findings:
        spans = [finding.span, *(step.span for step in finding.why if step.path == source.path)]
        spans += [edit.span for edit in finding.fix.edits] if finding.fix else []
        for span in spans:
            yield from (span.start.line, span.end.line)


def _may_fire(source: Source, rule: Rule, project: Project) -> bool:
    """The gate in front of parsing: the rule's words, or the name of a helper that does what the rule looks for."""
    if source.mentions(rule.words) and source.mentions(project.gate):
        return True
    return bool(rule.reaches) and source.mentions(project.carrier_names(rule.reaches))


@contextmanager
def _modelled(source: Source, tree: Tree, project: Project) -> Iterator[FileModel]:
    """One file, ready to be asked, until the rules are done with it."""
    from torchmemlint.facts.file_model import FileModel  # most files come to no rule

    try:
        model = FileModel(source, tree, project)
    except RecursionError:
        raise _TooDeep from None
    try:
        yield model
    finally:
        model.close()


def _checked(source: Source, rules: Iterable[Rule], model: FileModel) -> list[Finding]:
    """The findings of rules; a bug in one becomes a finding and does not hide those of the others."""
    return [finding for rule in rules for finding in _found(source, rule, model)]


def _found(source: Source, rule: Rule, model: FileModel) -> list[Finding]:
    assert rule.check is not None
    try:
        return list(rule.check(model))
    except BadFile:
        raise
    except RecursionError:
        raise _TooDeep(model.deep_files()) from None
    except Exception as error:
        import traceback  # nobody should need it

        where = traceback.extract_tb(error.__traceback__)[-1]
        message = (
            f"internal error in {rule.code}: {type(error).__name__}: {error} "
            f"({where.filename.rsplit('torchmemlint', 1)[-1].lstrip('/')}:{where.lineno}); please report it"
        )
        return [_own(source.path, INTERNAL_ERROR, "internal-error", message, Span(Position(1, 0), Position(1, 0)))]


def _sorted(source: Source, findings: Iterable[Finding]) -> list[Finding]:
    unique: dict[tuple[Span, str], Finding] = {}
    for finding in sorted(findings, key=lambda f: f.order):
        unique.setdefault((finding.span, finding.code), finding)
    return fingerprinted(source, unique.values())


def fingerprinted(source: Source, findings: Iterable[Finding]) -> list[Finding]:
    """The findings, in order, each with a fingerprint that says without line numbers which finding it is.

    Its first half names what is flagged (code and text), its second half where: the function, and the how
    manyth of its kind there.
    """
    seen: dict[tuple[str, str], int] = {}
    flagged: dict[tuple[str, Span], tuple[str, str]] = {}
    done = []
    for finding in findings:
        at = finding.code, finding.span
        if at not in flagged:
            text = "" if finding.code == BAD_FILE else "".join(source.slice(finding.span).split())
            what = f"{finding.code}:{text}"
            flagged[at] = what, _half(what)
        what, first = flagged[at]
        seen[what, finding.symbol] = seen.get((what, finding.symbol), 0) + 1
        done.append(replace(finding, fingerprint=first + _half(f"{finding.symbol}:{seen[what, finding.symbol]}")))
    return done


def _half(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _own(path: str, code: str, name: str, message: str, span: Span) -> Finding:
    return Finding(path, span, code, name, Severity.ERROR, Confidence.HIGH, message)
