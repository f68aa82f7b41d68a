"""Small programs made of what the rules look at, and programs that somebody's hand slipped on. Asserts nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

HEAD = """import gc
import torch
import torch.nn as nn
from torch import optim
from torch.utils.data import DataLoader
from other import step, Keeper, make_model

losses, outputs, cache = [], {}, []
total = 0
model = nn.Linear(4, 4).cuda()
optimizer = optim.SGD(model.parameters(), lr=0.1)
loader = DataLoader([torch.ones(4)], batch_size=1)
"""
OTHER = """import torch
import torch.nn as nn

KEPT = []


class Keeper(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = []
        self.body = nn.Linear(4, 4)

    def forward(self, x):
        self.last = self.body(x)
        return self.last

    def clear(self):
        torch.cuda.empty_cache()


def make_model():
    return Keeper().cuda()


def step(model, x):
    out = model(x)
    KEPT.append(out)
    torch.cuda.empty_cache()
    return out.sum()
"""
SIMPLE = (
    "x = torch.ones(4, device='cuda')",
    "x = x.cuda()",
    "out = model(x)",
    "out = step(model, x)",
    "loss = model(x).sum()",
    "loss = torch.nn.functional.mse_loss(out, x)",
    "loss.backward()",
    "loss.backward(retain_graph=True)",
    "optimizer.step(); optimizer.zero_grad()",
    "total += loss",
    "total = total + loss.item()",
    "total += loss.detach()",
    "losses.append(loss)",
    "losses += [out, loss]",
    "losses.append(out.detach().cpu())",
    "outputs[i] = out",
    "outputs.setdefault('a', []).append(loss)",
    "cache.extend([model(x) for x in loader])",
    "self.last = out",
    "self.seen.append(loss)",
    "self.hidden = self.body(x, self.hidden)",
    "torch.cuda.empty_cache()",
    "gc.collect()",
    "del x",
    "del out, loss",
    "x = None",
    "handle = model.register_forward_hook(lambda m, i, o: cache.append(o))",
    "model.register_forward_hook(hook)",
    "handle.remove()",
    "torch.cuda.synchronize(); torch.cuda.empty_cache()",
    "print(torch.cuda.memory_allocated(), f'{loss} {total:.3f}')",
    "callbacks.append(lambda: out)",
    "keeper = Keeper()",
    "model = make_model().eval()",
    "model.train(False)",
    "torch.set_grad_enabled(False)",
    "return loss",
    "return out.cpu(), total",
    "yield out",
    "raise",
    "continue",
    "break",
    "pass",
    "global total, losses",
    "x, (out, *rest) = next(iter(loader)), [1, 2, 3]",
    "if (n := len(losses)) > 3: losses.clear()",
    "x = '''\n\ttext\n'''",
    "x = f'''\n{loss} {total + loss}\n'''; losses.append(f'{model(x)}')",
    "# a comment: é, 日本, 🦀",
    "名 = model(x); losses.append(名)",
)
BLOCKS = (
    ("for batch in loader:",),
    ("for i, x in enumerate(loader):",),
    ("for epoch in range(10):",),
    ("for x in loader:\n    loss = model(x).sum()\n    loss.backward()\n    optimizer.step()",),
    ("for x in loader:\n    out = model(x)\n    loss = out.sum()\n    losses.append(loss)\n    total += loss",),
    ("def train(keeper: Keeper):\n    for x in loader:\n        keeper(x).sum().backward()",),
    ("def validate(model):\n    model.eval()\n    for x in loader:\n        total = total + model(x).sum()",),
    ("while True:",),
    ("with torch.no_grad():",),
    ("with torch.inference_mode(), open('a') as file:",),
    ("with torch.enable_grad():",),
    ("if step % 10 == 0:",),
    ("if torch.cuda.is_available():", "else:"),
    ("if model.training:", "elif loss:", "else:"),
    ("try:", "except RuntimeError as error:"),
    ("try:", "except torch.cuda.OutOfMemoryError:", "else:"),
    ("try:", "except Exception:", "finally:"),
    (
        "try:\n    loss = model(x).sum()",
        "except RuntimeError as e:\n    if 'memory' in str(e):\n        torch.cuda.empty_cache()",
    ),
    ("def train(model, loader):",),
    ("def evaluate(x=None, *rest, model, **more):",),
    ("@torch.no_grad()\ndef predict(self, x):",),
    ("def forward(self, x):",),
    ("def hook(module, args, output):",),
    ("async def serve(x):",),
    ("class Net(nn.Module):",),
    ("class Loop(nn.Module):\n    def forward(self, x):\n        self.last = self.body(x)\n        return self.last",),
    ("class Loop(Keeper):\n    def __init__(self):\n        self.hidden = None",),
    ("match x:\n    case [a, *b]:\n        pass\n    case _:\n        pass\nfor x in loader:",),
)
Lines = list[str]


def _indented(lines: Sequence[str]) -> Lines:
    """Each line one step further in; the inside of a string in three quotes stays where it is."""
    text, inside, done = "\n".join(lines), False, []
    for line in text.split("\n"):
        done.append(line if inside or not line else f"    {line}")
        inside ^= line.count("'''") % 2 == 1
    return done


@st.composite
def _block(draw: Callable[[Any], Any], inner: st.SearchStrategy[Lines]) -> Lines:
    lines: Lines = []
    for header in draw(st.sampled_from(BLOCKS)):
        lines += header.split("\n")  # what stands below its first line opens the block
        lines += _indented(draw(inner))
    return lines


def _joined(parts: Sequence[Lines]) -> Lines:
    return [line for part in parts for line in part]


_simple = st.sampled_from(SIMPLE).map(lambda text: [text])
_statements = st.recursive(
    st.lists(_simple, min_size=1, max_size=4).map(_joined),
    lambda inner: st.lists(st.one_of(_simple, _block(inner)), min_size=1, max_size=5).map(_joined),
    max_leaves=12,
)


@st.composite
def programs(draw: Callable[[Any], Any]) -> str:
    """A program that Python reads, mostly; whether it makes sense is another matter."""
    return HEAD + "\n".join(draw(_statements)) + "\n"


@st.composite
def slips(draw: Callable[[Any], Any], texts: st.SearchStrategy[str]) -> str:
    """A text with some lines deleted, doubled, swapped, moved in or out, or with two words exchanged."""
    lines = draw(texts).splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 6))):
        if len(lines) < 3:
            break
        at = draw(st.integers(0, len(lines) - 2))
        lines[at : at + 2] = _slipped(draw(st.sampled_from(SLIPS)), lines[at], lines[at + 1])
    return "".join(lines)


SLIPS = ("delete", "double", "swap", "in", "out", "words")


def _slipped(how: str, line: str, other: str) -> Lines:
    if how == "delete":
        return [other]
    if how == "double":
        return [line, line, other]
    if how == "swap":
        return [other, line]
    if how == "in":
        return [f"    {line}", other]
    if how == "out":
        return [line.removeprefix("    "), other]
    one, two = line.split(" "), other.split(" ")
    one[-1], two[-1] = two[-1], one[-1]
    return [" ".join(one), " ".join(two)]
