"""The walks over functions of `graph_fate`, each made once, and what is known of modules when a function begins."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from torchmemlint.facts import switches
from torchmemlint.facts.graph_fate import Walk
from torchmemlint.facts.memory import Table
from torchmemlint.facts.paths import path_of
from torchmemlint.facts.structure import Function
from torchmemlint.facts.switches import Switch, Switches

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

MAX_DEPTH = 2
WALKS: Table[tuple[Function, int], Walk | None] = Table()
END_SWITCHES: Table[Function, dict[str, Switch]] = Table()


def walk(facts: FileFacts, function: Function, depth: int = 0) -> Walk | None:
    """The finished walk of a function; None in a circle, and too deep down."""
    cache = facts.project.memory.table(WALKS)
    key = (function, depth)
    if key not in cache:
        cache[key] = None
        if depth <= MAX_DEPTH:
            cache[key] = Walk(facts, function, _before(facts, function, depth), depth).run()
    return cache[key]


def _ends_with(facts: FileFacts, function: Function, depth: int) -> dict[str, Switch]:
    """What a function leaves switched at its end by its own statements, calls into the project left out."""
    cache = facts.project.memory.table(END_SWITCHES)
    if function not in cache:
        cache[function] = {}
        cache[function] = Walk(facts, function, Switches(), depth + 1, follows=False).run().switches.known
    return cache[function]


def _before(facts: FileFacts, function: Function, depth: int) -> Switches:
    """What is known when a function begins: modules that `__init__` or the file's body put to eval for good."""
    known = Switches()
    owner = function.owner
    init = owner.methods.get("__init__") if owner is not None else None
    if init is not None and init is not function and owner is not None:
        own, theirs = function.self_name(), init.self_name()
        for path, switch in _ends_with(facts, init, depth).items():
            if own is not None and theirs is not None and (path == theirs or path.startswith(f"{theirs}.")):
                stays = not any(_turned_back(m, path) for m in owner.methods.values()) and not facts.derives(
                    owner, "torch.nn.Module"
                )
                known.known[own + path[len(theirs) :]] = Switch(
                    switch.modes if stays else switches.UNSET, switch.frozen, switch.by
                )
    if not function.is_module:
        for path, switch in _ends_with(facts, facts.structure.body, depth).items():
            root = path.replace("[", ".").split(".")[0]
            if root not in function.bound and root in facts.structure.body.bound:
                stays = not any(_turned_back(f, path) for f in facts.structure.functions)
                known.known[path] = Switch(switch.modes if stays else switches.UNSET, switch.frozen, switch.by)
    return known


def _turned_back(function: Function, path: str) -> bool:
    """Whether a function calls `.train()` on a path or its owner."""
    for call in function.calls:
        if isinstance(call.func, ast.Attribute) and call.func.attr == "train":
            switched = path_of(call.func.value)
            if switched is not None and (path == switched or path.startswith(f"{switched}.")):
                return not (call.args and isinstance(call.args[0], ast.Constant) and not call.args[0].value)
    return False
