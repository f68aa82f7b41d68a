"""A forward for evaluation, prediction or sampling records a graph that nobody needs.

## Why it costs memory or time

With grad on, every forward saves activations for a backward that never comes, and a name such as `output`
keeps them until it is bound again, which is after the next forward: two graphs are alive at once. Measured on
an H200 (`fixtures/effects`): peak memory x2.7 for a small GPT, x4.0 for a CNN, hardly any time. `model.eval()` does not
switch grad off: it only changes how dropout and batch normalisation behave. With frozen parameters
(`requires_grad_(False)`) and inputs that want no gradient nothing is saved, and nothing is flagged.

## Bad

```python
import torch


def evaluate(model, loader):
    model.eval()
    hits = 0
    for x, y in loader:
        hits += (model(x.cuda()).argmax(1) == y.cuda()).sum().item()
    return hits
```

## Good

```python
import torch


@torch.no_grad()
def evaluate(model, loader):
    model.eval()
    hits = 0
    for x, y in loader:
        hits += (model(x.cuda()).argmax(1) == y.cuda()).sum().item()
    return hits
```

## When it is fine

Under a guard of the function, its decorators, its callers or a framework (`validation_step`, `generate`), with
all parameters frozen, and wherever the gradient is what is wanted: saliency, attacks, style transfer, policy
gradients, physics losses. A graph that is returned or stored for others is not flagged either.

## References

- https://docs.pytorch.org/docs/stable/notes/autograd.html#locally-disabling-gradient-computation
- hszhao/semseg#60, skorch-dev/skorch#219, gentaiscool/end2end-asr-pytorch#41, hpcaitech/ColossalAI#2829
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchmemlint.rule import Effect, Finding, Metric, Rule, Severity

if TYPE_CHECKING:
    from torchmemlint.facts.file_model import FileModel

RULE = Rule(
    code="TML301",
    name="inference-without-no-grad",
    severity=Severity.WARNING,
    effect=Effect(Metric.PEAK_BYTES, least=0.02, relative=True),
    words=(".eval()", ".train(", ".detach()", ".data", ".item()", ".numpy()", ".tolist()", ".argmax("),
    since="0.1.0",
)


def check(file: FileModel) -> Iterator[Finding]:
    for found in file.needless_graphs():
        message = f"`{file.text(found.call)}` records a graph that nobody needs: grad is on"
        fix = file.grad_off(found)
        yield file.finding(RULE, found.call, message, found.confidence, found.why, fix)
