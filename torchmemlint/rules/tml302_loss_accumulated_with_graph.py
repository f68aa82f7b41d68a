"""A running sum across steps keeps every step's autograd graph alive.

## Why it costs memory or time

Each `+=` links the new step's graph to the sum, so no step's graph can be freed. After a normal `backward()`
the saved activations are already gone and what grows is graph nodes in *host* memory (6 KiB an iteration
measured for a small MLP, 0 bytes on the device). Where nothing is back-propagated, as in an evaluation loop
with grad on, or where the graph is retained, the activations of every step stay on the *device*: 1,152 MiB
an iteration measured for a small CNN on an H200 (`fixtures/effects`). The message says which of the two it is.

## Bad

```python
import torch
from torch.utils.data import DataLoader


def train(model, dataset, optimizer):
    total = 0.0
    for batch, target in DataLoader(dataset):
        loss = torch.nn.functional.mse_loss(model(batch), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        total += loss
    print(total)
```

## Good

```python
import torch
from torch.utils.data import DataLoader


def train(model, dataset, optimizer):
    total = 0.0
    for batch, target in DataLoader(dataset):
        loss = torch.nn.functional.mse_loss(model(batch), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        total += loss.detach()
    print(total)
```

## When it is fine

When the sum itself is back-propagated (the terms of one loss, accumulation for one backward), when the added
value is a number or detached, under `no_grad`, and when the sum starts afresh on every pass.

## Questions

### Why does memory climb: are activations kept, or only graph nodes?

After a normal `backward()` only nodes, on the host. After `backward(retain_graph=True)`, and where nothing is
back-propagated, the activations of every step: 1,152 MiB an iteration for a small CNN on an H200 with torch 2.11.

### `.detach()` or `.item()`?

Memory is equal. `.item()` waits for the device on every step: 8.5 ms instead of 8.0 for a CNN on an H200; for a small
MLP it was the faster one (1.2 instead of 1.7 ms). Sum `loss.detach()` and call `.item()` once in the end. `.data` hides
later changes in place from autograd; there is no reason for it.

### The error told me to use `retain_graph=True`: should I?

Rarely. "Trying to backward through the graph a second time" says that this step's loss still hangs on an earlier
step's graph: by a sum, or a hidden state that was not detached. Cut it there. It is right for several losses on one
graph, if the last `backward()` leaves it out and so frees the graph.

### To accumulate gradients, sum the losses or call `backward()` for each?

Call `(loss / n).backward()` for each: the gradients add up to those of the mean, and each step's activations are freed
at once. Back-propagating the sum keeps the graphs of all n steps until then.

## References

- https://docs.pytorch.org/docs/stable/notes/faq.html#my-model-reports-cuda-runtime-error-2-out-of-memory
- google/brax#152, horovod/horovod#641, dmlc/dgl#6980
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchmemlint.rule import Applicability, Confidence, Effect, Finding, Metric, Rule, Severity

if TYPE_CHECKING:
    from torchmemlint.facts.file_model import FileModel

RULE = Rule(
    code="TML302",
    name="loss-accumulated-with-graph",
    severity=Severity.WARNING,
    effect=Effect(Metric.LIVE_GRAPH_NODES, least=1, also=(Metric.GROWTH_BYTES, Metric.HOST_GROWTH_BYTES)),
    words=("+=", "-=", " + ", ".add_(", ".sub_("),
    since="0.1.0",
    uncovers=("TML301",),
)


def check(file: FileModel) -> Iterator[Finding]:
    for kept in file.sums():
        what = f"`{file.text(kept.target)}` sums `{file.text(kept.added)}` with its graph on every step"
        confidence = Confidence.HIGH if kept.certain else Confidence.MEDIUM
        safe = kept.freed and not kept.retained and not kept.via  # a meter may be handed numbers as well
        applicability = Applicability.SAFE if safe else Applicability.UNSAFE
        why = [*kept.value.why, kept.loop, *kept.via]
        fix = file.detached(kept.added, applicability)
        yield file.finding(RULE, kept.node, f"{what}: {kept.cost}", confidence, why, fix)
