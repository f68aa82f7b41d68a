"""A container that outlives the step collects values together with their autograd graphs.

## Why it costs memory or time

A list, deque or dict keeps what is put in it, and a tensor that carries a graph keeps the graph. After a
normal `backward()` that is graph nodes in *host* memory plus the tensor's own bytes; where nothing is
back-propagated it is every step's activations on the *device* (measured on an H200,
`fixtures/effects`: 144 MiB an iteration for one kept activation of a small CNN, 1,152 MiB for its whole graph).

## Bad

```python
import torch
from torch.utils.data import DataLoader


def train(model, dataset, optimizer):
    history = []
    for batch, target in DataLoader(dataset):
        loss = torch.nn.functional.mse_loss(model(batch), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        history.append(loss)
    return history
```

## Good

```python
import torch
from torch.utils.data import DataLoader


def train(model, dataset, optimizer):
    history = []
    for batch, target in DataLoader(dataset):
        loss = torch.nn.functional.mse_loss(model(batch), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        history.append(loss.detach())
    return history
```

## When it is fine

When the collected values are back-propagated later (log-probabilities of an episode, terms of one loss), when
the container lives for one step only or forgets by itself (`deque(maxlen=n)`), and under `no_grad`.

## Questions

### Why does memory climb: are activations kept, or only graph nodes?

After a normal `backward()` only nodes: 7 a step and 6.3 KiB of host memory in the probe. After
`backward(retain_graph=True)` nothing has been freed, and each kept loss keeps its activations: 1,152 MiB an iteration
for a small CNN on an H200 with torch 2.11, against none after a plain `backward()` (`fixtures/effects`). Where nothing
is back-propagated, likewise. Detached values keep their own bytes and no more.

### `.detach()`, `.item()`, `.cpu()` or `.data`?

`.detach()` lets go of the graph, waits for nothing and leaves the value on the device. `.item()` lets go of it too, but
waits for the device each time. `.cpu()` alone keeps the graph, and waits: write `.detach().cpu()`. Copying whole
outputs is slow, 432 ms a step instead of 18 for the logits of a small GPT on an H200, so reduce first (`argmax`,
`mean`), then move. `.data` hides later changes in place from autograd, which may then compute wrong
gradients without a word.

## References

- https://docs.pytorch.org/docs/stable/notes/faq.html#my-model-reports-cuda-runtime-error-2-out-of-memory
- huggingface/trl#1531, TRI-ML/packnet-sfm#47, nerfstudio-project/nerfstudio#250
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchmemlint.rule import Applicability, Confidence, Effect, Finding, Metric, Rule, Severity

if TYPE_CHECKING:
    from torchmemlint.facts.file_model import FileModel

RULE = Rule(
    code="TML204",
    name="graph-held-in-container",
    severity=Severity.WARNING,
    effect=Effect(Metric.LIVE_GRAPH_NODES, least=1, also=(Metric.GROWTH_BYTES, Metric.HOST_GROWTH_BYTES)),
    words=(".append(", ".appendleft(", ".add(", ".insert(", ".extend(", "+= ["),
    since="0.1.0",
    uncovers=("TML301",),
)


def check(file: FileModel) -> Iterator[Finding]:
    for kept in file.collections():
        what = f"`{file.text(kept.target)}` collects `{file.text(kept.added)}` with its graph on every step"
        confidence = Confidence.HIGH if kept.certain else Confidence.MEDIUM
        why = [*kept.value.why, kept.loop, *kept.via]
        sure = kept.value.is_tensor
        fix = file.detached(kept.added, Applicability.UNSAFE) if sure else file.without_graphs(kept.added)
        yield file.finding(RULE, kept.node, f"{what}: {kept.cost}", confidence, why, fix)
