"""A hook, lambda or nested function that outlives the step holds the step's tensors.

## Why it costs memory or time

A function object keeps what it captures, and a module keeps its hooks until their handles are removed. A hook
that appends activations of a small CNN grew device memory by 144 MiB per iteration on an H200
(`fixtures/effects`). A hook that overwrites one entry keeps the last output, with its graph, between steps. Hooks
registered in step code pile up: each forward runs all of them.

## Bad

```python
import torch
from torch import nn

FEATURES = []


def remember(module, args, output):
    FEATURES.append(output)


def watch(model: nn.Module):
    for layer in model.children():
        layer.register_forward_hook(remember)
```

## Good

```python
import torch
from torch import nn


def norms(model: nn.Module, image):
    found = []
    handles = [
        layer.register_forward_hook(lambda module, args, output: found.append(output.detach().norm()))
        for layer in model.children()
    ]
    try:
        with torch.no_grad():
            model(image)
    finally:
        for handle in handles:
            handle.remove()
    return [norm.item() for norm in found]
```

## When it is fine

Hooks that are removed, that work in place or keep detached numbers, whose container is emptied after each use;
hooks on an activation, which go with the graph; closures called and dropped. A handle that leaves the code
that can be seen counts as removed.

## Questions

### I deleted the model: why do its hooks keep memory?

The list or object that a hook writes to lives elsewhere, and keeps every tensor in it. A hook that names its own
module, or is a method of it, also closes a reference cycle: module, hooks, function, module. Such a module waits for
Python's collector. `handle.remove()` breaks the cycle, `weakref` avoids it; the list is for you to empty.

### May a hook keep `output.detach()`?

It lets go of the graph; the activation itself stays on the device, as large as before. Keep a number, or a copy on the
host, and empty the list after each use.

## References

- https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.register_forward_hook
- huggingface/peft#2761, chr5tphr/zennit#13
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchmemlint.rule import Effect, Finding, Metric, Rule, Severity

if TYPE_CHECKING:
    from torchmemlint.facts.file_model import FileModel

RULE = Rule(
    code="TML202",
    name="tensor-held-in-closure",
    severity=Severity.WARNING,
    effect=Effect(Metric.RETAINED_BYTES, also=(Metric.GROWTH_BYTES, Metric.LIVE_GRAPH_NODES)),
    words=("_hook", "lambda", "partial", "append", "def "),
    since="0.1.0",
    uncovers=("TML301",),
)


def check(file: FileModel) -> Iterator[Finding]:
    for hook in file.held_by_hooks():
        handle = f"its handle is {hook.handle}"
        if hook.kept is None:
            message = f"`{file.text(hook.call.func)}` adds one more hook on every step and {handle}"
        elif hook.kept.grows:
            message = f"the hook puts every {hook.passing} into `{hook.kept.path}`, and {handle}"
        else:
            message = f"the hook keeps the last {hook.passing} in `{hook.kept.path}`, and {handle}"
        yield file.finding(RULE, hook.call, message, hook.confidence, hook.why, file.unhook_fix(hook))
    for closure in file.held_closures():
        held = f"holds `{closure.captured.name}` with its graph"
        message = f"a function kept in `{closure.holder}` beyond the step {held}"
        yield file.finding(RULE, closure.node, message, closure.confidence, closure.why, file.uncapture_fix(closure))
