"""The flagged module and the modules of the project that it needs, each cut down to what is needed.

From the outermost function or class around the flagged line backwards over names: whatever binds a name
that is read, in this module and in those that it imports from the project. Code of a module's body that
runs the program is left out, unless the flagged line stands in such code: then the module is kept whole.
Line numbers stay the files' own. May not run, import or judge anything.
"""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from runtime_verify.case import Module
from runtime_verify.modules import Modules, Place, text_lines
from runtime_verify.outline import Outline, Unit, outline
from runtime_verify.reads import Chain, Imported
from runtime_verify.targets import Target, named
from torchmemlint.source import Source

MOST_MODULES = 60
MOST_LINES = 30_000
"""Lines of other modules that are kept; what is imported beyond that is left to the runtime's stand-ins."""
_LONGEST_CHAIN = 4
_EVERYTHING = "*"
_PREPARING = frozenset({"torch", "numpy", "random"})
"""Libraries whose module-wide settings (seeds, default types) belong to the code that uses them."""


def sliced(modules: Modules, source: Source, function: str, near: int) -> tuple[Module, ...]:
    """The modules that a function needs, its own first.

    function  its dotted name, "" for the module's body.
    near      a line that tells functions of one name apart.

    Raises SyntaxError where the running Python cannot parse the source, LookupError where it has no such function.
    """
    if source.screen is None:
        raise SyntaxError("the running Python cannot parse it")
    tree = source.screen.module
    path = modules.relative_path(source.path)
    relative = any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(tree))
    target = named(tree, function, near) if function else None
    if function and target is None:
        raise LookupError(f"no function {function}")
    first = _Sheet(modules.flagged(path, relative), outline(tree), text_lines(source), target is None)
    slicer = _Slicer(modules, first)
    slicer.run(target)
    return tuple(_module(modules, sheet) for sheet in slicer.sheets.values())


@dataclass
class _Sheet:
    """One module on its way to be cut: which units are kept, which names are needed."""

    place: Place
    outline: Outline
    lines: list[str]
    whole: bool = False
    kept: set[int] = field(default_factory=set)
    needed: set[str] = field(default_factory=set)
    asked: set[Chain] = field(default_factory=set)
    later: set[int] = field(default_factory=set)

    def aliases(self, name: str) -> Iterator[Imported]:
        """What is imported under a name in the module's body."""
        for number in self.outline.binders.get(name, ()):
            unit = self.outline.units[number]
            yield from (alias for alias in (*unit.imports, *unit.reads.imports) if alias.bound == name)

    def binders(self, name: str) -> Iterator[tuple[int, Unit]]:
        for number in self.outline.binders.get(name, ()):
            yield number, self.outline.units[number]


