"""Mutations whose effect is real: the verdict must be that it is confirmed. Each says why it is certain."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from truth.code import Code
from truth.mutation import Change, Mutation, Truth, inserted, moved, replacing
from truth.places import LARGE, emptied, evaluations, hot_loops, kept_locals, off_lines, sums

KEPT = "kept_for_test"


def harmful(code: Code) -> Iterator[Mutation]:
    """All that a file offers."""
    for make in (summed, grad_on, emptying, collecting, held, hooked, emptied_twice):
        yield from make(code)


def _mutation(kind: str, rule: str, changes: tuple[Change, ...], mark: int) -> Mutation:
    return Mutation(kind, Truth.HARMFUL, rule, changes, mark)


def summed(code: Code) -> Iterator[Mutation]:
    """`total += loss.item()` becomes `total += loss`, and so for lists.

    Certain: `loss.backward()` ran on it in the same pass, so it has a graph; the sum outlives the pass.
    """
    for place in sums(code):
        one = place.found
        change = replacing(one.node.lineno, code.replaced(one.number, one.value))
        kind, rule = ("append-graph", "TML204") if one.list else ("sum-graph", "TML302")
        yield _mutation(kind, rule, (change,), one.node.lineno)


def grad_on(code: Code) -> Iterator[Mutation]:
    """`torch.no_grad()` becomes `torch.enable_grad()`, as a context or a decorator.

    Certain: the model is trained in the same file and nothing is frozen, so its forward records a graph wherever it
    is called from; the function does nothing else that could need more memory than a forward with its graph.
    """
    for _, node, call in evaluations(code):
        line = off_lines(node)
        text = code.lines[line - 1]
        new = text.replace("torch.no_grad()", "torch.enable_grad()").replace(
            "torch.inference_mode()", "torch.enable_grad()"
        )
        kind = "grad-on-with" if isinstance(node, ast.With) else "grad-on-decorator"
        yield _mutation(kind, "TML301", (replacing(line, new),), call.lineno)


def emptying(code: Code) -> Iterator[Mutation]:
    """`torch.cuda.empty_cache()` at the end of each pass of a training loop.

    Certain: after backward the activations are cached, emptying returns them to the driver, and the next pass asks
    for them again; no `continue` goes past it. Only in files that speak of large networks, and not for digits and
    games: small activations share the segment of the parameters, which is never returned.
    """
    small = any(word in code.text.lower() for word in ("mnist", "gym")) or not LARGE.search(code.text)
    if small or "empty_cache" in code.text or "import torch\n" not in code.text:
        return
    for hot in hot_loops(code):
        last = hot.loop.body[-1]
        line = (last.end_lineno or last.lineno) + 1
        change = inserted(line, code.indent(hot.loop.body[0].lineno) + "torch.cuda.empty_cache()")
        yield _mutation("empty-cache-each-step", "TML101", (change,), line)


def collecting(code: Code) -> Iterator[Mutation]:
    """`gc.collect()` at the end of each pass of a training loop.

    Certain: with torch imported a full collection walks 166,000 objects, 36 ms and more, and a pass with a model's
    forward and backward would have to take 0.7 s to hide it.
    """
    if "gc.collect" in code.text or "gc.disable" in code.text or "gc.freeze" in code.text:
        return
    for hot in hot_loops(code):
        last = hot.loop.body[-1]
        line = (last.end_lineno or last.lineno) + 1
        change = inserted(line, code.indent(hot.loop.body[0].lineno) + "gc.collect()")
        changes = (*with_gc(code), change)
        yield _mutation("collect-each-step", "TML103", changes, moved(line, with_gc(code)))


def with_gc(code: Code) -> tuple[Change, ...]:
    """`import gc` where the file lacks it."""
    imports = [one for one in code.tree.body if isinstance(one, (ast.Import, ast.ImportFrom))]
    if any(
        isinstance(one, ast.Import) and alias.name == "gc" and not alias.asname
        for one in imports
        for alias in one.names
    ):
        return ()
    first = next(one for one in imports if not (isinstance(one, ast.ImportFrom) and one.module == "__future__"))
    return (inserted(first.lineno, "import gc"),)


def held(code: Code) -> Iterator[Mutation]:
    """`self.kept_for_test = x` before the return of a module's forward, where a layer made `x`.

    Certain: the layer has trained parameters, so `x` is a tensor with a graph, and the module outlives the step.
    """
    for place in kept_locals(code):
        line = place.last.lineno
        change = inserted(line, f"{code.indent(line)}self.{KEPT} = {place.name}")
        yield _mutation("held-in-attribute", "TML201", (change,), line)


def hooked(code: Code) -> Iterator[Mutation]:
    """A forward hook that appends each output to a list, put on before a training loop.

    Certain: the model is called by that name in every pass and back-propagated through, the model is the function's
    parameter and so outlives it, and with it the hook and its list.
    """
    for hot in hot_loops(code):
        if hot.model not in hot.scope.parameters or hot.scope.stores(hot.model) or code.loop_of(hot.loop) is not None:
            continue
        if not hot.scope.mentions("train", "eval", "parameters") or code.parents[hot.loop] is not hot.scope.node:
            continue
        line, indent = hot.loop.lineno, code.indent(hot.loop.lineno)
        hook = f"{hot.model}.register_forward_hook(lambda module, args, output: {KEPT}.append(output))"
        change = inserted(line, f"{indent}{KEPT} = []", indent + hook)
        yield _mutation("hook-appends-output", "TML202", (change,), line + 1)


def emptied_twice(code: Code) -> Iterator[Mutation]:
    """A second `torch.cuda.empty_cache()` right after one.

    Certain: the first has returned all there was, and nothing ran since.
    """
    for node in emptied(code):
        line = node.lineno + 1
        change = inserted(line, code.indent(node.lineno) + "torch.cuda.empty_cache()")
        yield _mutation("emptied-twice", "TML102", (change,), line)
