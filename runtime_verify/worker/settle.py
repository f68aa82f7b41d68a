"""Makes a fresh process alike to the next: seeds, threads, deterministic choices, and warm libraries.

What a library allocates when it is first used must not be taken for what the user's code does.
"""

from __future__ import annotations

import gc
import os
import random
import sys

import torch

FRACTION = "RUNTIME_VERIFY_DEVICE_FRACTION"

# One thread on the CPU, so that its sums and its memory are the same each time; beside a device, two to feed it.
THREADS = {"cpu": 1, "cuda": 2}
WARM_SIDE = 64


def settle(device: str, seed: int, frozen: bool = False) -> None:
    """Call once, before anything is read and before the user's code. Initialises CUDA where the device is one.

    frozen  keep the collector away from all objects that exist now, the libraries' (a tenth of a second a collection):
            for runs that collect often and whose time is not asked.
    """
    target = torch.device(device)
    torch.set_num_threads(THREADS.get(target.type, 1))
    keep_algorithms()
    if target.type == "cuda":
        torch.cuda.set_device(target.index or 0)
        torch.cuda.set_per_process_memory_fraction(float(os.environ.get(FRACTION, "1.0")), target.index or 0)
    warm_up(target)
    sow(seed)
    gc.collect()
    if frozen:
        gc.freeze()


def sow(seed: int) -> None:
    """Seed every generator there is."""
    random.seed(seed)
    torch.manual_seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed % 2**32)


def keep_algorithms() -> None:
    """cuDNN keeps to one algorithm: trying them out picks another each time, with another workspace.

    Code that asks for trials (`cudnn.benchmark = True`) goes on without them.
    """
    switches = type(torch.backends.cudnn)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    for name, value in (("benchmark", False), ("deterministic", True)):
        setattr(switches, name, _stuck(value))


def _stuck(value: bool) -> property:
    def read(_: object) -> bool:
        return value

    def write(_: object, __: bool) -> None:
        pass

    return property(read, write)


def warm_up(device: torch.device) -> None:
    """Forward and backward through what nearly all code uses: matrix products with their workspaces, here and in the
    engine's own thread, an optimiser's step, a reduction read by the host."""
    model = torch.nn.Sequential(torch.nn.Linear(WARM_SIDE, WARM_SIDE), torch.nn.ReLU(), torch.nn.Linear(WARM_SIDE, 1))
    model.to(device)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        loss = model(torch.ones(WARM_SIDE, WARM_SIDE, device=device)).mean()
        loss.backward()
        optimiser.step()
        loss.item()
    with torch.no_grad():
        product = torch.ones(WARM_SIDE, WARM_SIDE, device=device) @ torch.ones(WARM_SIDE, WARM_SIDE, device=device)
        product.sum().item()
