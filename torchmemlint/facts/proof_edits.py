"""Edits that only the verifier runs: texts that hold for any value and in any place, plain or not.

They need no import and no statement of their own. May not decide whether a fix is wanted.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import TYPE_CHECKING

from torchmemlint.model import Applicability, Edit, Fix, Span

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

TORCH = '__import__("torch")'


def without_graphs(facts: FileFacts, node: ast.expr, to_host: bool = False) -> Edit:
    """An expression whose tensors, in whatever structure, are cut from their graphs."""
    span = facts.tree.places.span(node)
    text = facts.source.slice(span)
    return Edit(span, _mapped(f"[*{text}]" if isinstance(node, ast.GeneratorExp) else text, to_host))


def detach_after(facts: FileFacts, statement: ast.stmt, paths: Iterable[str]) -> Edit:
    """What a simple statement stored is cut from its graph right behind it."""
    end = facts.tree.places.span(statement).end
    return Edit(Span(end, end), "".join(f"; {detachment(path)}" for path in paths))


def detachment(path: str) -> str:
    """A statement that cuts what a path holds from its graphs."""
    return f"{path} = {_mapped(path, False)}"


def _mapped(text: str, to_host: bool) -> str:
    move = ".cpu()" if to_host else ""
    each = f'lambda held: held.detach(){move} if hasattr(held, "detach") else held'
    return f"{TORCH}.utils._pytree.tree_map({each}, {text})"


def called_without_grad(facts: FileFacts, calls: Iterable[ast.Call], enabled: str = "") -> Fix:
    """Calls that run with grad off, or on where the expression `enabled` holds."""
    guard = f"{TORCH}.no_grad()"
    if enabled:
        guard = f"({TORCH}.enable_grad if ({enabled}) else {TORCH}.no_grad)()"
    spans = [facts.tree.places.span(call.func) for call in calls]
    edits = [Edit(span, f"{guard}({facts.source.slice(span)})") for span in sorted(spans)]
    return Fix("run it with grad off", Applicability.PROOF, tuple(edits))


def frames_cleared(facts: FileFacts, handler: ast.ExceptHandler) -> Fix:
    """A handler that first lets go of what the failed frames hold."""
    first = handler.body[0]
    start = facts.tree.places.span(first).start
    before = facts.source.lines[start.line - 1][: start.column]
    separator = "; " if before.strip() else f"\n{before}"
    text = "import sys as _sys, traceback as _traceback; _traceback.clear_frames(_sys.exc_info()[2])"
    edit = Edit(Span(start, start), text + separator)
    return Fix("let go of the failed frames first", Applicability.PROOF, (edit,))


def handle_of_nothing(facts: FileFacts, call: ast.Call) -> Edit:
    """A hook's handle without the hook."""
    text = f'{TORCH}.utils.hooks.RemovableHandle(__import__("collections").OrderedDict())'
    return Edit(facts.tree.places.span(call), text)


def handed_copy(facts: FileFacts, made: ast.Lambda | ast.GeneratorExp, name: str) -> Edit:
    """A function object made where a name stands for a detached copy on the host."""
    span = facts.tree.places.span(made)
    return Edit(span, f"((lambda {name}: {facts.source.slice(span)})({name}.detach().cpu()))")
