"""The fixtures as test cases: a file, or a folder `proj_*` whose files belong together, linted once each.

Knows the layout of `fixtures/` and nothing of single rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path

from markers import Marker, read
from torchmemlint.engine import lint
from torchmemlint.facts.project import Project
from torchmemlint.model import Confidence, Finding
from torchmemlint.rule import Rule, load_rules
from torchmemlint.source import Source

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "fixtures"


class MemoryFiles:
    """A project's files in a dict: the `Files` that the engine's `Project` asks for."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def paths(self) -> Iterable[str]:
        return sorted(self.files)

    def read(self, path: str) -> bytes | None:
        return self.files.get(path)

    def relative(self, path: str) -> str | None:
        return path if path in self.files else None

    def named(self, path: str) -> str:
        return path


@dataclass(frozen=True)
class Case:
    """One fixture. `name` is its path below `fixtures/`, `code` the folder's own rule or "" (seeds)."""

    name: str
    code: str
    files: dict[str, bytes] = field(hash=False, compare=False)

    def markers(self, path: str) -> list[Marker]:
        return read(Source(path, self.files[path]).text, self.code)

    def rules(self) -> list[Rule]:
        """The rules on by default, and opt-in ones where the folder or a marker names them."""
        named = {self.code} | {marker.code for path in self.files for marker in self.markers(path)}
        return [rule for rule in load_rules() if rule.default or rule.code in named]

    def findings(self, least: Confidence = Confidence.MEDIUM) -> list[Finding]:
        return [found for found in _lint_case(self) if found.confidence.rank >= least.rank]


@cache
def _lint_case(case: Case) -> tuple[Finding, ...]:
    return tuple(lint_files(case.files, case.rules()))


def lint_files(files: dict[str, bytes], rules: Iterable[Rule]) -> list[Finding]:
    """The findings of all files of one project, at any confidence."""
    project = Project(MemoryFiles(files))
    wanted = list(rules)
    return [finding for path in sorted(files) for finding in lint(Source(path, files[path]), wanted, project)]


def is_golden(path: Path) -> bool:
    return path.name.endswith(".fixed.py")


@lru_cache(maxsize=1)
def all_cases() -> tuple[Case, ...]:
    """Every fixture of `fixtures/tml*/` and `fixtures/seeds/`."""
    found = []
    for folder in sorted([*FIXTURES.glob("tml*"), FIXTURES / "seeds"]):
        if not folder.is_dir():
            continue
        code = folder.name.upper() if re.fullmatch(r"tml\d{3}", folder.name) else ""
        for project in sorted(folder.glob("**/proj_*/")):
            files = {p.relative_to(project).as_posix(): p.read_bytes() for p in sorted(project.rglob("*.py"))}
            found.append(Case(project.relative_to(FIXTURES).as_posix(), code, files))
        for path in sorted(folder.rglob("*.py")):
            inside = path.relative_to(folder).parts[:-1]
            if not is_golden(path) and not any(part.startswith("proj_") for part in inside):
                name = path.relative_to(FIXTURES).as_posix()
                found.append(Case(name, code, {path.name: path.read_bytes()}))
    return tuple(found)
