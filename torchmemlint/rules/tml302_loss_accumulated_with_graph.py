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
