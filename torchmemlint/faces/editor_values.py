"""Findings in the Language Server Protocol's words: diagnostics, code actions, hovers. May not lint or answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from lsprotocol import types
from pygls.uris import from_fs_path, to_fs_path
from pygls.workspace import PositionCodec

from torchmemlint.faces.pages import rule_url
from torchmemlint.fix import apply
from torchmemlint.model import Applicability, Edit, Finding, Fix, Position, Severity, Span
from torchmemlint.rule import Rule
from torchmemlint.source import Source

SEVERITIES = {
    Severity.ERROR: types.DiagnosticSeverity.Error,
    Severity.WARNING: types.DiagnosticSeverity.Warning,
    Severity.INFO: types.DiagnosticSeverity.Information,
}
FIX_ALL = "source.fixAll.torchmemlint"


@dataclass(frozen=True)
class Checked:
    """One text as an editor has it, and what was found in it."""

    uri: str
    version: int | None
    source: Source
    findings: tuple[Finding, ...]


class Speaker:
    """Says findings to one editor, in the units that it counts columns in."""

    def __init__(self, codec: PositionCodec, lines: Callable[[str], Sequence[str]]) -> None:
        self._codec = codec
        self._lines = lines  # of another file, by its path

    def range(self, span: Span, lines: Sequence[str]) -> types.Range:
        """A place in a text."""
        plain = types.Range(_position(span.start), _position(span.end))
        return self._codec.range_to_client_units(lines, plain)

    def diagnostics(self, checked: Checked) -> list[types.Diagnostic]:
        return [self._diagnostic(checked, finding) for finding in checked.findings]

    def _diagnostic(self, checked: Checked, finding: Finding) -> types.Diagnostic:
        return types.Diagnostic(
            range=self.range(finding.span, checked.source.lines),
            message=finding.message,
            severity=SEVERITIES[finding.severity],
            code=finding.code,
            code_description=types.CodeDescription(href=rule_url(finding.code)),
            source="torchmemlint",
            related_information=list(self._reasons(checked, finding)),
            data=finding.fingerprint,
        )

    def _reasons(self, checked: Checked, finding: Finding) -> Iterator[types.DiagnosticRelatedInformation]:
        for why in finding.why:
            here = why.path == finding.path
            lines = checked.source.lines if here else self._lines(why.path)
            place = types.Location(checked.uri if here else uri_of(why.path), self.range(why.span, lines))
            yield types.DiagnosticRelatedInformation(location=place, message=why.message)

    def at(self, checked: Checked, wanted: types.Range) -> list[Finding]:
        """The findings that a range touches."""
        found = [(finding, self.range(finding.span, checked.source.lines)) for finding in checked.findings]
        return [finding for finding, its in found if _before(its.start, wanted.end) and _before(wanted.start, its.end)]

    def quick_fix(self, checked: Checked, finding: Finding) -> types.CodeAction | None:
        """The fix of a finding where it is one for a user's file, and can be made."""
        fix = finding.fix
        if fix is None or fix.applicability is Applicability.PROOF or not apply(checked.source, [fix]).applied:
            return None
        safe = fix.applicability is Applicability.SAFE
        title = f"{finding.code}: {fix.title}" + ("" if safe else " (unsafe: may change what is computed)")
        return self._action(checked, title, types.CodeActionKind.QuickFix, fix.edits, finding, preferred=safe)

    def silence(self, checked: Checked, finding: Finding) -> types.CodeAction | None:
        """A comment behind the finding's line, where one can stand there."""
        line = finding.span.start.line
        text = checked.source.lines[line - 1].rstrip("\r\n") if line <= len(checked.source.lines) else "\\"
        end = Position(line, len(text))
        edit = Edit(Span(end, end), f"  # torchmemlint: ignore[{finding.code}]")
        fix = Fix("", Applicability.SAFE, (edit,))
        if text.endswith("\\") or not apply(checked.source, [fix]).applied:
            return None
        title = f"{finding.code}: ignore on this line"
        return self._action(checked, title, types.CodeActionKind.QuickFix, fix.edits, finding)

    def fix_all(self, checked: Checked) -> types.CodeAction | None:
        """Every safe fix of a text at once."""
        safe = [one.fix for one in checked.findings if one.fix and one.fix.applicability is Applicability.SAFE]
        edits = {edit for fix in apply(checked.source, safe).applied for edit in fix.edits}
        title = "torchmemlint: make all safe fixes"
        return self._action(checked, title, FIX_ALL, sorted(edits)) if edits else None

    def _action(
        self,
        checked: Checked,
        title: str,
        kind: types.CodeActionKind | str,
        edits: Iterable[Edit],
        finding: Finding | None = None,
        preferred: bool = False,
    ) -> types.CodeAction:
        changes = [
            types.TextEdit(range=self.range(edit.span, checked.source.lines), new_text=edit.text) for edit in edits
        ]
        document = types.OptionalVersionedTextDocumentIdentifier(uri=checked.uri, version=checked.version)
        return types.CodeAction(
            title=title,
            kind=kind,
            diagnostics=[self._diagnostic(checked, finding)] if finding else None,
            is_preferred=preferred or None,
            edit=types.WorkspaceEdit(document_changes=[types.TextDocumentEdit(document, changes)]),
        )

    def hover(self, checked: Checked, findings: Sequence[Finding], rules: dict[str, Rule]) -> types.Hover | None:
        """What there is to know of findings in one place."""
        if not findings:
            return None
        parts = [_card(finding, rules.get(finding.code)) for finding in findings]
        content = types.MarkupContent(types.MarkupKind.Markdown, "\n\n---\n\n".join(parts))
        return types.Hover(contents=content, range=self.range(findings[0].span, checked.source.lines))


def path_of(uri: str) -> str:
    """The file that a URI names, or nothing where it names no file."""
    return to_fs_path(uri) or "" if uri.startswith("file:") else ""


def uri_of(path: str) -> str:
    return from_fs_path(os.path.abspath(path)) or ""


def _position(place: Position) -> types.Position:
    return types.Position(place.line - 1, place.column)


def _before(one: types.Position, other: types.Position) -> bool:
    return (one.line, one.character) <= (other.line, other.character)


def _card(finding: Finding, rule: Rule | None) -> str:
    reasons = "".join(f"\n- {why.message} ({os.path.basename(why.path)}:{why.span.start.line})" for why in finding.why)
    fix = f"\n\nFix ({finding.fix.applicability.value}): {finding.fix.title}" if finding.fix else ""
    page = f"\n\n{rule.doc}" if rule else ""
    sure = f"{finding.severity.value}, {finding.confidence.value} confidence"
    return f"**{finding.code} {finding.name}** ({sure}): {finding.message}\n{reasons}{fix}{page}"
