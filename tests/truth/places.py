"""Places in good code at which the truth about an edit is certain, and the conditions that make it so."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from truth.code import (
    Code,
    Function,
    Loop,
    Scope,
    Sum,
    backward_of,
    dotted,
    is_empty_list,
    is_zero,
    peeled,
    sum_at,
)

LAYERS = frozenset(
    ("Linear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "BatchNorm1d", "BatchNorm2d")
) | frozenset(("LayerNorm", "GroupNorm", "Embedding", "BatchNorm3d", "InstanceNorm2d"))
"""Layers of torch.nn with parameters, whose call gives one tensor."""
FROZEN_OR_TINY = ("gym", "requires_grad_(False)", "requires_grad = False", "requires_grad=False", "freeze", "frozen")
LARGE = re.compile(r"resnet|transformer|bert|gpt|unet|imagenet|cifar|densenet|vgg|diffusion|llama", re.I)
"""Words of files whose networks have activations of many MiB."""
KEEPING = frozenset(("append", "extend", "insert", "add", "update", "setdefault", "put", "appendleft"))
ACCELERATED = (".cuda", ".to(", "cuda", "accelerator", "fabric")
NEVER_AFTER = (ast.Return, ast.Raise, ast.Continue, ast.Break)


@dataclass(frozen=True)
class Summed:
    """A sum or append in a training loop, after the statement that back-propagates what is added."""

    scope: Scope
    loop: Loop
    found: Sum


@dataclass(frozen=True)
class Hot:
    """A loop that trains: a model's call and the statement that back-propagates, in each pass."""

    scope: Scope
    loop: Loop
    backward: ast.stmt
    call: ast.stmt
    model: str


@dataclass(frozen=True)
class Kept:
    """A forward with a local that a layer with parameters made, and its one return."""

    scope: Scope
    name: str
    last: ast.Return
    result: ast.stmt


@lru_cache(maxsize=1)
def sums(code: Code) -> tuple[Summed, ...]:
    """Sums and appends of what a statement before them in the same pass went back through.

    That it can be gone back through says that it carries a graph. The total begins as a number (a list as an empty
    one) before the loop and nothing in the loop sets it back, so it is what outlives the pass.
    """
    return tuple(_sums(code))


def _sums(code: Code) -> Iterator[Summed]:
    for scope in code.scopes:
        if scope.grad_is_off:
            continue
        backwards = [(node, name) for node in scope.statements if (name := backward_of(node))]
        for node in scope.statements if backwards else ():
            found = sum_at(node)
            if found is None or not code.alone(node) or found.total in scope.declares:
                continue
            loop = code.loop_of(node)
            if loop is None or _is_short(loop):
                continue
            before = [one for one, name in backwards if name == found.value and code.loop_of(one) is loop]
            if not any(_goes_back(scope, one, found) for one in before):
                continue
            if starts_before(scope, loop, found) and not _kept_elsewhere(scope, loop, found):
                yield Summed(scope, loop, found)


def _kept_elsewhere(scope: Scope, loop: Loop, found: Sum) -> bool:
    """Another statement of the loop keeps the same value with its graph: then this one changes nothing."""
    for node in ast.walk(loop):
        if not isinstance(node, ast.Name) or node.id != found.value or not isinstance(node.ctx, ast.Load):
            continue
        inner: ast.AST = node
        for outer in (scope.code.parents[node], *scope.code.above(scope.code.parents[node])):
            if isinstance(outer, ast.expr) and peeled(outer):
                break
            if outer is found.node:
                break
            call = outer.func if isinstance(outer, ast.Call) and inner is not outer.func else None
            if isinstance(call, ast.Attribute) and call.attr in KEEPING:
                return True
            if isinstance(outer, (ast.AugAssign, ast.Dict, ast.List, ast.Yield)):
                return True
            if isinstance(outer, ast.Assign) and _keeps(outer, found.value):
                return True
            if isinstance(outer, ast.stmt):
                break
            inner = outer
    return False


def _keeps(node: ast.Assign, value: str) -> bool:
    """`total = total + loss`, or into what is no name: `self.last = loss`. Not `loss = loss / 4`."""
    read = {one.id for one in ast.walk(node.value) if isinstance(one, ast.Name)} - {value}
    return any(not isinstance(one, ast.Name) or one.id in read for one in node.targets)


def _is_short(loop: Loop) -> bool:
    """Over a few constants: too short for growth to be spoken of."""
    if not isinstance(loop, ast.For):
        return False
    given = loop.iter.args if isinstance(loop.iter, ast.Call) and dotted(loop.iter.func) == "range" else [loop.iter]
    return all(isinstance(one, (ast.Constant, ast.List, ast.Tuple)) for one in given)


