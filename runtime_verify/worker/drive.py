"""Runs the flagged function, or script, again and again under watch, and takes the readings."""

from __future__ import annotations

import asyncio
import gc
import inspect
import itertools
import math
import random
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import nn

from runtime_verify.readings import EventKind, Lane, Order, Outcome, Record
from runtime_verify.worker import operators, roles
from runtime_verify.worker.callables import unmade
from runtime_verify.worker.control_flow import Runtime
from runtime_verify.worker.entry import Program
from runtime_verify.worker.importing import Importer
from runtime_verify.worker.library import Finished
from runtime_verify.worker.readers import Readers
from runtime_verify.worker.recovery import Recovery
from runtime_verify.worker.shapes import OutOfMemory, Watch
from runtime_verify.worker.sites import Sites
from runtime_verify.worker.standin import Stand
from runtime_verify.worker.standin_calls import tensors_in
from runtime_verify.worker.world import Network, World, enter

MOST_LOSSES = 64
ENOUGH = 3
"""Passes of the mark after which a run that fails has shown what it can."""
TRAINING = frozenset({"forward", "training_step", "train_step", "compute_loss", "__call__", "loss", "loss_fn"})
"""Functions whose result a training loop would back-propagate: the driver does it for them."""
HOOKS = tuple(name for name in dir(nn.Module) if name.startswith("register_") and name.endswith("_hook"))