class _Slicer:
    """The closure over names, breadth first, so that what is nearest is kept when a bound is reached."""

    def __init__(self, modules: Modules, first: _Sheet) -> None:
        self._modules = modules
        self._first = first
        self.sheets: dict[str, _Sheet] = {first.place.name: first}
        self._waiting: deque[tuple[_Sheet, Chain]] = deque()
        self._lines = 0

    def run(self, target: Target | None) -> None:
        """Keep what the target needs; None for the whole first module."""
        first = self._first
        for number, unit in enumerate(first.outline.units):
            if target is None or unit.first <= target.line <= unit.last:
                self._keep(first, number)
                first.needed |= unit.binds
        self._settle()
        for sheet in list(self.sheets.values()):
            for number in sorted(sheet.later):
                if self._prepares(sheet, sheet.outline.units[number]):
                    self._keep(sheet, number)
        self._settle()

    def _settle(self) -> None:
        while self._waiting:
            sheet, chain = self._waiting.popleft()
            self._answer(sheet, chain)

    # ---- names ------------------------------------------------------------------------------------

    def _need(self, sheet: _Sheet, chain: Chain) -> None:
        """Ask for a name of a module and the attributes taken from it, once."""
        chain = chain[:_LONGEST_CHAIN]
        if chain not in sheet.asked:
            sheet.asked.add(chain)
            self._waiting.append((sheet, chain))

    def _answer(self, sheet: _Sheet, chain: Chain) -> None:
        name, rest = chain[0], chain[1:]
        if name == _EVERYTHING:
            self._everything(sheet)
            return
        if name not in sheet.needed:
            sheet.needed.add(name)
            if name not in sheet.outline.binders:
                self._from_stars(sheet, chain)
                return
            self._bind(sheet, name)
        for alias in list(sheet.aliases(name)):
            self._follow(sheet, alias, rest)

    def _bind(self, sheet: _Sheet, name: str) -> None:
        """Keep what binds a name, and what prepares the object it stands for."""
        own = False
        for number, unit in sheet.binders(name):
            own = own or not unit.imports
            if not (unit.guard and sheet is not self._first) and not unit.long_loop:
                self._keep(sheet, number)
        for number in sheet.outline.touchers.get(name, ()):
            unit = sheet.outline.units[number]
            if unit.guard and sheet is not self._first:
                continue
            if not own:
                sheet.later.add(number)
            elif not self._runs(sheet, unit):
                self._keep(sheet, number)

    def _from_stars(self, sheet: _Sheet, chain: Chain) -> None:
        """A name that nothing binds comes from a `from x import *`: the project's that has it, else a library's."""
        unknown: list[int] = []
        for number, alias in reversed(sheet.outline.stars):
            place = self._place(sheet, alias)
            if place is None:
                unknown.append(number)
            elif self._provides(place, chain[0]):
                other = self._open(place)
                self._keep(sheet, number)
                if other is not None:
                    self._need(other, chain)
                return
        for number in unknown:
            self._keep(sheet, number)

    def _everything(self, sheet: _Sheet) -> None:
        """The module itself is handed about: all functions and classes, and what a package imports."""
        for unit in sheet.outline.units:
            if unit.defines or (sheet.place.is_package and unit.imports):
                for name in unit.binds:
                    self._need(sheet, (name,))

    # ---- units ------------------------------------------------------------------------------------

    def _keep(self, sheet: _Sheet, number: int) -> None:
        if number in sheet.kept:
            return
        unit = sheet.outline.units[number]
        size = unit.last - unit.first + 1
        if sheet is not self._first:
            if self._lines + size > MOST_LINES:
                return
            self._lines += size
        sheet.kept.add(number)
        for alias in unit.imports if sheet.whole else unit.reads.imports:
            self._import(sheet, alias)
        for chain in sorted(unit.reads.chains):
            self._read(sheet, unit, chain)

    def _read(self, sheet: _Sheet, unit: Unit, chain: Chain) -> None:
        local = [alias for alias in unit.reads.imports if alias.bound == chain[0] and chain[0] not in unit.binds]
        for alias in local:
            self._follow(sheet, alias, chain[1:])
        if not local or chain[0] in sheet.outline.binders:
            self._need(sheet, chain)

    def _runs(self, sheet: _Sheet, unit: Unit) -> bool:
        """Whether a statement of the module's body runs the program: calls the project's code, ends or goes on."""
        if unit.ends or unit.long_loop:
            return True
        return any(self._is_ours(sheet, chain) for chain in unit.calls)

    def _is_ours(self, sheet: _Sheet, chain: Chain) -> bool:
        """Whether what is called, as a statement of its own, is code of the project."""
        if chain[0] == "" or (len(chain) > 1 and chain[-1] in sheet.outline.methods):
            return True
        if len(chain) == 1:
            made_here = any(unit.defines for _, unit in sheet.binders(chain[0]))
            return made_here or any(self._place(sheet, alias) for alias in sheet.aliases(chain[0]))
        for _, unit in sheet.binders(chain[0]):
            for root in {read[0] for read in unit.reads.chains}:
                for alias in sheet.aliases(root):
                    place = self._place(sheet, alias)
                    found = self._modules.outline(place.path) if place is not None else None
                    if found is not None and chain[-1] in found[0].methods:
                        return True
        return False

    def _prepares(self, sheet: _Sheet, unit: Unit) -> bool:
        """Whether a statement that changes a library's settings needs nothing but what is kept anyway."""
        for root in unit.touches:
            if not any(alias.module.split(".")[0] in _PREPARING for alias in sheet.aliases(root)):
                return False
        if any("distributed" in chain or "multiprocessing" in chain for chain in unit.reads.chains):
            return False
        for root in {chain[0] for chain in unit.reads.chains}:
            binders = list(sheet.binders(root))
            if (binders and root not in sheet.needed) or any(unit.defines for _, unit in binders):
                return False
        return not self._runs(sheet, unit)

    # ---- other modules ----------------------------------------------------------------------------

    def _follow(self, sheet: _Sheet, alias: Imported, rest: Chain) -> None:
        """Ask the module that an import names for what is used of it."""
        base = self._place(sheet, alias)
        if alias.name in ("", _EVERYTHING):
            self._attribute(sheet, alias, rest)
        elif base is not None and not self._is_closed(base) and self._provides(base, alias.name):
            other = self._open(base)
            if other is not None:
                self._need(other, (alias.name, *rest))
        else:
            self._attribute(sheet, alias, rest)

    def _attribute(self, sheet: _Sheet, alias: Imported, rest: Chain) -> None:
        """A module, and what is taken from it: the longest stretch of names that is a module of the project counts."""
        tail = [alias.name] if alias.name else []
        for size in range(len(rest), -1, -1):
            dotted = ".".join(part for part in [alias.module, *tail, *rest[:size]] if part)
            place = self._resolve(sheet, dotted, alias.level)
            if place is None:
                continue
            other = self._open(place)
            if other is not None:
                asked = rest[size:] if rest[size:] and not rest[size].startswith("__") else (_EVERYTHING,)
                self._need(other, asked)
            return

    def _import(self, sheet: _Sheet, alias: Imported) -> None:
        """An import that stays as it is written must find each name, used or not."""
        base = self._place(sheet, alias)
        if base is None or self._is_closed(base):
            return
        if alias.name and alias.name != _EVERYTHING and self._provides(base, alias.name):
            other = self._open(base)
            if other is not None:
                self._need(other, (alias.name,))
        elif alias.name and alias.name != _EVERYTHING:
            place = self._resolve(sheet, f"{alias.module}.{alias.name}".lstrip("."), alias.level)
            if place is not None:
                self._open(place)
        else:
            self._open(base)

    def _place(self, sheet: _Sheet, alias: Imported) -> Place | None:
        return self._resolve(sheet, alias.module, alias.level)

    def _resolve(self, sheet: _Sheet, dotted: str, level: int) -> Place | None:
        if level:
            return self._modules.relative(dotted, level, sheet.place)
        return self._modules.absolute(dotted, sheet.place.path)

    def _open(self, place: Place) -> _Sheet | None:
        """The module's sheet; None where it cannot be read or there are enough of them."""
        if self._is_closed(place):
            return None
        if place.name not in self.sheets:
            found = self._modules.outline(place.path)
            if found is None:
                return None
            self.sheets[place.name] = _Sheet(place, *found)
        return self.sheets[place.name]

    def _is_closed(self, place: Place) -> bool:
        """Whether a module is not among those kept, and no more are taken."""
        full = len(self.sheets) >= MOST_MODULES or self._lines >= MOST_LINES
        return full and place.name not in self.sheets

    def _provides(self, place: Place, name: str, depth: int = 3) -> bool:
        """Whether a module binds a name, itself or through `from x import *` of the project."""
        found = self._modules.outline(place.path)
        if found is None:
            return False
        made, _ = found
        if name in made.binders:
            return True
        if depth == 0:
            return False
        for _, alias in made.stars:
            near = _Sheet(place, made, [])
            other = self._place(near, alias)
            if other is not None and self._provides(other, name, depth - 1):
                return True
        return False


