"""What all stand-ins of one run share: sizes, networks, decisions, the log of what was done."""

from __future__ import annotations

import os
import sys
from typing import Any

import torch
from torch import nn

from runtime_verify.readings import Event, EventKind, Order
from runtime_verify.worker.sites import Sites

TURNS = 3
"""How often a loop goes round that is not around the mark and iterates over something stood in for."""
MOST_EVENTS = 400
MOST_NETWORKS = 8
"""Stand-in modules with parameters of their own; further ones share these."""
LAYERS = 4


class Control(BaseException):
    """Ends the run from within the user's code; not an error that the code may catch."""


class Network(nn.Module):
    """The module behind a stand-in that is called with tensors: real layers, parameters and activations."""

    def __init__(self, width: int, device: torch.device) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width, device=device) for _ in range(LAYERS))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """`rows` and the result: [rows, width]."""
        for layer in self.layers:
            rows = torch.nn.functional.gelu(layer(rows))
        return rows


class World:
    """One run's shared state.

    rows, width  sizes of stand-in tensors: [rows, width] float32, 4 MiB on a device at scale 1, 0.5 MiB on the CPU.
    """

    def __init__(self, order: Order) -> None:
        self.order = order
        self.device = torch.device(order.device)
        small = self.device.type == "cpu"
        self.rows = (512 if small else 1024) * order.scale
        self.width = 256 if small else 1024
        self.batch = 16 * order.scale
        self.image = 64
        self.length = 128
        if not order.scale:  # made small because the usual sizes do not fit
            self.rows = self.width = 128
            self.batch, self.image, self.length = 4, 32, 16
        self.sites: dict[str, Sites] = {}
        self.passed = 0
        self.turns = 0
        self.recovering = False
        self.finishing = False
        self.graphs = frozenset(order.program.get("graphs", ()))
        self.decisions: dict[str, Any] = {}
        self.diverged = False
        self.own: set[str] = set()
        self.numbers: dict[str, float] = {}
        self.hooked: dict[int, nn.Module] = {}
        self.home = os.getcwd()
        self._events: dict[tuple[str, str, int, str], Event] = {}
        self._networks: dict[str, Network] = {}
        self._randoms = torch.Generator(device="cpu").manual_seed(order.seed)

    # -- the log

    def note(self, kind: EventKind, text: str, path: str = "", line: int = 0) -> None:
        """Logs what was done, once for each place; the place is the user's code that runs now."""
        if len(self._events) >= MOST_EVENTS and kind is not EventKind.FALLBACK:
            return
        frames = self._user_frames()
        if frames:
            path, line = frames[0]
        key = (kind.value, path, line, text)
        if key not in self._events and len(self._events) < 4 * MOST_EVENTS:
            self._events[key] = Event(kind, path, line, text[:300], self._on_slice(frames))

    def _user_frames(self) -> list[tuple[str, int]]:
        """Places of the user's code on the stack, the innermost last, with the functions they stand in."""
        found = []
        self._starts: list[int] = []
        frame = sys._getframe(1)
        while frame is not None:
            code = frame.f_code
            if code.co_filename in self.sites:
                found.append((code.co_filename, frame.f_lineno))
                self._starts.append(0 if code.co_name == "<module>" else code.co_firstlineno)
            frame = frame.f_back  # type: ignore[assignment]
        self._starts.reverse()
        return found[::-1]

    def _on_slice(self, frames: list[tuple[str, int]]) -> bool:
        """Whether each place on the stack is one that the result of its function, or the mark, depends on."""
        if not frames:
            return False
        for (path, line), start in zip(frames, self._starts, strict=True):
            slices = self.sites[path].slices
            lines = slices.get(start)
            if lines is None:  # a lambda, a comprehension, or a decorated function: the innermost function around
                starts = [first for first in slices if first <= max(start, line)]
                lines = slices[max(starts)] if starts else None
            if lines is not None and line not in lines:
                return False
        return True

    @property
    def events(self) -> list[Event]:
        """What was done, in order."""
        return list(self._events.values())

    # -- decisions

    def decide(self, name: str, value: Any) -> Any:
        """Records a decision; where an earlier run decided, its decision is taken and a difference noted."""
        earlier = (self.order.decisions or {}).get(name)
        if earlier is not None and name not in self.decisions and earlier != value:
            self.diverged = True
        self.decisions.setdefault(name, value)
        return value

    # -- values

    def network(self, path: str) -> Network:
        """The real module behind a stand-in."""
        if path not in self._networks:
            if len(self._networks) >= MOST_NETWORKS:
                return list(self._networks.values())[len(path) % MOST_NETWORKS]
            with torch.enable_grad():
                self._networks[path] = Network(self.width, self.device)
            self.decide(f"network {path}", True)
        return self._networks[path]

    def forward(self, path: str, inputs: list[torch.Tensor]) -> torch.Tensor:
        """What a stand-in module computes: [rows, width], with a graph to parameters and inputs where grad is on."""
        rows = torch.ones(self.rows, self.width, device=self.device)
        for tensor in inputs:
            if tensor.is_floating_point() and tensor.numel():
                rows = rows + tensor.float().mean().to(self.device)
        computed: torch.Tensor = self.network(path)(rows)
        return computed

    def passed_on(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        """What a function that is no module makes of tensors: new values like the first, with its graph."""
        first = next((tensor for tensor in inputs if tensor.is_floating_point() and tensor.numel()), None)
        if first is None:
            return torch.ones(self.rows, self.width, device=self.device)
        return first * 0.5

    def reduce(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        """What a stand-in loss function computes: a scalar with a graph to its inputs."""
        floats = [tensor for tensor in inputs if tensor.is_floating_point() and tensor.numel()]
        total = torch.zeros((), device=self.device)
        for tensor in floats:
            total = total + tensor.float().pow(2).mean().to(self.device)
        return total

    def random(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float32, below: int = 8) -> torch.Tensor:
        """Data of a shape, the same in every run of the same seed."""
        if dtype == torch.bool:
            return torch.ones(shape, dtype=dtype, device=self.device)
        if not (dtype.is_floating_point or dtype.is_complex):
            drawn = torch.randint(0, max(1, below), shape, generator=self._randoms)
            return drawn.to(device=self.device, dtype=dtype)
        if self.device.type == "cpu":
            return torch.rand(shape, generator=self._randoms).to(dtype)
        seed = int(torch.randint(0, 2**31, (), generator=self._randoms))
        generator = torch.Generator(device=self.device).manual_seed(seed)
        return torch.rand(shape, generator=generator, device=self.device).to(dtype)

    def shaped(self, core: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        """A tensor of a shape whose values come from `core`, with its graph."""
        wanted = 1
        for size in shape:
            wanted *= size
        if not shape:
            return core.float().mean()
        flat = core.reshape(-1)
        if not flat.numel():
            flat = flat.sum().reshape(1).expand(max(1, wanted))
        if wanted > flat.numel():
            flat = flat.repeat(-(-wanted // max(1, flat.numel())))
        return flat[:wanted].reshape(shape)

    def zero_grads(self) -> None:
        """What an optimizer that is not there does to the gradients of modules that are not there."""
        for network in self._networks.values():
            network.zero_grad(set_to_none=True)


_current: list[World] = []


def enter(world: World) -> None:
    """Makes this the world that stand-ins live in."""
    _current[:] = [world]


def world() -> World:
    """The world of this run."""
    return _current[0]
