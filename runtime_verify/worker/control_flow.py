"""Conditions, loops, handlers, definitions of instrumented code: steered to the flagged line, short elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch

from runtime_verify.readings import EventKind
from runtime_verify.worker.bases import base_class
from runtime_verify.worker.expressions import Expressions
from runtime_verify.worker.extents import Extent
from runtime_verify.worker.library import replaced
from runtime_verify.worker.recovery import Recovery
from runtime_verify.worker.shapes import OutOfMemory
from runtime_verify.worker.standin import Stand
from runtime_verify.worker.world import TURNS, world

MOST_TURNS = 32
"""Turns of a loop over real things, or under a real condition, that is not around the mark."""
TURNS_A_PASS = 300
"""Turns of all such loops between two passes of the mark; beyond it each goes round a few times only."""


class Never(Exception):
    """Stands in a handler for an error class that is not there: it is never raised."""


class Runtime(Expressions):
    """`__tml__` of one module, whole."""

    def test(self, site: int, value: Any) -> Any:
        wanted = self._sites.forced.get(site)
        if wanted is None and not self.enough():
            wanted = self._sites.onward.get(site)
        if wanted is None:
            wanted = self._sites.refusing.get(site)
        try:
            truth = bool(value)
        except OutOfMemory:
            raise
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
            return not self.enough() and turn < 8 * world().order.passes
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
            if self.let_through(site, error):
                raise
            if isinstance(values, torch.Tensor) or not _empty(values):
                world().note(EventKind.STANDIN, f"iteration over {type(values).__name__}")
            turns = iter(Stand("item"))
        return self._turns(turns, values, spec, around)

    def _turns(self, turns: Iterator[Any], values: Any, spec: Any, around: bool) -> Iterator[Any]:
        count = 0
        most = 8 * world().order.passes
        name = spec if isinstance(spec, str) and spec else "item"
        while count < (most if around else self._most_turns()) and not (around and self.enough()):
            try:
                value = next(turns)
            except StopIteration:
                if not around or self.enough() or (count and not _made_up(values)):
                    if not around or count or self.enough():
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
        if self.enough():
            return
        world().note(EventKind.STEERED, "an error raised, so that its handler runs")
        if isinstance(kind, tuple):
            kind = kind[0]
        text = "CUDA out of memory (raised to reach the handler)"
        if isinstance(kind, type) and issubclass(kind, BaseException):
            raise _made(kind, text)  # bound to no name here: its traceback would hold it in turn
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
                self.stood_in(site, error, "decorator", None)
                return function
            return function if isinstance(done, Stand) else done

        return tried

    def defined(self, site: int, what: str, name: str) -> Callable[[Any], Any]:
        def note(function: Any) -> Any:
            self._found[what] = function
            return function

        return note


def _made(kind: type[BaseException], text: str) -> BaseException:
    """An error of a class whose constructor may want more than a text."""
    try:
        return kind(text)
    except Exception:
        return kind.__new__(kind)


def _empty(values: Any) -> bool:
    try:
        return len(values) == 0
    except Exception:
        return False


def _made_up(values: Any) -> bool:
    return isinstance(values, Stand)
