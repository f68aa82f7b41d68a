"""Sources and rules to findings. Pure: reads no files, prints nothing, exits nowhere."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from torchmemlint.document import Document, Script, opened
from torchmemlint.facts.project import Project
from torchmemlint.model import Confidence, Finding, Position, Severity, Span
from torchmemlint.rule import BAD_FILE, INTERNAL_ERROR, Rule
from torchmemlint.source import BadFile, Source, Tree

if TYPE_CHECKING:
    from torchmemlint.facts.file_model import FileModel


def lint(source: Source, rules: Sequence[Rule], project: Project) -> list[Finding]:
    """All findings of one file, sorted, without regard to suppressions or confidence.

    A file that cannot be parsed gives one TML001, a rule that fails one TML000; neither hides the
    findings of the other rules.
    """
    wanted = [rule for rule in rules if _may_fire(source, rule, project)]
    if not wanted:
        return []
    try:
        project.shared.adopt(source)
        screen = source.screen
        if screen is None:
            return _sorted(source, _run(source, source.tree, wanted, project))
        firing = _firing(source, screen, wanted, project)
        if not firing:
            return []
        return _sorted(source, _exactly(source, screen, firing, project))
    except BadFile as error:
        return fingerprinted(source, [_bad(source.path, "file", error.reason, error.place)])


def lint_file(path: str, data: bytes, rules: Sequence[Rule], project: Project) -> tuple[Document, list[Finding]]:
    """A file opened by its name, and the findings in its source; `Document.placed` says where in the file they are.

    A cell of a notebook that is no Python gives one TML001 and does not hide the findings of the other cells.
    """
    try:
        document = opened(path, data)
    except BadFile as error:
        nothing = Script(path, b"")
        return nothing, fingerprinted(nothing.source, [_bad(path, "file", error.reason, error.place)])
    findings = lint(document.source, rules, project)
    if any(one.code == BAD_FILE for one in findings) and (bad := document.bad_cells()):
        document = document.without(bad)
        named = [_bad(path, f"cell {one.number}", one.reason, one.place) for one in bad]
        findings = [*fingerprinted(document.source, named), *lint(document.source, rules, project)]
    return document, findings


def _bad(path: str, what: str, reason: str, place: Position) -> Finding:
    span = Span(place, Position(place.line, place.column + 1))
    return _own(path, BAD_FILE, "file-not-parsed", f"{what} cannot be parsed: {reason}", span)


def _exactly(source: Source, screen: Tree, rules: Iterable[Rule], project: Project) -> list[Finding]:
    """The findings at libcst's places; where libcst refuses what the running Python reads, at those of the screen."""
    try:
        return _run(source, source.tree, rules, project)
    except BadFile:
        return _run(source, screen, rules, project)


def _may_fire(source: Source, rule: Rule, project: Project) -> bool:
    """The gate in front of parsing: the rule's words, or the name of a helper that does what the rule looks for."""
    if source.mentions(rule.words) and source.mentions(project.gate):
        return True
    return bool(rule.reaches) and source.mentions(project.carrier_names(rule.reaches))


def _firing(source: Source, screen: Tree, rules: Iterable[Rule], project: Project) -> list[Rule]:
    """The rules that find anything in the cheap tree; only for them is the file parsed with libcst."""
    codes = {finding.code for finding in _run(source, screen, rules, project)}
    return [rule for rule in rules if rule.code in codes or INTERNAL_ERROR in codes]


def _run(source: Source, tree: Tree, rules: Iterable[Rule], project: Project) -> list[Finding]:
    from torchmemlint.facts.file_model import FileModel  # most files come to no rule

    try:
        model = FileModel(source, tree, project)
    except RecursionError:
        raise BadFile("expression too long or too deeply nested") from None
    try:
        return [finding for rule in rules for finding in _checked(source, rule, model)]
    finally:
        model.close()


def _checked(source: Source, rule: Rule, model: FileModel) -> list[Finding]:
    """The findings of one rule; a bug in it becomes a finding and does not hide those of the others."""
    assert rule.check is not None
    try:
        return list(rule.check(model))
    except BadFile:
        raise
    except RecursionError:
        raise BadFile("expression too long or too deeply nested") from None
    except Exception as error:
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
    seen: dict[str, int] = {}
    done = []
    for finding in findings:
        text = "" if finding.code == BAD_FILE else "".join(source.slice(finding.span).split())
        what = f"{finding.code}:{text}"
        key = f"{what}:{finding.symbol}"
        seen[key] = seen.get(key, 0) + 1
        done.append(replace(finding, fingerprint=_half(what) + _half(f"{finding.symbol}:{seen[key]}")))
    return done


def _half(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _own(path: str, code: str, name: str, message: str, span: Span) -> Finding:
    return Finding(path, span, code, name, Severity.ERROR, Confidence.HIGH, message)
