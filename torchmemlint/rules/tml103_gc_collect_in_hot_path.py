"""Python's garbage collector is run on every step of a hot loop.

## Why it costs memory or time

A full `gc.collect()` walks every object that Python tracks, whatever the step itself takes; `import torch` alone
makes that 36 to 70 ms a call. Measured on an H200 (`fixtures/effects`): x1.6 time per iteration for a small GPT,
x73 for an MLP. Tensors are freed by reference counting the moment their last
reference goes; the collector only matters for reference cycles.

## Bad

```python
import gc

from torch.utils.data import DataLoader


def train(model, dataset, optimizer):
    for batch in DataLoader(dataset, batch_size=8):
        loss = model(batch).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        gc.collect()
```

## Good

```python
import gc

from torch.utils.data import DataLoader


def train(model, dataset, optimizer):
    for batch in DataLoader(dataset, batch_size=8):
        loss = model(batch).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    gc.collect()
```

## When it is fine

Every n steps, once an epoch, after a model was deleted, after an out-of-memory error, and in programs that
take the collector into their own hands with `gc.disable()` or `gc.freeze()`: none of these is flagged.

## Questions

### Does the collector free device memory?

Only that of tensors in reference cycles; all others go with their last reference. One call walked 165,675 objects in
85 ms on the machine of the H200, with nothing but torch imported. If memory does fall after it, look for the cycle: an
object whose attribute, hook or closure leads back to it (TML201, TML202), and break it there.

### How often may I call it?

Once an epoch cost nothing: 14.4 ms a step with and without it on an H200, against 157 ms where it ran on every step.

## References

- huggingface/peft#2894
- https://docs.python.org/3/library/gc.html#gc.collect
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchmemlint.rule import Effect, Finding, Metric, Rule, Severity

if TYPE_CHECKING:
    from torchmemlint.facts.file_model import FileModel

RULE = Rule(
    code="TML103",
    name="gc-collect-in-hot-path",
    severity=Severity.WARNING,
    effect=Effect(Metric.TIME_MS, least=0.05, relative=True),
    words=("collect",),
    reaches="collects_garbage",
    since="0.1.0",
)


def check(file: FileModel) -> Iterator[Finding]:
    if file.controls_collector():
        return
    for call in file.hot_calls("collects_garbage"):
        if call.weight == 2:
            continue
        fix = file.hot_fix(call, "collects_garbage")
        yield file.hot_finding(RULE, call, "runs a full garbage collection on every step", fix)