def _goes_back(scope: Scope, one: ast.stmt, found: Sum) -> bool:
    """The name that is added is the tensor that `one` went back through."""
    code = scope.code
    if not code.dominates(one, found.node) or code.under_grad_off(one):
        return False
    between = range(one.lineno, found.node.lineno + 1)
    text = "\n".join(code.lines[number - 1] for number in between)
    if f"{found.value}.detach_" in text or f"del {found.value}" in text or "retain_graph" in text:
        return False
    return not any(one.lineno <= store.lineno <= found.node.lineno for store in scope.stores(found.value))


def starts_before(scope: Scope, loop: Loop, found: Sum) -> bool:
    """The total is made before the loop, and in the loop only this statement touches what it holds."""
    inside = set(ast.walk(loop))
    stores = [one for one in scope.stores(found.total) if one is not found.node]
    if any(one in inside for one in stores) or found.total in scope.parameters:
        return False
    starts = is_empty_list if found.list else is_zero
    if not any(starts(one, found.total) and one.lineno < loop.lineno for one in stores):
        return False
    return not found.list or _only_appended(scope, loop, found)


def _only_appended(scope: Scope, loop: Loop, found: Sum) -> bool:
    """Nothing takes from the list within the loop, and nothing hands it to numpy, which refuses graphs."""
    inside = set(ast.walk(loop))
    for node in scope.nodes:
        if isinstance(node, ast.Name) and node.id == found.total and isinstance(node.ctx, ast.Load):
            parent = scope.code.parents[node]
            in_loop = node in inside
            if isinstance(parent, ast.Attribute) and parent.attr != "append":
                return False
            called = dotted(parent.func).split(".")[0] if isinstance(parent, ast.Call) else ""
            if called in ("np", "numpy", "statistics", "mean", "median", "plt") or (
                in_loop and called not in ("", "len")
            ):
                return False
            if in_loop and isinstance(parent, ast.Subscript) and not isinstance(parent.ctx, ast.Load):
                return False
    return True


@lru_cache(maxsize=1)
def hot_loops(code: Code) -> tuple[Hot, ...]:
    """Loops with a model's call and a backward in every pass, whose end every pass reaches, for a device."""
    return tuple(_hot_loops(code))


def _hot_loops(code: Code) -> Iterator[Hot]:
    if not any(word in code.text for word in ACCELERATED):
        return
    for scope in code.scopes:
        statements = list(scope.statements)
        for loop in scope.loops:
            own = [node for node in statements if node is not loop and code.loop_of(node) is loop]
            back = next((one for one in own if backward_of(one) and plainly_in(code, one, loop)), None)
            call = next(
                ((one, name) for one in own if (name := _calls(scope, one)) and plainly_in(code, one, loop)), None
            )
            last = loop.body[-1]
            if back is None or call is None or isinstance(last, NEVER_AFTER) or not code.alone(last):
                continue
            if any(isinstance(one, (ast.Continue, ast.Return)) for one in own) or loop.body[0].lineno == loop.lineno:
                continue
            yield Hot(scope, loop, back, *call)


def plainly_in(code: Code, node: ast.stmt, loop: Loop) -> bool:
    """Whether a statement of a loop runs in every pass: only `with` stands between it and the loop."""
    for outer in code.above(node):
        if outer is loop:
            return True
        if not isinstance(outer, (ast.With, ast.Try)) or (isinstance(outer, ast.Try) and node not in outer.body):
            return False
    return False


def _calls(scope: Scope, node: ast.stmt) -> str:
    """The model that a simple statement calls."""
    if not isinstance(node, (ast.Assign, ast.Expr, ast.AugAssign)) or scope.code.under_grad_off(node):
        return ""
    return scope.calls_model(node)


@lru_cache(maxsize=1)
def evaluations(code: Code) -> tuple[tuple[Scope, ast.With | Function, ast.stmt], ...]:
    """Functions that only evaluate, with grad mode off, a model that the same file trains: what turns it off, and
    the statement that calls the model.

    Trained: a function of the same file back-propagates and calls a model by the same name. No tiny networks (the
    file speaks of large ones, and of no games), nothing frozen: the graph that grad mode would record has many
    activations, all alive at the end of the forward.
    """
    return tuple(_evaluations(code))


def _evaluations(code: Code) -> Iterator[tuple[Scope, ast.With | Function, ast.stmt]]:
    if any(word in code.text for word in FROZEN_OR_TINY) or not LARGE.search(code.text):
        return
    training = [scope for scope in code.scopes if any(backward_of(one) for one in scope.statements)]
    trained = {scope.calls_model(one) for scope in training for one in scope.statements if _calls(scope, one)}
    for scope in code.scopes if trained else ():
        if scope in training or scope.mentions("backward", "backward_step"):
            continue
        for node in scope.statements:
            if (
                isinstance(node, ast.With)
                and _is_plain(node)
                and not scope.grad_is_off
                and not code.under_grad_off(node)
            ):
                inside = [one for one in ast.walk(node) if one in scope.nodes]
                call = next((one for one in inside if _calls_trained(scope, one, trained)), None)
                if isinstance(call, ast.stmt):
                    yield scope, node, call
        if isinstance(scope.node, ast.FunctionDef) and len(_off(scope.node)) == 1:
            call = next((one for one in scope.statements if _calls_trained(scope, one, trained)), None)
            if call is not None and not code.under_grad_off(call):
                yield scope, scope.node, call


