"""The allocator's cache is emptied on every step of a hot loop.

## Why it costs memory or time

`empty_cache()` waits for the device and gives every unused block back to the driver; the next step has to
ask the driver for them again. Measured on an H200 (`fixtures/effects`): +4 % time per iteration for a small
GPT, +11 % for a CNN, +15 % for its evaluation, with 3 to 22 driver allocations per iteration that would be 0;
nothing for an MLP that caches nothing. It frees nothing that is still referenced, and dead tensors' memory is
reusable at once without it. With inputs of varying length it halved *reserved* memory (4,678 against 9,996 MiB)
for +5 % time: a trade to make knowingly. Every 100 steps it cost nothing that could be measured.

## Bad

```python
import torch
from torch.utils.data import DataLoader


def train(model, dataset, optimizer):
    for batch in DataLoader(dataset, batch_size=8):
        loss = model(batch).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        torch.cuda.empty_cache()
```

## Good

```python
import torch
from torch.utils.data import DataLoader


def train(model, dataset, optimizer):
    for batch in DataLoader(dataset, batch_size=8):
        loss = model(batch).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.cuda.empty_cache()
```

## When it is fine

Every n steps, behind a reading of `memory_reserved()`, after an out-of-memory error, between training and
evaluation, once an epoch, before another process or allocator takes the device: none of these is flagged.

## Questions

### I deleted the tensors and emptied the cache: why does nvidia-smi still show memory?

Three numbers: *allocated* is what tensors hold, *reserved* what the allocator keeps for the next ones, and nvidia-smi
shows what is reserved plus the CUDA context, which no call returns. Measured on an H200 (torch 2.11,
`fixtures/effects`) after `del` of the only tensor, of 384 MiB: 0 MiB allocated, 384 reserved, 911 in use on the
device; after `empty_cache()` 0, 0 and 527.

### It halved my memory: why not on every step?

It lowers *reserved* memory, not what a step needs: with inputs of varying length the peak of *allocated* memory was
4,032 MiB with the call and 4,023 without it. The allocator gives its unused blocks back by itself before it reports
that memory ran out. Where another process needs the device meanwhile, pay the price less often: every 100 steps it
took 11.27 ms instead of 11.24.

### Much is "reserved by PyTorch but unallocated": is that fragmentation?

It is when allocations fail although `memory_reserved()` is far above `memory_allocated()` at that moment, as with
inputs of varying length. Try `PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True` first. It depends on the order of
sizes at run time: no linter sees it in the text.

## References

- https://docs.pytorch.org/docs/stable/notes/cuda.html#memory-management
- huggingface/diffusers#2563, huggingface/peft#2894, huggingface/transformers#31372
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchmemlint.rule import Effect, Finding, Metric, Rule, Severity

if TYPE_CHECKING:
    from torchmemlint.facts.file_model import FileModel

RULE = Rule(
    code="TML101",
    name="empty-cache-in-hot-path",
    severity=Severity.WARNING,
    effect=Effect(Metric.TIME_MS, least=0.02, relative=True, also=(Metric.DEVICE_ALLOCATIONS,)),
    words=("empty_cache",),
    reaches="empties_cache",
    since="0.1.0",
)


def check(file: FileModel) -> Iterator[Finding]:
    for call in file.hot_calls("empties_cache"):
        if call.weight == 2:
            continue
        fix = file.hot_fix(call, "empties_cache")
        yield file.hot_finding(RULE, call, "empties the allocator's cache on every step", fix)
