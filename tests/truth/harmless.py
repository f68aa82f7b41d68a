"""Mutations without the effect that is claimed of them: the verdict must be that it is refuted."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from truth.code import Code, Scope
from truth.harmful import KEPT, with_gc
from truth.mutation import Change, Mutation, Truth, inserted, moved, replacing
from truth.places import emptied, evaluations, hot_loops, kept_locals, off_lines, sums, sums_under_grad_off

NOTHING = "_ = 0"


def harmless(code: Code) -> Iterator[Mutation]:
    """All that a file offers."""
    makers = (
        said_otherwise,
        renamed,
        swapped,
        without_graph,
        off_twice,
        nothing,
        after_loop,
        in_forward,
        hooked,
        returned,
    )
    for make in makers:
        yield from make(code)


def _mutation(kind: str, rule: str, changes: tuple[Change, ...], mark: int, fixed: tuple[Change, ...] = ()) -> Mutation:
    return Mutation(kind, Truth.HARMLESS, rule, changes, mark, fixed)


def said_otherwise(code: Code) -> Iterator[Mutation]:
    """A number made a number again, a detached tensor detached again, `total += x` written `total = total + x`."""
    for place in sums(code):
        one, line = place.found, place.found.node.lineno
        rule = "TML204" if one.list else "TML302"
        text = ast.unparse(one.number)
        if text.endswith(".item()"):
            yield _mutation("number-twice", rule, (replacing(line, code.replaced(one.number, f"float({text})")),), line)
        if text.endswith(".detach()"):
            yield _mutation(
                "detached-twice", rule, (replacing(line, code.replaced(one.number, f"{text}.detach()")),), line
            )
        if isinstance(one.node, ast.AugAssign):
            new = f"{code.indent(line)}{one.total} = {one.total} + ({ast.unparse(one.node.value)})"
            yield _mutation("sum-spelled-out", rule, (replacing(line, new),), line)


def renamed(code: Code) -> Iterator[Mutation]:
    """The local that sums gets another name throughout its function."""
    for place in sums(code):
        changes = _renaming(place.scope, place.found.total)
        if changes:
            rule = "TML204" if place.found.list else "TML302"
            yield _mutation("local-renamed", rule, changes, place.found.node.lineno)


def _renaming(scope: Scope, name: str) -> tuple[Change, ...]:
    """The lines with a local renamed; none where strings or functions within speak of it, or it is the module's."""
    code = scope.code
    if isinstance(scope.node, ast.Module) or name in scope.declares or scope.mentions("locals", "eval", "exec"):
        return ()
    inside = [node for node in ast.walk(scope.node) if isinstance(node, ast.Name) and node.id == name]
    strings = [one for node in ast.walk(scope.node) if isinstance(node, ast.JoinedStr) for one in ast.walk(node)]
    if set(inside) & set(strings) or not set(inside) <= set(scope.nodes):
        return ()
    lines: dict[int, bytes] = {}
    for node in sorted(inside, key=lambda node: (node.lineno, -node.col_offset)):
        line = lines.get(node.lineno, code.lines[node.lineno - 1].encode())
        lines[node.lineno] = line[: node.col_offset] + f"{name}_renamed".encode() + line[node.end_col_offset :]
    return tuple(replacing(number, line.decode()) for number, line in lines.items())


def swapped(code: Code) -> Iterator[Mutation]:
    """Two neighbouring assignments of constants to different names change places."""
    for place in sums(code):
        for one in place.scope.statements:
            block = code.block_of(one)
            after = block.index(one) + 1
            other = block[after] if after < len(block) else None
            if other is None or not _constant(one) or not _constant(other) or other.lineno != one.lineno + 1:
                continue
            if ast.unparse(one.targets[0]) != ast.unparse(other.targets[0]):  # type: ignore[attr-defined]
                two = (code.lines[other.lineno - 1], code.lines[one.lineno - 1])
                change = Change(one.lineno, one.lineno + 2, two)
                yield _mutation("assignments-swapped", "TML302", (change,), place.found.node.lineno)
                break


def _constant(node: ast.stmt) -> bool:
    if not isinstance(node, ast.Assign) or len(node.targets) != 1 or node.lineno != node.end_lineno:
        return False
    return isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Constant)


def without_graph(code: Code) -> Iterator[Mutation]:
    """`total += loss.item()` becomes `total += loss` where grad mode is off and the loss was computed there."""
    for place in sums_under_grad_off(code):
        one = place.found
        change = replacing(one.node.lineno, code.replaced(one.number, one.value))
        yield _mutation("sum-without-graph", "TML302", (change,), one.node.lineno)