def _calls_trained(scope: Scope, node: ast.AST, trained: set[str]) -> bool:
    if not isinstance(node, (ast.Assign, ast.Expr, ast.AugAssign, ast.Return)) or not scope.code.alone(node):
        return False
    return bool(name := scope.calls_model(node)) and name in trained


def _is_plain(node: ast.With) -> bool:
    """`with torch.no_grad():` with nothing else."""
    if len(node.items) != 1 or node.items[0].optional_vars is not None:
        return False
    return ast.unparse(node.items[0].context_expr) in ("torch.no_grad()", "torch.inference_mode()")


def _off(node: Function) -> list[ast.expr]:
    return [one for one in node.decorator_list if ast.unparse(one) in ("torch.no_grad()", "torch.inference_mode()")]


def off_lines(node: ast.With | Function) -> int:
    """The line of what turns grad mode off."""
    return node.lineno if isinstance(node, ast.With) else _off(node)[0].lineno


def sums_under_grad_off(code: Code) -> Iterator[Summed]:
    """Sums, in a loop with grad mode off, of a loss that the same pass computed there: no graph whatever is added."""
    for scope in code.scopes:
        for node in scope.statements:
            found = sum_at(node)
            loop = code.loop_of(node) if found is not None else None
            if found is None or loop is None or found.list or not code.alone(node) or found.total in scope.declares:
                continue
            makers = scope.stores(found.value)
            if not makers or not all(code.loop_of(one) is loop and _is_loss(one) for one in makers):
                continue
            off = scope.grad_is_off or all(code.under_grad_off(one) for one in (*makers, node))
            if off and not scope.mentions("backward", "enable_grad") and starts_before(scope, loop, found):
                yield Summed(scope, loop, found)


def _is_loss(node: ast.stmt) -> bool:
    """`loss = criterion(...)`."""
    if (
        not isinstance(node, ast.Assign)
        or not isinstance(node.value, ast.Call)
        or not isinstance(node.targets[0], ast.Name)
    ):
        return False
    name = dotted(node.value.func).lower()
    return any(word in name for word in ("criterion", "loss", "cross_entropy", "nll", "mse"))


@lru_cache(maxsize=1)
def kept_locals(code: Code) -> tuple[Kept, ...]:
    """In `forward` of a module, a local that is the result of a layer with trained parameters, made in every call.

    The layer is one of torch.nn's that give one tensor, made in `__init__` of the same class; the local is bound
    once, in the function's own block; the function's only return is its last statement. Nothing is frozen.
    """
    return tuple(_kept_locals(code))


def _kept_locals(code: Code) -> Iterator[Kept]:
    if "requires_grad" in code.text or "no_grad" in code.text or not code.trained:
        return
    for scope in code.scopes:
        node = scope.node
        if scope.owner is None or isinstance(node, ast.Module) or node.name != "forward" or scope.grad_is_off:
            continue
        last = node.body[-1]
        returns = [one for one in scope.nodes if isinstance(one, ast.Return)]
        if returns != [last] or not isinstance(last, ast.Return) or not code.alone(last) or last.value is None:
            continue
        layers = _layers(scope.owner)
        for one in node.body:
            if not isinstance(one, ast.Assign) or not isinstance(one.targets[0], ast.Name) or len(one.targets) != 1:
                continue
            name, value = one.targets[0].id, one.value
            if isinstance(value, ast.Call) and dotted(value.func) in layers and len(scope.stores(name)) == 1:
                if name not in scope.parameters and not _captured(scope, name) and code.alone(one):
                    yield Kept(scope, name, last, one)
                    break


def _layers(owner: ast.ClassDef) -> set[str]:
    """`self.name` of layers that the class makes in its constructor, whatever the branch."""
    found: dict[str, bool] = {}
    for node in ast.walk(owner):
        if isinstance(node, ast.Assign) and dotted(node.targets[0]).startswith("self."):
            name, value = dotted(node.targets[0]), node.value
            good = (
                isinstance(value, ast.Call) and dotted(value.func).removeprefix("torch.").removeprefix("nn.") in LAYERS
            )
            found[name] = good and found.get(name, True)
    return {name for name, good in found.items() if good}


def _captured(scope: Scope, name: str) -> bool:
    """Whether a function within speaks of a name."""
    inner = [node for node in scope.nodes if isinstance(node, (ast.Lambda, ast.FunctionDef, ast.ClassDef))]
    return any(isinstance(one, ast.Name) and one.id == name for node in inner for one in ast.walk(node))


def emptied(code: Code) -> Iterator[ast.stmt]:
    """Statements `torch.cuda.empty_cache()`."""
    for scope in code.scopes:
        for node in scope.statements:
            if isinstance(node, ast.Expr) and ast.unparse(node) == "torch.cuda.empty_cache()" and code.alone(node):
                yield node
