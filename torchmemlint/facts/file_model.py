"""The query surface that rules ask: each answer an immutable value made of nodes, reasons and edits.

Rules hold nodes only to hand them back in the next question; findings and edits are text spans.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from torchmemlint.facts import hot
from torchmemlint.facts.file_facts import FileFacts
from torchmemlint.facts.parsed_files import parsed
from torchmemlint.facts.project import Project
from torchmemlint.facts.structure import Function
from torchmemlint.facts.values import Reason
from torchmemlint.model import Applicability, Confidence, Edit, Finding, Fix, Position, Span, Why
from torchmemlint.rule import Rule
from torchmemlint.source import Source, Tree


class FileModel:
    """One file, ready to be asked."""

    def __init__(self, source: Source, tree: Tree, project: Project) -> None:
        self.source = source
        self.path = source.path
        self._project = project.session()
        relative = project.shared.relative(source.path)
        self.facts = FileFacts(parsed(source, tree, relative), relative, self._project)
        self._project.enter(self.facts)

    # ---- questions --------------------------------------------------------------------------------

    def hot_calls(self, effect: str) -> Iterator[hot.HotCall]:
        """Calls that end in an effect (`empties_cache`, `collects_garbage`) every step."""
        return hot.hot_calls(self.facts, effect)

    def controls_collector(self) -> bool:
        """Whether the file takes Python's collector into its own hands."""
        return hot.controls_collector(self.facts)

    def function(self, node: ast.AST) -> Function:
        """The function that runs a node."""
        return self.facts.structure.function(node)

    def text(self, node: ast.AST) -> str:
        """Source text of a node on one line."""
        return " ".join(self.source.slice(self.span(node)).split())

    # ---- findings ---------------------------------------------------------------------------------

    def span(self, node: ast.AST) -> Span:
        """Where a node of this file stands."""
        return self.facts.tree.places.span(node)

    def finding(
        self, rule: Rule, node: ast.AST, message: str, confidence: Confidence, why: Iterable[Reason] = (), fix: Fix | None = None
    ) -> Finding:
        """A finding at a node, with its chain of reasons."""
        return Finding(
            path=self.path,
            span=self.span(node),
            code=rule.code,
            name=rule.name,
            severity=rule.severity,
            confidence=confidence,
            message=message,
            why=tuple(self._why(why)),
            symbol=self.function(node).qualname,
            fix=fix,
        )

    def hot_finding(self, rule: Rule, call: hot.HotCall, what: str, fix: Fix | None) -> Finding:
        """A finding about a call that runs every step: through which helpers, in which loop, how sure."""
        reasons = [Reason(f"calls `{self._short(call_)}`", call_, facts.relative) for facts, call_ in call.carry.steps[1:]]
        return self.finding(rule, call.carry.call, f"`{self.text(call.carry.call)}` {what}", call.confidence, [call.where, *reasons], fix)

    def _short(self, call: ast.Call) -> str:
        return f"{ast.unparse(call.func)}()"

    def _why(self, reasons: Iterable[Reason]) -> Iterator[Why]:
        seen: set[tuple[str, str, Position]] = set()
        for reason in reasons:
            facts = self._project.facts(reason.path)
            if facts is None:
                continue
            span = _first_line(facts.tree.places.span(reason.node), facts.source)
            key = (reason.text, facts.source.path, span.start)
            if key not in seen:
                seen.add(key)
                yield Why(reason.text, facts.source.path, span)

    # ---- edits ------------------------------------------------------------------------------------

    def drop_statement(self, node: ast.AST, title: str, applicability: Applicability) -> Fix | None:
        """A fix that removes the statement a node is; None where the node is only a part of one."""
        statement = self.facts.structure.statement(node)
        if not isinstance(statement, ast.Expr) or statement.value is not node:
            return None
        block, _ = self.facts.structure.block_of[statement]
        span = self.span(statement)
        if len(block) == 1:
            return Fix(title, applicability, (Edit(span, "pass"),))
        line = self.source.lines[span.start.line - 1]
        last = self.source.lines[span.end.line - 1]
        if line[: span.start.column].strip() or last[span.end.column :].split("#")[0].strip():
            return Fix(title, applicability, (Edit(span, "pass"),))
        whole = Span(Position(span.start.line, 0), Position(span.end.line + 1, 0))
        return Fix(title, applicability, (Edit(whole, ""),))


def _first_line(span: Span, source: Source) -> Span:
    """A reason points at the head of a statement, not at its whole body."""
    if span.end.line == span.start.line:
        return span
    text = source.lines[span.start.line - 1].rstrip("\r\n") if span.start.line <= len(source.lines) else ""
    return Span(span.start, Position(span.start.line, max(len(text), span.start.column)))
