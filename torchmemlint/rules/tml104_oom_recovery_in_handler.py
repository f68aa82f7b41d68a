"""Memory ran out, and the except handler recovers before it has ended.

## Why it costs memory or time

While a handler runs, the error's traceback holds the frames that failed, and they hold their tensors, with or
without `as error`. `empty_cache()` in there cannot return them, and work that is repeated there peaks at the failed
attempt plus the new one. Measured on an H200 (`fixtures/effects`): recovery inside the handler found 2,048 MiB still
allocated, recovery after it 0.

## Bad

```python
import torch


def step(model, batch, optimizer):
    try:
        model(batch).mean().backward()
        optimizer.step()
    except torch.cuda.OutOfMemoryError:
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
```

## Good

```python
import torch


def step(model, batch, optimizer):
    out_of_memory = False
    try:
        model(batch).mean().backward()
        optimizer.step()
    except torch.cuda.OutOfMemoryError:
        out_of_memory = True
    if out_of_memory:
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
```

## When it is fine

A handler that only takes note, continues, or raises; recovery after the try statement;
`traceback.clear_frames(error.__traceback__)` first. A handler for other errors, or around work
that uses no device, is none of this rule's business.

## Questions

### After one out-of-memory error every cell of my notebook runs out: what holds the memory?

The traceback of the last error, which Python and IPython keep (`sys.last_value`, from Python 3.12 on `sys.last_exc`),
and results of earlier cells in `_` and `Out`. Raise a small error instead of it (`1 / 0`), run `%reset out`, `del`
your own names, then `gc.collect()` and `torch.cuda.empty_cache()`, once.

### Is it not enough to leave out `as error`?

No: until the handler ends Python itself holds the error (`sys.exc_info()`), with its traceback and frames.

## References

- https://docs.pytorch.org/docs/stable/notes/faq.html#my-out-of-memory-exception-handler-can-t-allocate-memory
- pytorch/pytorch#18853, facebookresearch/ParlAI `torch_generator_agent.py` (flag first, recover after the block)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchmemlint.rule import Effect, Finding, Metric, Rule, Scene, Severity

if TYPE_CHECKING:
    from torchmemlint.facts.file_model import FileModel

RULE = Rule(
    code="TML104",
    name="oom-recovery-in-handler",
    severity=Severity.WARNING,
    effect=Effect(Metric.RETAINED_BYTES, also=(Metric.PEAK_BYTES,), scene=Scene.OUT_OF_MEMORY),
    words=("empty_cache", "OutOfMemory", "out of memory"),
    reaches="empties_cache",
    since="0.1.0",
)


def check(file: FileModel) -> Iterator[Finding]:
    for found in file.recoveries():
        if found.empties:
            what = "runs inside the handler, where the error's traceback still holds the tensors of the failed frames"
        else:
            what = "repeats the work inside the handler, on top of the failed frames' tensors that the traceback holds"
        message = f"`{file.text(found.call.func)}()` {what}"
        yield file.finding(RULE, found.call, message, found.confidence, found.why, file.recovery_fix(found))
