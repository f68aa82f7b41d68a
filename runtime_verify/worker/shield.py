"""What instrumented code calls: each step is tried as written, and what fails is logged and stood in for."""

from __future__ import annotations

import inspect
import operator
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from runtime_verify.readings import EventKind
from runtime_verify.worker import roles
from runtime_verify.worker.adaptation import fitted
from runtime_verify.worker.library import replaced
from runtime_verify.worker.shapes import OutOfMemory
from runtime_verify.worker.sites import Sites
from runtime_verify.worker.standin import Extent, Stand, base_class
from runtime_verify.worker.standin_calls import called
from runtime_verify.worker.world import TURNS, world

MOST_TURNS = 32
"""Turns of a loop over real things, or under a real condition, that is not around the mark."""
TURNS_A_PASS = 300
"""Turns of all such loops between two passes of the mark; beyond it each goes round a few times only."""
ARRAY_API = frozenset({"astype", "copy", "tobytes", "fill", "tofile", "asnumpy", "get"})
"""Methods of arrays that give the same values again."""
EXHAUSTED = "CUDA out of memory. Tried to allocate 2.00 GiB (raised to see the recovery)"
PLAIN_TYPES = (int, float, str, bool, list, tuple, dict, set, range, enumerate, zip, map, filter, reversed, type(None))


class Recovery:
    """Out-of-memory errors on purpose, for code that recovers from them.

    The first two times through nothing fails: what is made once is made, then the operations on tensors at the deepest
    level of calls are counted. From then on the error is raised at the last of these, every other time: a retry goes
    through.
    """

    DRY = 2

    def __init__(self) -> None:
        self.inside = False
        self._times = 0
        self._depth = self._count = 0
        self._at = (0, 0)

    @property
    def _failing(self) -> bool:
        return self._times > self.DRY and (self._times - self.DRY) % 2 == 1

    def operation(self) -> None:
        """An operation on tensors is about to run."""
        if not self.inside:
            return
        depth = _stack_depth()
        if self._times <= self.DRY:
            if depth > self._depth:
                self._depth, self._count = depth, 0
            self._count += depth == self._depth
            self._at = (self._depth, self._count)
        elif self._failing and depth >= self._at[0]:
            self._count += 1
            if self._count == self._at[1]:
                raise OutOfMemory(EXHAUSTED)

    def __enter__(self) -> None:
        self.inside, self._times = True, self._times + 1
        self._depth = self._count = 0
        world().recovering = True

    def __exit__(self, kind: Any, *_: object) -> None:
        self.inside = world().recovering = False
        if kind is None and self._failing and self._count < max(1, self._at[1]):
            raise OutOfMemory(EXHAUSTED)


def _stack_depth() -> int:
    depth, frame = 0, sys._getframe(1)
    while frame is not None:
        depth += 1
        frame = frame.f_back  # type: ignore[assignment]
    return depth


class Never(Exception):
    """Stands in a handler for an error class that is not there: it is never raised."""


