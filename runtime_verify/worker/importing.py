"""Imports of the user's code: the slice's own modules, real libraries that are wanted real, stand-ins for the rest."""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from runtime_verify.readings import EventKind
from runtime_verify.worker.instrument import instrumented
from runtime_verify.worker.standin import Stand
from runtime_verify.worker.syntax import RUNTIME
from runtime_verify.worker.world import World

REAL = frozenset({"torch", "torchvision", "numpy", "einops", "math", "scipy", "functorch"})
"""Libraries that are used as they are, where installed, besides the standard library. All others would bring weights,
network access and versions that the code was not written for: the user's entry point runs with those."""
STUBBED = frozenset(
    {"multiprocessing", "subprocess", "socket", "signal", "readline", "tkinter", "curses", "webbrowser"}
)
"""Modules of the standard library that act on the world around the process."""

MakeRuntime = Callable[[Any], Any]


class Importer:
    """`__import__` for the user's modules. `modules`: dotted name -> (path, text, is package) of the slice."""

    def __init__(self, world: World, modules: Mapping[str, tuple[str, str, bool]], runtime: MakeRuntime) -> None:
        self._world = world
        self._sources = dict(modules)
        self._runtime = runtime
        self._loaded: dict[str, ModuleType] = {}
        self._standins: dict[str, Stand] = {}
        self._packages = {name.rsplit(".", n)[0] for name in modules for n in range(1, name.count(".") + 1)}
        self._builtins = _Builtins(self, vars(builtins))

    def __call__(
        self,
        name: str,
        globals_: Mapping[str, Any] | None = None,
        locals_: Any = None,
        fromlist: Any = (),
        level: int = 0,
    ) -> Any:
        full = self._absolute(name, globals_, level)
        found = self._with_parents(full)
        for wanted in fromlist or ():
            if wanted != "*" and isinstance(found, ModuleType) and f"{full}.{wanted}" in self._known():
                setattr(found, wanted, self.module(f"{full}.{wanted}"))
        if fromlist or isinstance(found, Stand):
            if isinstance(found, Stand) and not fromlist:
                return self.module(full.split(".")[0])
            return _Missing(found, self) if isinstance(found, ModuleType) and full in self._known() else found
        return self.module(full.split(".")[0])

    def _with_parents(self, full: str) -> Any:
        """The module, bound in the packages that it lies in."""
        parts = full.split(".")
        found = self.module(parts[0])
        for n in range(1, len(parts)):
            inner = self.module(".".join(parts[: n + 1]))
            if isinstance(found, ModuleType) and (parts[0] in self._known() or isinstance(inner, ModuleType)):
                if not hasattr(found, parts[n]):
                    setattr(found, parts[n], inner)
            found = inner
        return found

    def _known(self) -> set[str]:
        return set(self._sources) | self._packages

    def _absolute(self, name: str, globals_: Mapping[str, Any] | None, level: int) -> str:
        if not level:
            return name
        package = str((globals_ or {}).get("__package__") or "")
        parts = package.split(".")
        base = ".".join(parts[: len(parts) - level + 1])
        return f"{base}.{name}".strip(".") if name else base

    def module(self, name: str) -> Any:
        """The module of that name: the user's, a real one, or a stand-in. Raises ImportError where code expects it."""
        if name in self._loaded:
            return self._loaded[name]
        if name in self._sources:
            return self._load(name)
        if name in self._packages:
            return self._package(name)
        root = name.split(".", maxsplit=1)[0]
        if root not in STUBBED and (root in sys.stdlib_module_names or root in REAL):
            try:
                return importlib.import_module(name)
            except ImportError:
                pass
        if self._may_fail():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if name not in self._standins:
            self._standins[name] = Stand(name)
            self._world.note(EventKind.STANDIN, f"module {name}")
        return self._standins[name]

    def _may_fail(self) -> bool:
        """Whether the import that runs now is one that the code expects to fail."""
        frame = sys._getframe(1)
        while frame is not None:
            sites = self._world.sites.get(frame.f_code.co_filename)
            if sites is not None:
                return frame.f_lineno in sites.optional
            frame = frame.f_back  # type: ignore[assignment]
        return False

    def _package(self, name: str) -> ModuleType:
        made = ModuleType(name)
        made.__path__ = []
        self._loaded[name] = made
        return made

    def _load(self, name: str) -> ModuleType:
        path, text, package = self._sources[name]
        made = ModuleType(name)
        self._loaded[name] = made
        if package:
            made.__path__ = []
        self.execute(made, name, path, text, package)
        parent, _, last = name.rpartition(".")
        if parent in self._loaded:
            setattr(self._loaded[parent], last, made)
        return made

    def execute(self, module: ModuleType, name: str, path: str, text: str, package: bool = False, **marks: Any) -> None:
        """Runs a module's body, instrumented, in the namespace of `module`."""
        code, sites = instrumented(text, path, **marks)
        self._world.sites[path] = sites
        namespace = module.__dict__
        namespace["__builtins__"] = self._builtins
        namespace["__package__"] = name if package else name.rpartition(".")[0]
        namespace["__file__"] = path
        namespace[RUNTIME] = self._runtime(sites)
        sys.modules.setdefault(name, module)
        exec(code, namespace)

    def adopt(self, name: str, module: ModuleType) -> None:
        """Makes a module known that is run by the caller."""
        self._loaded[name] = module


class _Builtins(dict):  # type: ignore[type-arg]
    """Built-in names for the user's code; a name that nobody defines is stood in for."""

    def __init__(self, importer: Importer, names: Mapping[str, Any]) -> None:
        super().__init__(names)
        self["__import__"] = importer
        for ending in ("exit", "quit"):
            self.setdefault(ending, sys.exit)

    def __missing__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise KeyError(name)
        made = Stand(name)
        self[name] = made
        return made


class _Missing:
    """A module of the slice seen through `from module import name`: what was blanked is stood in for."""

    def __init__(self, module: ModuleType, importer: Importer) -> None:
        object.__setattr__(self, "_module", module)
        object.__setattr__(self, "_importer", importer)

    def __getattr__(self, name: str) -> Any:
        if name in ("__all__", "__dict__", "__path__", "__spec__", "__name__"):
            return getattr(self._module, name)
        try:
            return getattr(self._module, name)
        except AttributeError:
            full = f"{self._module.__name__}.{name}"
            if full in self._importer._known():
                return self._importer.module(full)
            made = Stand(name)
            setattr(self._module, name, made)
            return made