class Drive:
    """One run of one program. `run` gives the record."""

    def __init__(self, order: Order, readers: Readers) -> None:
        self._order = order
        self._readers = readers
        self._world = World(order)
        self._record = Record(torch=torch.__version__)
        self._found: dict[str, Any] = {}
        self._recovery = Recovery()
        self._memory = order.lane is Lane.MEMORY
        self._losses = itertools.count()

    def run(self) -> Record:
        """The record; errors of the user's code are outcomes in it."""
        enter(self._world)
        operators.install()
        random.seed(self._order.seed)
        self._watch_hooks()
        self._watch_losses()
        record = self._record
        try:
            if self._order.entry:
                Program(self._order, self._readers, record).run()
            else:
                with Watch(self._readers.tick if self._memory else None, self._before_operation):
                    self._drive()
        except Finished:
            pass
        except OutOfMemory as error:
            record.outcome, record.detail = Outcome.OUT_OF_MEMORY, _said(error)
        except SystemExit as error:
            if error.code or not self._order.entry:
                record.outcome, record.detail = Outcome.EXITED, f"exit status {error.code}"
        except Exception as error:
            record.outcome, record.detail = Outcome.RAISED, f"{_said(error)} ({_where(error)})"
        if not record.steps:
            self._step_ended()
        if self._memory:
            self._count_up()
        record.events = self._world.events
        record.decisions = self._world.decisions
        record.diverged = self._world.diverged
        record.numbers = self._world.numbers
        record.own = sorted(self._world.own)
        return record

    # -- readings

    def _on_pass(self) -> None:
        self._record.grad_off = not torch.is_grad_enabled() and (self._record.grad_off or not self._record.passes)
        self._record.passes.append(self._readers.sample())

    def _on_after(self) -> None:
        if self._memory:
            self._record.after.append(self._readers.sample())

    def _step_ended(self) -> None:
        gc.collect()
        self._record.steps.append(self._readers.sample())

    def _before_operation(self) -> None:
        if self._recovery.inside:
            self._recovery.operation()

    def _watch_hooks(self) -> None:
        """Notes on which modules the code puts hooks."""
        world = self._world

        def watched(register: Callable[..., Any]) -> Callable[..., Any]:
            def registering(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
                if sys._getframe(1).f_code.co_filename != nn.Module.__call__.__code__.co_filename:
                    world.hooked[id(module)] = module
                return register(module, *args, **kwargs)

            return registering

        for name in HOOKS:
            setattr(nn.Module, name, watched(getattr(nn.Module, name)))

    def _watch_losses(self) -> None:
        """Notes the losses that the code back-propagates, to compare the variants by."""
        world = self._world
        original: Any = torch.Tensor.backward

        def backward(loss: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            count = next(self._losses)
            if self._memory and count < MOST_LOSSES and loss.numel():
                world.numbers[f"loss {count}"] = float(loss.detach().float().mean())
            return original(loss, *args, **kwargs)

        torch.Tensor.backward = backward  # type: ignore[method-assign, assignment]

    def _count_up(self) -> None:
        """Sums of all parameters and gradients, to compare the variants by."""
        parameters = [
            value for value in gc.get_objects() if nn.Parameter in type(value).__mro__ and value.device.type != "meta"
        ]
        sums: dict[str, list[float]] = {"parameters": [], "gradients": []}
        for parameter in parameters:
            sums["parameters"].append(float(parameter.detach().double().abs().sum()))
            if parameter.grad is not None:
                sums["gradients"].append(float(parameter.grad.detach().double().abs().sum()))
        for name, values in sums.items():
            self._world.numbers[name] = math.fsum(values)

    # -- running

    def _drive(self) -> None:
        program = self._order.program
        first, *others = program["modules"]
        modules = {module["name"]: (module["path"], module["text"], module["package"]) for module in others}
        if not program["function"]:
            self._script(first, modules)
            return
        module = self._load(first, modules, first["name"])
        self._functions(module, program["function"])

    def _script(self, first: dict[str, Any], modules: dict[str, tuple[str, str, bool]]) -> None:
        """Runs a module's body; again where its work has to be known before it can be made to fail."""
        recovering = self._order.scene == "out of memory"
        for _ in range(Recovery.DRY + 1 if recovering else 1):
            if self._order.fresh:
                self._hand_back()
            self._load(first, modules, "__main__")
            self._step_ended()
        if not self._world.passed and "nested" in self._found:
            nested = self._callable("nested")
            self._repeat(self._caller(nested, self._arguments(nested, None)), "nested")

    def _load(self, first: dict[str, Any], modules: dict[str, tuple[str, str, bool]], name: str) -> ModuleType:
        """The flagged module, its body run under the given name."""
        program = self._order.program
        importer = Importer(self._world, modules, self._runtime)
        module = ModuleType(name)
        importer.adopt(first["name"], module)
        if first["package"]:
            module.__path__ = []
        sys.argv = [first["path"]]
        importer.execute(
            module,
            first["name"],
            first["path"],
            first["text"],
            first["package"],
            function=program["function"],
            mark=program["mark"],
            kept=program["kept"],
            exhausting=self._order.scene == "out of memory",
        )
        return module

    def _runtime(self, sites: Sites) -> Runtime:
        return Runtime(sites, self._on_pass, self._on_after, self._recovery, self._found)

    def _functions(self, module: ModuleType, dotted: str) -> None:
        if "target" not in self._found:
            raise LookupError(f"the slice does not define {dotted}")
        function = self._callable("target")
        owner = self._owner(module, dotted)
        call = self._caller(function, self._arguments(function, owner))
        self._repeat(call, dotted.rsplit(".", maxsplit=1)[-1])
        if not self._world.passed and "nested" in self._found:
            nested = self._callable("nested")
            self._repeat(self._caller(nested, self._arguments(nested, None)), "nested")

    def _callable(self, what: str) -> Any:
        """The function with its decorators on, which may switch grad off; without where they make something else."""
        decorated, bare = self._found[what], self._found[f"bare {what}"]
        function = getattr(decorated, "__func__", decorated)
        known = inspect.isfunction(function) and inspect.unwrap(function) is getattr(bare, "__func__", bare)
        return function if known else bare

    def _owner(self, module: ModuleType, dotted: str) -> Any:
        """The instance whose method is run, made with stand-ins for what its constructor wants."""
        value: Any = module
        names = dotted.split(".")[:-1]
        for name in names:
            value = getattr(value, name, None)
        if not names or not isinstance(value, type):
            return None
        kind: Any = value
        if getattr(kind, "__abstractmethods__", None):
            kind.__abstractmethods__ = frozenset()  # the method that is run is not one of these
        self._world.own.add(kind.__name__)
        if dotted.endswith(".__init__"):
            return unmade(kind)
        try:
            return kind(*self._values(kind.__init__, skip=1))
        except OutOfMemory:
            raise
        except Exception as error:
            self._world.note(
                EventKind.STANDIN, f"{kind.__name__}: an instance without its constructor ({_said(error)})"
            )
            return unmade(kind)

    def _arguments(self, function: Any, owner: Any) -> list[Any]:
        names = list(inspect.signature(function).parameters)
        if owner is None or not names or names[0] not in ("self", "cls", "mcs", "this"):
            return self._values(function, skip=0)
        first = type(owner) if names[0] == "cls" else owner
        return [first, *self._values(function, skip=1)]

    def _values(self, function: Any, skip: int) -> list[Any]:
        """Values for the parameters that can be given by position."""
        try:
            parameters = list(inspect.signature(function).parameters.values())[skip:]
        except (TypeError, ValueError):
            return []
        values: list[Any] = []
        for parameter in parameters:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.KEYWORD_ONLY):
                break
            values.append(self._value(parameter))
        return values

    def _value(self, parameter: inspect.Parameter) -> Any:
        name, default = parameter.name, parameter.default
        wanted = roles.MODULE.search(name) or roles.ITERATED.search(name)
        if default is not parameter.empty and not (default is None and wanted):
            return default
        self._world.note(EventKind.STANDIN, f"parameter {name}")
        if roles.DEVICE.search(name):
            return self._world.device
        return Stand(name)

    def _caller(self, function: Any, arguments: list[Any]) -> Callable[[], Any]:
        named = self._named(function)

        def call() -> Any:
            try:
                return function(*arguments, **named)
            except OutOfMemory:
                raise
            except Exception as error:
                if self._world.passed < ENOUGH:
                    raise
                self._world.note(EventKind.FALLBACK, f"ended early: {_said(error)}")
                return None

        return call

    def _named(self, function: Any) -> dict[str, Any]:
        """Values for the parameters that must be given by name."""
        parameters = inspect.signature(function).parameters.values()
        return {
            parameter.name: self._value(parameter)
            for parameter in parameters
            if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
        }

    def _repeat(self, call: Callable[[], Any], name: str) -> None:
        """Calls until the mark was passed often enough; what the code hooked onto is run in between."""
        world, wanted = self._world, self._order.passes
        for turn in range(wanted):
            before = world.passed
            if self._order.fresh:
                self._hand_back()
            result = call()
            self._finish(result, name)
            del result
            if self._memory:
                self._step_ended()
            if world.hooked and world.passed - before <= 1:
                self._run_hooked()
                return
            if world.passed - before >= min(4, wanted) or (world.passed >= wanted):
                return
            if turn >= 2 and not world.passed:
                return

    def _hand_back(self) -> None:
        """Starts a step with nothing in the allocator's cache, so that what a call returns the step has let go of."""
        gc.collect()
        if self._world.device.type == "cuda":
            torch.cuda.empty_cache()

    def _run_hooked(self) -> None:
        for _ in range(self._order.passes):
            for module in list(self._world.hooked.values()):
                rows = torch.ones(self._world.rows, self._world.width, device=self._world.device)
                module(rows if isinstance(module, Network) else Stand("x"))
                del rows
            self._on_pass()
            self._step_ended()

    def _finish(self, result: Any, name: str) -> None:
        """Takes a result as its caller would: goes through a generator, back-propagates a training step's."""
        if inspect.isgenerator(result):
            for _ in itertools.islice(result, self._order.passes):
                pass
            return
        if inspect.iscoroutine(result):
            asyncio.run(result)
            return
        tensors = list(tensors_in([result]))
        if self._memory and tensors:
            self._world.numbers["result"] = math.fsum(float(t.detach().double().abs().sum()) for t in tensors[:16])
        if name in TRAINING and torch.is_grad_enabled():
            total = [tensor.float().mean() for tensor in tensors if tensor.requires_grad and tensor.is_floating_point()]
            if total:
                self._world.finishing = True
                try:
                    torch.autograd.backward(torch.stack(total).sum())
                except RuntimeError as error:
                    self._world.note(EventKind.REPAIR, f"the result is not back-propagated: {_said(error)}")
                self._world.finishing = False


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _where(error: BaseException) -> str:
    """The innermost place of the traceback."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}" if trace is not None else "?"