class Runtime:
    """`__tml__` of one module. `on_pass` and `on_after` take the readings at the mark."""

    Failure = Exception

    def __init__(
        self,
        sites: Sites,
        on_pass: Callable[[], None],
        on_after: Callable[[], None],
        recovery: Recovery,
        found: dict[str, Any],
    ) -> None:
        self._sites = sites
        self._on_pass = on_pass
        self._on_after = on_after
        self._recovery = recovery
        self._found = found
        self.slice = slice

    # -- the mark

    def mark(self) -> None:
        world().passed += 1
        self._on_pass()

    def after(self) -> None:
        self._on_after()

    def _enough(self) -> bool:
        return world().passed >= world().order.passes

    # -- failing

    def _expected(self, site: int, error: BaseException) -> bool:
        names = self._sites.expected.get(site)
        return names is not None and any(kind.__name__ in names for kind in type(error).__mro__)

    def _let_through(self, site: int, error: BaseException) -> bool:
        return isinstance(error, (OutOfMemory, StopIteration)) or self._expected(site, error)

    def _stood_in(self, site: int, error: BaseException, what: str, value: Any) -> Any:
        """Logs a failure and gives the stand-in; where a stand-in was involved, that is no failure of the code's."""
        message = f"{what}: {type(error).__name__}: {' '.join(str(error).split())[:120]}"
        world().note(EventKind.FALLBACK, message)
        return value

    def failed(self, site: int) -> None:
        error = sys.exc_info()[1]
        assert error is not None
        if self._let_through(site, error):
            raise
        if isinstance(error, AttributeError) and _is_users(type(getattr(error, "obj", None))):
            world().note(EventKind.STANDIN, f"self.{error.name}: an attribute that the slice does not set")
            return
        self._stood_in(site, error, "statement", None)

    def lost(self, site: int, name: str) -> Any:
        return Stand(name)

    # -- expressions

    def call(self, site: int, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        hints = self._sites.hints.get(site, ())
        if isinstance(function, Stand):
            return called(function, args, kwargs, hints)
        done = replaced(function, args, kwargs, hints)
        if done is not NotImplemented:
            return done
        own = _is_users(function)
        if isinstance(function, RECURRENT):
            args = recurrent(function, args)
        if isinstance(function, type) and _is_torchs(function) and issubclass(function, nn.Module):
            args, kwargs = constructed(function, args, kwargs)
        elif not own and _has_plain_use(function):
            args = tuple(_plain(value) for value in args)
            kwargs = {key: _plain(value) for key, value in kwargs.items()}
        elif function in (isinstance, issubclass) and len(args) == 2:
            return _instance(function, *args)
        try:
            return function(*args, **kwargs)
        except Exception as error:
            if self._let_through(site, error):
                raise
            return self._call_failed(site, function, args, kwargs, hints, error, own)

    def _call_failed(
        self,
        site: int,
        function: Any,
        args: Any,
        kwargs: Any,
        hints: tuple[str, ...],
        error: Exception,
        own: bool,
    ) -> Any:
        name = getattr(function, "__name__", type(function).__name__)
        stand = Stand(name)
        values = [*args, *kwargs.values()]
        absent = isinstance(error, (OSError, NotImplementedError)) or _denied(error)
        foreign = not own and not _is_torchs(function)
        made = isinstance(error, TypeError) and hasattr(getattr(function, "__self__", None), "_tml_made")
        if (
            foreign
            or made
            or isinstance(error, OSError)
            or (not own and (absent or any(isinstance(value, (Stand, Extent)) for value in values)))
        ):
            world().note(EventKind.STANDIN, f"{name}(...): its result ({type(error).__name__})")
        elif isinstance(error, NotImplementedError):
            world().note(EventKind.STANDIN, f"{name}(...): not implemented in the slice")
        else:
            message = f"{name}(...): {type(error).__name__}: {' '.join(str(error).split())[:120]}"
            world().note(EventKind.FALLBACK, message)
        if isinstance(function, type):
            return _bare(function, hints)
        if isinstance(function, nn.Module):
            stand = Stand(f"{name.lower()}_net")
        try:
            return called(stand, args, kwargs, hints)
        except OutOfMemory:
            raise
        except Exception:
            return Stand(hints[0] if hints else name)

    def attr(self, site: int, value: Any, name: str) -> Any:
        try:
            return getattr(value, name)
        except Exception as error:
            if self._let_through(site, error):
                raise
            return self._attribute_missing(site, value, name, error)

    def _attribute_missing(self, site: int, value: Any, name: str, error: Exception) -> Any:
        made = Stand(name) if value is None or isinstance(value, type) else Stand(f"self.{name}")
        own = type(value).__module__ in sys.modules and _is_users(type(value))
        if value is None:
            world().note(EventKind.STANDIN, f"None.{name}: what sets the value is not run")
        elif isinstance(value, torch.Tensor) and name in ARRAY_API:
            world().note(EventKind.REPAIR, f".{name} of a tensor, as of an array")
            return lambda *args, **kwargs: value
        elif isinstance(value, PLAIN_TYPES) or isinstance(value, torch.Tensor):
            world().note(EventKind.FALLBACK, f".{name} of {type(value).__name__}")
        elif own or isinstance(value, nn.Module):
            world().note(EventKind.STANDIN, f"self.{name}: an attribute that the slice does not set")
            try:
                value.__dict__[name] = made
            except (AttributeError, TypeError):
                pass
        else:
            world().note(EventKind.STANDIN, f".{name} of {type(value).__name__}: not in the installed version")
        return made

    def item(self, site: int, value: Any, key: Any) -> Any:
        try:
            return value[key]
        except Exception as error:
            if self._let_through(site, error):
                raise
            if isinstance(key, (Stand, Extent)) and isinstance(value, (list, tuple)) and value:
                return value[0]
            if isinstance(key, Stand) and isinstance(value, dict) and value:
                return next(iter(value.values()))
            what = f"[{key!r}] of {type(value).__name__}"[:80]
            if isinstance(key, (Stand, Extent)) or value is None or isinstance(value, type(sys)):
                world().note(EventKind.STANDIN, what)
                return Stand("item")
            core = value if isinstance(value, torch.Tensor) else None
            return self._stood_in(site, error, what, Stand(key if isinstance(key, str) else "item", core))

    def op(self, site: int, name: str, one: Any, other: Any) -> Any:
        try:
            return getattr(operator, name)(one, other)
        except Exception as error:
            if self._let_through(site, error):
                raise
            if one is None or other is None or isinstance(one, (Stand, Extent)) or isinstance(other, (Stand, Extent)):
                world().note(EventKind.STANDIN, f"{name} of {type(one).__name__} and {type(other).__name__}")
            elif any(type(value).__module__ == "numpy" for value in (one, other)):
                world().note(EventKind.STANDIN, f"{name} of arrays whose sizes are made up")
            else:
                self._stood_in(site, error, name, None)
            if name in ("lt", "le", "gt", "ge", "eq", "ne"):
                return False
            core = next((value for value in (one, other) if isinstance(value, torch.Tensor)), None)
            return Stand("value", core)

    def among(self, site: int, one: Any, other: Any, absent: bool) -> bool:
        try:
            return (one in other) is not absent
        except Exception as error:
            if self._let_through(site, error):
                raise
            return absent

    def shown(self, site: int, value: Any, conversion: int, spec: str = "") -> str:
        try:
            if conversion == 114:
                value = repr(value)
            return format(value, spec)
        except Exception:
            return str(type(value).__name__)

    # -- control flow

    def test(self, site: int, value: Any) -> Any:
        wanted = self._sites.forced.get(site)
        if wanted is None and not self._enough():
            wanted = self._sites.onward.get(site)
        if wanted is None:
            wanted = self._sites.refusing.get(site)
        try:
            truth = bool(value)
        except Exception:
            truth = False
        if wanted is not None and wanted != truth:
            world().note(EventKind.STEERED, f"condition taken as {wanted}")
            return wanted
        return truth

    def again(self, site: int, value: Any) -> bool:
        turn = self._turn(site)
        truth = self.test(site, value)
        if site in self._sites.around:
            return not self._enough() and turn < 8 * world().order.passes
        return truth and turn < self._most_turns()

    def _most_turns(self) -> int:
        w = world()
        w.turns += 1
        return MOST_TURNS if w.turns < TURNS_A_PASS * (w.passed + 1) else TURNS

    def _turn(self, site: int) -> int:
        frame = sys._getframe(2)
        key = f"__tml_turn_{site}"
        turns = self.__dict__.setdefault("_turned", {})
        mark = (key, id(frame))
        turns[mark] = turns.get(mark, 0) + 1
        return int(turns[mark])

    def loop(self, site: int, values: Any, spec: Any) -> Iterator[Any]:
        """What a `for` goes over: around the mark until it was passed often enough, elsewhere a few turns."""
        around = site in self._sites.around
        try:
            turns = iter(values)
        except Exception as error:
            if self._let_through(site, error):
                raise
            if isinstance(values, torch.Tensor) or not _empty(values):
                world().note(EventKind.STANDIN, f"iteration over {type(values).__name__}")
            turns = iter(Stand("item"))
        return self._turns(turns, values, spec, around)

    def _turns(self, turns: Iterator[Any], values: Any, spec: Any, around: bool) -> Iterator[Any]:
        count = 0
        most = 8 * world().order.passes
        name = spec if isinstance(spec, str) and spec else "item"
        while count < (most if around else self._most_turns()) and not (around and self._enough()):
            try:
                value = next(turns)
            except StopIteration:
                if not around or self._enough() or (count and not _made_up(values)):
                    if not around or count or self._enough():
                        return
                value = self._another(count, name, spec)
            except OutOfMemory:
                raise
            except Exception as error:
                world().note(EventKind.FALLBACK, f"iteration: {type(error).__name__}: {str(error)[:100]}")
                if count >= TURNS and not around:
                    return
                value = self._another(count, name, spec)
            count += 1
            yield value if not isinstance(spec, tuple) else self._apart(value, spec)

    def _another(self, count: int, name: str, spec: Any) -> Any:
        if count == 0:
            world().note(EventKind.STEERED, "an empty loop around the flagged line given elements")
        return Stand(f"{name}[]" if not isinstance(spec, tuple) else "item[]")

    def unpack(self, site: int, value: Any, spec: Any) -> Any:
        return self._apart(value, spec)

    def _apart(self, value: Any, spec: Any) -> Any:
        """A value taken apart as a target wants it: `spec` is a name or a tuple of such."""
        if not isinstance(spec, tuple):
            return value
        if isinstance(value, Extent):
            return value.taken_apart(len(spec))
        if isinstance(value, Stand) and value._tml_kept is None:
            return tuple(self._apart(self._part(value, part), part) for part in spec)
        try:
            parts = list(value)
        except Exception:
            parts = [value] * len(spec)
        if isinstance(value, torch.Size) and len(parts) != len(spec):
            world().note(EventKind.REPAIR, f"a shape of {len(parts)} taken for one of {len(spec)}")
            parts = (parts + [8] * len(spec))[: len(spec)]
        if len(parts) != len(spec):
            world().note(EventKind.FALLBACK, f"{len(parts)} values for {len(spec)} names")
            parts = (parts + [Stand(part if isinstance(part, str) and part else "item") for part in spec])[: len(spec)]
        return tuple(self._apart(part, wanted) for part, wanted in zip(parts, spec, strict=True))

    def _part(self, value: Stand, part: Any) -> Stand:
        inside = value._tml_path.endswith("[]")
        name = part if isinstance(part, str) and part else "item"
        return Stand(f"{name}[]" if inside else name, value._tml_source())

    def context(self, site: int, value: Any) -> Any:
        if hasattr(type(value), "__enter__"):
            return value
        if not isinstance(value, Stand):
            world().note(EventKind.FALLBACK, f"{type(value).__name__} is no context manager")
        return Stand(self._sites.hints.get(site, ("context",))[0] or "context")

    def caught(self, site: int, kind: Any) -> Any:
        """The error class of a handler."""
        if isinstance(kind, tuple):
            return tuple(self.caught(site, one) for one in kind)
        return kind if isinstance(kind, type) and issubclass(kind, BaseException) else Never

    def must_raise(self, site: int, kind: Any) -> None:
        """At the end of a `try` whose handler holds the mark."""
        if self._enough():
            return
        world().note(EventKind.STEERED, "an error raised, so that its handler runs")
        if isinstance(kind, tuple):
            kind = kind[0]
        text = "CUDA out of memory (raised to reach the handler)"
        if isinstance(kind, type) and issubclass(kind, BaseException):
            try:
                error = kind(text)
            except Exception:
                error = kind.__new__(kind)
            raise error
        raise RuntimeError(text)

    def exhausting(self, site: int) -> Recovery:
        return self._recovery

    def asserted(self, site: int, value: Any) -> None:
        try:
            truth = bool(value)
        except Exception:
            truth = False
        if not truth:
            world().note(EventKind.STEERED, "an assertion that does not hold passed over")

    def error(self, site: int, value: Any) -> Any:
        """What is raised: an error, also where the class is not there."""
        if isinstance(value, BaseException) or (isinstance(value, type) and issubclass(value, BaseException)):
            return value
        return RuntimeError("an error that the slice does not define")

    # -- definitions

    def base(self, site: int, value: Any) -> Any:
        """A base class; one that is not there is a module, as most are in this field."""
        return base_class(value._tml_path) if isinstance(value, Stand) else value

    def own_class(self, site: int) -> Callable[[Any], Any]:
        def note(made: Any) -> Any:
            made.__tml_own__ = True
            return made

        return note

    def decorator(self, site: int, value: Any) -> Any:
        def tried(function: Any) -> Any:
            if isinstance(value, Stand):
                return function
            if replaced(value, (function,), {}, ()) is not NotImplemented:
                return function
            try:
                done = value(function)
            except Exception as error:
                self._stood_in(site, error, "decorator", None)
                return function
            return function if isinstance(done, Stand) else done

        return tried

    def defined(self, site: int, what: str, name: str) -> Callable[[Any], Any]:
        def note(function: Any) -> Any:
            self._found[what] = function
            return function

        return note


def _is_users(function: Any) -> bool:
    """Whether it is code of the slice: a function, a method, a class or an instance of one."""
    target = getattr(function, "__func__", function)
    code = getattr(target, "__code__", None)
    if code is not None:
        return code.co_filename in world().sites
    kind = target if isinstance(target, type) else type(target)
    return bool(kind.__dict__.get("__tml_own__", False)) or any(
        base.__dict__.get("__tml_own__") for base in kind.__mro__
    )


def _is_torchs(function: Any) -> bool:
    """Whether it computes with tensors: torch's own, or a method of a tensor."""
    owner = getattr(function, "__self__", None)
    module = getattr(function, "__module__", None) or type(owner).__module__
    return str(module).split(".")[0] in ("torch", "torchvision") or isinstance(owner, torch.Tensor)


RECURRENT = (nn.RNNBase, nn.RNNCellBase)


def recurrent(layer: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of a recurrent layer in the sizes that it checks before it computes."""
    if not args:
        return args
    w, cell = world(), isinstance(layer, nn.RNNCellBase)
    first, values = args[0], list(args)
    if isinstance(first, Stand):
        values[0] = first._tml_as_tensor((w.batch, layer.input_size) if cell else (w.batch, w.length, layer.input_size))
    if isinstance(values[0], torch.Tensor) and (values[0].dim() == 0 or values[0].shape[-1] != layer.input_size):
        shape = (*values[0].shape[:-1], layer.input_size) if values[0].dim() > 1 else (w.batch, layer.input_size)
        values[0] = fitted(values[0].float(), shape)
        w.note(EventKind.REPAIR, f"{type(layer).__name__}: input of {list(shape)}")
    if len(values) > 1 and values[1] is not None and isinstance(values[0], torch.Tensor):
        fits = _state(layer, values[0], cell, values[1])
        if fits is not values[1]:
            w.note(EventKind.REPAIR, f"{type(layer).__name__}: a state of its size")
            values[1] = fits
    return tuple(values)


def _state(layer: Any, rows: torch.Tensor, cell: bool, given: Any) -> Any:
    """The recurrent state that was given, or one of the right shape with its values."""
    count = rows.shape[0] if cell or layer.batch_first or rows.dim() < 3 else rows.shape[1]
    deep = layer.num_layers * (2 if layer.bidirectional else 1) if not cell else 0
    shape = (count, layer.hidden_size) if cell else (deep, count, layer.hidden_size)
    pair = isinstance(layer, (nn.LSTM, nn.LSTMCell))
    parts = list(given) if isinstance(given, (tuple, list)) and pair else [given] * (2 if pair else 1)
    if len(parts) == (2 if pair else 1) and all(isinstance(p, torch.Tensor) and tuple(p.shape) == shape for p in parts):
        return given
    done = []
    for part in (parts * 2)[: 2 if pair else 1]:
        if isinstance(part, Stand):
            part = part._tml_as_tensor(shape)
        done.append(
            fitted(part.float(), shape) if isinstance(part, torch.Tensor) else torch.zeros(shape, device=rows.device)
        )
    return tuple(done) if pair else done[0]


def constructed(kind: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A layer's arguments with stand-ins as numbers, by the names of its parameters where theirs say nothing."""
    if not any(isinstance(value, Stand) and value._tml_now() is None for value in [*args, *kwargs.values()]):
        return args, kwargs
    try:
        names = list(inspect.signature(kind).parameters)
    except (TypeError, ValueError):
        names = []
    values = [_layer_value(value, names[n] if n < len(names) else "") for n, value in enumerate(args)]
    return tuple(values), {name: _layer_value(value, name) for name, value in kwargs.items()}


def _layer_value(value: Any, name: str) -> Any:
    if not isinstance(value, Stand) or value._tml_now() is not None or value._tml_kept is not None:
        return value
    if name in (
        "bias",
        "batch_first",
        "bidirectional",
        "affine",
        "inplace",
        "track_running_stats",
        "elementwise_affine",
    ):
        return False
    if name in ("args", "module", "modules", "weight", "pos_weight"):
        return value
    if name == "device":
        return world().device
    number = roles.number(value._tml_path)
    return number if name in ("p", "dropout", "eps", "momentum") else max(1, int(number))


def _has_plain_use(function: Any) -> bool:
    """Whether stand-ins that are no tensors are given to it as numbers and text."""
    return function in (range, round, int, float, min, max, str, slice, divmod, pow, abs) or (
        isinstance(function, type)
        and not issubclass(function, (list, tuple, dict, set, zip, enumerate, map, filter, reversed, torch.Tensor))
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Stand) and not value._tml_tensorish() and value._tml_kept is None:
        path = value._tml_path
        if roles.from_config(path) or roles.TEXT.search(path) or roles.FLAG.match(roles.last(path)):
            return value._tml_plain()
    return value


def _instance(function: Any, value: Any, kinds: Any) -> bool:
    kinds = tuple(kind for kind in _flat(kinds) if isinstance(kind, type))
    if isinstance(value, Stand):
        return any(issubclass(kind, (torch.Tensor, nn.Module)) for kind in kinds) and (
            value._tml_tensorish() if any(issubclass(kind, torch.Tensor) for kind in kinds) else False
        )
    try:
        return bool(function(value, kinds))
    except TypeError:
        return False


def _flat(kinds: Any) -> Iterator[Any]:
    if isinstance(kinds, tuple):
        for kind in kinds:
            yield from _flat(kind)
    else:
        yield kinds


def _denied(error: Exception) -> bool:
    return isinstance(error, PermissionError)


def _empty(values: Any) -> bool:
    try:
        return len(values) == 0
    except Exception:
        return False


def _made_up(values: Any) -> bool:
    return isinstance(values, Stand)


def unmade(kind: Any) -> Any:
    """An instance that no constructor ran for."""
    made = kind.__new__(kind)
    if isinstance(made, nn.Module) and "_modules" not in made.__dict__:
        nn.Module.__init__(made)
    return made


def _bare(kind: Any, hints: tuple[str, ...]) -> Any:
    """An instance of a class that cannot be constructed here."""
    if isinstance(kind, type) and _is_users(kind):
        try:
            return unmade(kind)
        except Exception:
            pass
    return Stand(hints[0] if hints and hints[0] else getattr(kind, "__name__", "made").lower())