def off_twice(code: Code) -> Iterator[Mutation]:
    """`with torch.no_grad(), torch.no_grad():` for one of them: the fix would turn off what is off."""
    for _, node, call in evaluations(code):
        line = off_lines(node)
        text = code.lines[line - 1]
        off = "torch.no_grad()" if "torch.no_grad()" in text else "torch.inference_mode()"
        if isinstance(node, ast.With):
            yield _mutation(
                "grad-off-twice", "TML301", (replacing(line, text.replace(off, f"{off}, {off}")),), call.lineno
            )


def nothing(code: Code) -> Iterator[Mutation]:
    """`_ = 0` at the end of each pass of a training loop, or before the model's call or the sum."""
    for hot in hot_loops(code):
        last = hot.loop.body[-1]
        line = (last.end_lineno or last.lineno) + 1
        change = inserted(line, code.indent(hot.loop.body[0].lineno) + NOTHING)
        yield _mutation("nothing-for-emptying", "TML101", (change,), line)
        yield _mutation("nothing-for-collecting", "TML103", (change,), line)
        at = hot.call.lineno
        if code.alone(hot.call) and not hot.scope.grad_is_off:
            change = inserted(at, code.indent(at) + NOTHING)
            yield _mutation("nothing-for-grad", "TML301", (change,), at + 1)
    for place in sums(code):
        at = place.found.node.lineno
        rule = "TML204" if place.found.list else "TML302"
        yield _mutation("nothing-for-sum", rule, (inserted(at, code.indent(at) + NOTHING),), at + 1)


def after_loop(code: Code) -> Iterator[Mutation]:
    """`torch.cuda.empty_cache()` or `gc.collect()` once after a training loop: nothing to its passes, of which the
    backward is the flagged statement."""
    for hot in hot_loops(code):
        loop = hot.loop
        if loop.orelse or not code.alone(loop) or not code.alone(hot.backward):
            continue
        line = (loop.end_lineno or loop.lineno) + 1
        indent = code.indent(loop.lineno)
        if "import torch\n" in code.text and "empty_cache" not in code.text:
            change = inserted(line, indent + "torch.cuda.empty_cache()")
            yield _mutation("emptied-after-loop", "TML101", (change,), hot.backward.lineno)
        if "gc.collect" not in code.text:
            more = with_gc(code)
            changes = (*more, inserted(line, indent + "gc.collect()"))
            yield _mutation("collected-after-loop", "TML103", changes, moved(hot.backward.lineno, more))


def in_forward(code: Code) -> Iterator[Mutation]:
    """In a module's forward: the shape of a tensor kept, which is no tensor; a local deleted that ends anyway."""
    for place in kept_locals(code):
        line = place.last.lineno
        indent = code.indent(line)
        shape = inserted(line, f"{indent}self.{KEPT} = {place.name}.shape")
        yield _mutation("shape-in-attribute", "TML201", (shape,), line)
        used = {one.id for one in ast.walk(place.last) if isinstance(one, ast.Name)}
        if place.name not in used:
            yield _mutation("local-deleted", "TML201", (inserted(line, f"{indent}del {place.name}"),), line)


def hooked(code: Code) -> Iterator[Mutation]:
    """A forward hook that keeps nothing."""
    for hot in hot_loops(code):
        if hot.model not in hot.scope.parameters or hot.scope.stores(hot.model) or code.loop_of(hot.loop) is not None:
            continue
        if not hot.scope.mentions("train", "eval", "parameters") or code.parents[hot.loop] is not hot.scope.node:
            continue
        line, indent = hot.loop.lineno, code.indent(hot.loop.lineno)
        hook = f"{indent}{hot.model}.register_forward_hook(lambda module, args, output: None)"
        yield _mutation("hook-keeps-nothing", "TML202", (inserted(line, hook),), line)


def returned(code: Code) -> Iterator[Mutation]:
    """`torch.cuda.empty_cache()` right after 64 MiB were let go of, against its absence: it does return memory."""
    for node in emptied(code):
        line, indent = node.lineno, code.indent(node.lineno)
        room = inserted(line, f"{indent}torch.zeros(2**24, device='cuda')")
        gone = (room, Change(line, line + 1, (f"{indent}pass",)))
        yield _mutation("emptied-after-release", "TML102", (room,), line + 1, gone)
