"""Runs the user's own program, untouched but for the mark in front of the flagged line, and stops it in time.

Nothing is stood in for here: the program's modules, data and arguments are the real ones.
"""

from __future__ import annotations

import ast
import gc
import importlib
import importlib.abc
import importlib.machinery
import os
import runpy
import shlex
import sys
from collections.abc import Callable, Sequence
from types import CodeType, ModuleType
from typing import Any

from torch.overrides import TorchFunctionMode

from runtime_verify.readings import Order, Record
from runtime_verify.worker.readers import Readers
from runtime_verify.worker.sites import place_of
from runtime_verify.worker.world import Control

MARKS = "__tml__"


class Enough(Control):
    """The flagged line was passed as often as is needed."""


class Marks:
    """`__tml__` of the flagged module: takes the readings, and ends the program after the last one."""

    def __init__(self, order: Order, readers: Readers, record: Record) -> None:
        self._order, self._readers, self._record = order, readers, record

    def mark(self) -> None:
        record = self._record
        if len(record.passes) >= self._order.passes:
            raise Enough
        record.passes.append(self._readers.sample())
        if self._order.lane == "memory":
            gc.collect()
            record.steps.append(self._readers.sample())

    def after(self) -> None:
        if self._order.lane == "memory":
            self._record.after.append(self._readers.sample())


class Program:
    """The user's entry point with one file of it replaced by a variant of it."""

    def __init__(self, order: Order, readers: Readers, record: Record) -> None:
        flagged = order.program["modules"][0]
        self._path = os.path.realpath(os.path.join(order.root, flagged["path"]))
        self._text = flagged["text"]
        self._order = order
        self._marks = Marks(order, readers, record)
        self._readers = readers

    def run(self) -> None:
        """Runs the entry point to its end or to the last pass; its errors are the caller's."""
        os.chdir(self._order.root)
        sys.path.insert(0, self._order.root)
        sys.meta_path.insert(0, _Finder(self._path, self._code, self._marks))
        try:
            with _Ticking(self._readers.tick):
                self._enter()
        except Enough:
            pass

    def _enter(self) -> None:
        entry = self._order.entry
        module, colon, function = entry.partition(":")
        if colon and not module.endswith(".py"):
            called: Any = importlib.import_module(module)
            for name in function.split("."):
                called = getattr(called, name)
            called()
            return
        script, *arguments = shlex.split(entry)
        sys.argv = [script, *arguments]
        path = os.path.realpath(os.path.join(self._order.root, script))
        sys.path.insert(0, os.path.dirname(path))
        if path != self._path:
            runpy.run_path(path, run_name="__main__")
            return
        main = ModuleType("__main__")
        main.__file__ = path
        setattr(main, MARKS, self._marks)
        sys.modules["__main__"] = main
        exec(self._code(), main.__dict__)

    def _code(self) -> CodeType:
        """The flagged file's code, with calls around the flagged statement."""
        tree = ast.parse(self._text, self._path)
        place = place_of(tree, self._order.program["mark"])
        at = place.index
        statement = place.statement
        plain = isinstance(statement, (ast.Expr, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Delete))
        if statement is not None and plain and self._order.program["kept"]:
            place.block.insert(at + 1, _call("after", statement))
        place.block.insert(at, _call("mark", statement or place.block[-1]))
        return compile(ast.fix_missing_locations(tree), self._path, "exec", dont_inherit=True)


class _Ticking(TorchFunctionMode):
    """Sees how high allocation goes between two readings, where the device does not say."""

    def __init__(self, tick: Callable[[], None]) -> None:
        super().__init__()
        self._tick = tick

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        done = func(*args, **(kwargs or {}))
        self._tick()
        return done


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives the variant's code for the one file, everything else as Python finds it."""

    def __init__(self, path: str, code: Callable[[], CodeType], marks: Marks) -> None:
        self._path, self._code, self._marks = path, code, marks

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None or os.path.realpath(spec.origin) != self._path:
            return None
        return importlib.machinery.ModuleSpec(
            fullname, self, origin=spec.origin, is_package=spec.submodule_search_locations is not None
        )

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = self._path
        setattr(module, MARKS, self._marks)
        exec(self._code(), module.__dict__)


def _call(method: str, near: ast.stmt) -> ast.stmt:
    called = ast.Call(ast.Attribute(ast.Name(MARKS, ast.Load()), method, ast.Load()), [], [])
    return ast.copy_location(ast.Expr(called), near)
