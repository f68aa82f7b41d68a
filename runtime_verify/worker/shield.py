"""What instrumented code calls, one object a module: the mark, and what is done where a step fails."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from runtime_verify.readings import EventKind
from runtime_verify.worker.callables import is_users
from runtime_verify.worker.recovery import Recovery
from runtime_verify.worker.shapes import EnoughRecomputed, OutOfMemory
from runtime_verify.worker.sites import Sites
from runtime_verify.worker.standin import Stand
from runtime_verify.worker.world import world


class Shield:
    """The part of `__tml__` that the others build on. `on_pass` and `on_after` take the readings at the mark."""

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

    def enough(self) -> bool:
        return world().passed >= world().order.passes

    # -- failing

    def _expected(self, site: int, error: BaseException) -> bool:
        names = self._sites.expected.get(site)
        return names is not None and any(kind.__name__ in names for kind in type(error).__mro__)

    def let_through(self, site: int, error: BaseException) -> bool:
        return isinstance(error, (OutOfMemory, EnoughRecomputed, StopIteration)) or self._expected(site, error)

    def stood_in(self, site: int, error: BaseException, what: str, value: Any) -> Any:
        """Logs a failure and gives the stand-in; where a stand-in was involved, that is no failure of the code's."""
        message = f"{what}: {type(error).__name__}: {' '.join(str(error).split())[:120]}"
        world().note(EventKind.FALLBACK, message)
        return value

    def failed(self, site: int) -> None:
        error = sys.exc_info()[1]
        assert error is not None
        if self.let_through(site, error):
            try:
                raise error
            finally:
                del error  # its traceback now holds this frame, which would hold it in turn
        if isinstance(error, AttributeError) and is_users(type(getattr(error, "obj", None))):
            world().note(EventKind.STANDIN, f"self.{error.name}: an attribute that the slice does not set")
            return
        if "could not be broadcast together" in str(error):  # numpy's words
            world().note(EventKind.STANDIN, "arrays whose sizes are made up")
            return
        self.stood_in(site, error, "statement", None)

    def lost(self, site: int, name: str) -> Any:
        return Stand(name)
