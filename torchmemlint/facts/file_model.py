"""The query surface that rules ask: each answer an immutable value made of nodes, reasons and edits.

Rules hold nodes only to hand them back in the next question; findings and edits are text spans.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from torchmemlint.facts import (
    accumulation,
    attribute_stores,
    closures,
    held_fixes,
    hooks,
    hot,
    plain_holders,
    proof_edits,
    recovery,
    recovery_fixes,
    release_fixes,
    releases,
    removals,
)
from torchmemlint.facts.attribute_stores import AttributeStore
from torchmemlint.facts.closures import HeldClosure
from torchmemlint.facts.file_facts import FileFacts
from torchmemlint.facts.hooks import HeldByHook
from torchmemlint.facts.needless_graphs import NeedlessGraph, needless_graphs
from torchmemlint.facts.plain_holders import PlainHolder
from torchmemlint.facts.project import Project
from torchmemlint.facts.releases import Form, Idle
from torchmemlint.facts.structure import Function
from torchmemlint.facts.values import Reason
from torchmemlint.facts.wrapping import guard_edits
from torchmemlint.model import Applicability, Confidence, Edit, Finding, Fix, Position, Span, Why
from torchmemlint.rule import Rule
from torchmemlint.source import Source, Tree

__all__ = ["FileModel", "Form", "Idle"]


class FileModel:
    """One file, ready to be asked."""

    def __init__(self, source: Source, tree: Tree, project: Project) -> None:
        self.source = source
        self.path = source.path
        self._project = project.session()
        relative = project.shared.relative(source.path)
        self.facts = FileFacts(project.shared.of(source, tree), relative, self._project)
        self._project.enter(self.facts)

    def close(self) -> None:
        """No more questions: let go of what was inferred for them."""
        self._project.close()

    def deep_files(self) -> frozenset[str]:
        """The other files looked into that nest deeper than anybody writes."""
        return frozenset(
            path
            for path in self._project.entered()
            if path != self.facts.relative and (other := self._project.facts(path)) and other.parsed.is_deep
        )

    # ---- questions --------------------------------------------------------------------------------

    def hot_calls(self, effect: str) -> Iterator[hot.HotCall]:
        """Calls that end in an effect (`empties_cache`, `collects_garbage`) every step."""
        return hot.hot_calls(self.facts, effect)

    def controls_collector(self) -> bool:
        """Whether the file takes Python's collector into its own hands."""
        return hot.controls_collector(self.facts)

    def attribute_stores(self) -> Iterator[AttributeStore]:
        """Tensors with a graph that step code leaves on an object."""
        return attribute_stores.attribute_stores(self.facts)

    def held_by_hooks(self) -> Iterator[HeldByHook]:
        """Hooks that keep what they are handed and are never removed, or pile up step by step."""
        return hooks.held_by_hooks(self.facts)

    def held_closures(self) -> Iterator[HeldClosure]:
        """Functions made every step that hold its tensors beyond it."""
        return closures.held_closures(self.facts)

    def plain_holders(self) -> Iterator[PlainHolder]:
        """Device tensors that a plain object holds for its whole life, only to be read."""
        return plain_holders.plain_holders(self.facts)

    def sums(self) -> Iterator[accumulation.Kept]:
        """Running sums of values with graphs across the steps of a hot loop."""
        return accumulation.sums(self.facts)

    def collections(self) -> Iterator[accumulation.Kept]:
        """Values with graphs put in containers that outlive the step."""
        return accumulation.collections(self.facts)

    def idle_cache_calls(self) -> Iterator[Idle]:
        """Calls that empty the allocator's cache when nothing can come back."""
        return releases.idle_calls(self.facts)

    def release_fix(self, idle: Idle) -> Fix | None:
        """A fix that lets go of what such a call was meant for."""
        return release_fixes.release_fix(self.facts, idle)

    def recoveries(self) -> Iterator[recovery.Recovery]:
        """Handlers that recover from memory running out while they hold the failed frames."""
        return recovery.recoveries(self.facts)

    def recovery_fix(self, found: recovery.Recovery) -> Fix:
        """A fix that recovers after the try statement, or at least without the failed frames."""
        moved = recovery_fixes.recovery_fix(self.facts, found)
        return moved or proof_edits.frames_cleared(self.facts, found.handler)

    def needless_graphs(self) -> Iterator[NeedlessGraph]:
        """Forwards that record a graph nobody needs."""
        return needless_graphs(self.facts)

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
        self,
        rule: Rule,
        node: ast.AST,
        message: str,
        confidence: Confidence,
        why: Iterable[Reason] = (),
        fix: Fix | None = None,
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
        reasons = [
            Reason(f"calls `{self._short(call_)}`", call_, facts.relative) for facts, call_ in call.carry.steps[1:]
        ]
        return self.finding(
            rule,
            call.carry.call,
            f"`{self.text(call.carry.call)}` {what}",
            call.confidence,
            [call.where, *reasons],
            fix,
        )

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

    def detached(self, node: ast.expr, applicability: Applicability) -> Fix:
        """A fix that detaches an expression from its graph."""
        span = self.span(node)
        edits = [Edit(Span(span.end, span.end), ".detach()")]
        if not isinstance(node, held_fixes.CLOSED):
            edits = [Edit(Span(span.start, span.start), "("), Edit(Span(span.end, span.end), ").detach()")]
        return Fix("detach it from its graph", applicability, tuple(edits))

    def without_graphs(self, node: ast.expr) -> Fix:
        """A fix that cuts the tensors of a structure from their graphs."""
        edit = proof_edits.without_graphs(self.facts, node)
        return Fix("detach what it holds from its graph", Applicability.PROOF, (edit,))

    # ---- edits ------------------------------------------------------------------------------------

    def let_go_fix(self, store: AttributeStore) -> Fix:
        """A fix that lets go of what a step leaves on an object."""
        return held_fixes.let_go(self.facts, store)

    def unhook_fix(self, held: HeldByHook) -> Fix:
        """A fix after which the hook holds nothing."""
        return held_fixes.unhook(self.facts, held)

    def uncapture_fix(self, held: HeldClosure) -> Fix | None:
        """A fix after which the function object holds a copy on the host."""
        return held_fixes.uncapture(self.facts, held)

    def suffix_fix(self, node: ast.expr, suffix: str, title: str, applicability: Applicability) -> Fix:
        """A fix that puts a method call behind an expression."""
        return Fix(title, applicability, (held_fixes.suffix_edit(self.facts, node, suffix),))

    def grad_off(self, found: NeedlessGraph) -> Fix:
        """A fix that runs needless forwards with grad off."""
        enabled = ""
        if found.condition is not None:
            test = self.text(found.condition.node)
            enabled = test if found.condition.upright else f"not ({test})"
        calls = (found.call, *found.others)
        edits = guard_edits(self.facts, calls, found.keeps, enabled)
        if not edits:
            return proof_edits.called_without_grad(self.facts, calls, enabled)
        return Fix("run it with grad off", Applicability.UNSAFE, edits)

    def drop_statement(self, node: ast.expr, title: str, applicability: Applicability) -> Fix:
        """A fix without the statement that a call is; where it is only part of one, without the call."""
        return removals.removal(self.facts, node, title, applicability)

    def hot_fix(self, call: hot.HotCall, effect: str) -> Fix:
        """A fix without the effect that a call has every step."""
        return removals.hot_fix(self.facts, call, effect)


def _first_line(span: Span, source: Source) -> Span:
    """A reason points at the head of a statement, not at its whole body."""
    if span.end.line == span.start.line:
        return span
    text = source.lines[span.start.line - 1].rstrip("\r\n") if span.start.line <= len(source.lines) else ""
    return Span(span.start, Position(span.start.line, max(len(text), span.start.column)))
