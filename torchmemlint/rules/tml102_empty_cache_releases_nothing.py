"""The allocator's cache is emptied when nothing was released that it could give back.

## Why it costs memory or time

`empty_cache()` returns only blocks that no tensor uses. While a name, a caller or a container still holds the
tensor, its memory stays where it is: after `del` of a 384 MiB tensor the call gave 404 MiB back on an H200, without the
`del` 20 MiB (`fixtures/effects`). What it does return are the scraps of earlier work, which the next allocation asks
the driver for again. The allocator itself empties its cache before it gives up, so calling it
right before a large allocation gains nothing.

## Bad

```python
import torch


def spectrum(values):
    wide = torch.fft.fft(values.to("cuda"))
    host = wide.abs().cpu()
    torch.cuda.empty_cache()
    return host
```

## Good

```python
import torch


def spectrum(values):
    wide = torch.fft.fft(values.to("cuda"))
    host = wide.abs().cpu()
    del wide
    torch.cuda.empty_cache()
    return host
```

## When it is fine

After `del`, `= None`, `.clear()`, `gc.collect()`, a module's `.cpu()`, or the return of a function whose tensors died
with it. Before memory is measured, or before another allocator takes the device. In a helper that only cleans up: the
places that call it are asked instead. That there is no `del` in sight is no reason to report anything.

## Questions

### I used `del` and emptied the cache: why is the memory still taken?

Somebody else holds the tensor: another name, the caller, a container, the graph of a loss, `_` and `Out` in a notebook,
the traceback of an error. If `memory_allocated()` does not fall after the `del`, find the holder; if it falls and only
`memory_reserved()` stays, the call returns it. What nvidia-smi shows beyond that is the CUDA context: 527 MiB on an
H200 with torch 2.11, whatever is deleted.

### Does it need `synchronize()` first?

No: the call waits by itself, and waiting frees nothing (32 MiB held before and after on an H200). The memory of a dead
tensor can be used again at once, without either.

## References

- https://docs.pytorch.org/docs/stable/notes/cuda.html#memory-management
- https://docs.pytorch.org/docs/stable/generated/torch.cuda.memory.empty_cache.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchmemlint.rule import Applicability, Direction, Effect, Finding, Metric, Rule, Severity

if TYPE_CHECKING:
    from torchmemlint.facts.file_model import FileModel, Idle

RULE = Rule(
    code="TML102",
    name="empty-cache-releases-nothing",
    severity=Severity.WARNING,
    effect=Effect(Metric.RESERVED_BYTES_RETURNED, Direction.LOWER),
    words=("empty_cache",),
    reaches="empties_cache",
    since="0.1.0",
)


def check(file: FileModel) -> Iterator[Finding]:
    for idle in file.idle_cache_calls():
        fix = file.release_fix(idle) or file.drop_statement(idle.call, "remove the call", Applicability.UNSAFE)
        message = f"`{file.text(idle.call)}` {_reason(idle)}"
        yield file.finding(RULE, idle.call, message, idle.confidence, idle.why, fix)


def _reason(idle: Idle) -> str:
    from torchmemlint.facts.file_model import Form  # not where the rule is loaded: that is for every file

    if idle.form is Form.HELD:
        names = [f"`{name}`" for name in idle.names]
        if idle.held[0].moved is not None:
            return (
                f"comes too early: {names[0]} still holds its device memory and is copied to the host only afterwards"
            )
        if len(names) == 1:
            return f"cannot return the memory of {names[0]}: nobody reads it any more, but it still holds its tensor"
        listed = ", ".join(names)
        return f"cannot return the memory of {listed}: nobody reads them any more, but they still hold their tensors"
    if idle.form is Form.COMMENTED:
        return f"follows a `del` that is commented out: {', '.join(f'`{n}`' for n in idle.names)} still held"
    if idle.form is Form.TAKEN:
        return "has nothing to return: memory was only taken before it, nothing released"
    if idle.form is Form.BUILT:
        return "has nothing to return: it runs when these buffers are first made, before anything was released"
    return "has nothing to return: nothing was released before it"