# ---- text -----------------------------------------------------------------------------------------


def _module(modules: Modules, sheet: _Sheet) -> Module:
    place = sheet.place
    lines = list(sheet.lines) if sheet.whole else _cut(sheet)
    return Module(place.name, modules.shown(place.path), "\n".join(lines) + "\n", place.is_package)


def _cut(sheet: _Sheet) -> list[str]:
    """The module's lines, blank where nothing is kept; imports name only what is needed."""
    lines = [""] * len(sheet.lines)
    for number, unit in enumerate(sheet.outline.units):
        if number not in sheet.kept and not unit.future:
            continue
        if unit.guard:
            lines[unit.guard - 1] = "if True:"
        first = sheet.lines[unit.first - 1]
        wanted = [alias for alias in unit.imports if alias.bound in sheet.needed or alias.name == _EVERYTHING]
        if unit.imports and not unit.future and len(wanted) < len(unit.imports):
            indent = first[: len(first) - len(first.lstrip())]
            lines[unit.first - 1] = indent + _import_text(wanted)
        else:
            lines[unit.first - 1 : unit.last] = sheet.lines[unit.first - 1 : unit.last]
    return lines


def _import_text(aliases: list[Imported]) -> str:
    """One import statement that names these aliases of the statement they come from."""
    names = ", ".join(alias.text for alias in aliases)
    one = aliases[0]
    return f"from {'.' * one.level}{one.module} import {names}" if one.name else f"import {names}"
