"""An activation, output or loss stays on an object after the step that made it.

## Why it costs memory or time

`self.features = self.encoder(x)` keeps that tensor until the next call overwrites it: through backward, the
optimizer step, evaluation, checkpointing. One activation of a small CNN kept so
held 144 MiB after each step and raised the peak by as much on an H200 (`fixtures/effects`); with no backward in
between (evaluation with grad on) the whole graph behind it stays too. It is retention, a constant; a list that
takes one more tensor each call
grows without bound. `detach()` cuts the graph, the tensor itself stays.

## Bad

```python
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Conv2d(3, 64, 3)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        self.features = self.encoder(x)
        return self.head(self.features.mean(dim=(2, 3)))
```

## Good

```python
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Conv2d(3, 64, 3)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        features = self.encoder(x)
        return self.head(features.mean(dim=(2, 3)))
```

## When it is fine

Parameters, buffers, numbers, host copies, detached values; masks and position tables without a graph; key/value
caches; anything emptied later in the same step (`self.x = None`, `del`, `clear()`) or by a method made for it.
A kept value behind a flag that asks for it is reported at low confidence only, like one that the methods of a
plain trainer hand on to each other.

## Questions

### Is `detach()` enough?

For a number, yes. For an activation it lets go of the graph, not of the tensor, which is as large as before: keep what
is derived from it (a norm, a mean), or a copy on the host.

### I deleted the object: why is its memory still there?

An object that refers to itself, by a bound method, a hook or a closure kept in an attribute, is a reference cycle: it
waits for Python's collector. Break the cycle (`self.callback = None`), or call `gc.collect()` once after the `del`.

### Which line owns the memory?

`torch.cuda.memory._record_memory_history()` before and `torch.cuda.memory._dump_snapshot("memory.pickle")` after the
step record the stack of each live block; https://pytorch.org/memory_viz shows them. `--verify` measures this
line alone: what is retained with it and without.

## References

- https://docs.pytorch.org/docs/stable/notes/faq.html#my-model-reports-cuda-runtime-error-2-out-of-memory
- Lightning-AI/pytorch-lightning#6326, Lightning-AI/pytorch-lightning#16520
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchmemlint.rule import Applicability, Confidence, Effect, Finding, Metric, Rule, Severity

if TYPE_CHECKING:
    from torchmemlint.facts.file_model import FileModel

RULE = Rule(
    code="TML201",
    name="tensor-held-in-attribute",
    severity=Severity.WARNING,
    effect=Effect(Metric.RETAINED_BYTES, also=(Metric.LIVE_GRAPH_NODES, Metric.GROWTH_BYTES)),
    words=("forward", "step", "backward", "cuda"),
    since="0.1.0",
    uncovers=("TML301",),
)


def check(file: FileModel) -> Iterator[Finding]:
    for store in file.attribute_stores():
        names = ", ".join(f"`{path}`" for path in store.paths[:4]) + (" and more" if len(store.paths) > 4 else "")
        if store.grows:
            message = f"one more tensor with its graph goes into {names} on every step, and nothing ever takes them out"
        elif len(store.paths) == 1:
            message = f"the tensor in {names} stays, with its graph, after the step that made it, until the next one"
        else:
            message = (
                f"the tensors in {names} stay, with their graphs, after the step that made them, until the next one"
            )
        fix = file.let_go_fix(store)
        yield file.finding(RULE, store.stores[0].statement, message, store.confidence, store.why, fix)
    for holder in file.plain_holders():
        message = f"`{holder.path}` holds a device tensor as long as the object lives, needed or not"
        fix = file.suffix_fix(holder.value, ".cpu()", "keep it in host memory", Applicability.PROOF)
        yield file.finding(RULE, holder.statement, message, Confidence.MEDIUM, (), fix)
