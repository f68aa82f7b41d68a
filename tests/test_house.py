"""The house rules as data: who may import whom, sizes, names, docstrings, how findings speak.

`ROOMS` is exhaustive: a file that stands in no row fails, and so does a row that no file stands in
unless it is marked as planned.
"""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

from cases import ROOT, Case, all_cases
from torchmemlint.model import Confidence
from torchmemlint.rule import load_rules


@dataclass(frozen=True)
class Room:
    """Files, the modules of ours that they may import (with all below them), and the packages of others."""

    files: str
    may_import: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    planned: bool = False


PROCESS_ROOMS = (
    "boot",
    "child",
    "connection",
    "dispatch",
    "folders",
    "jobs",
    "lanes",
    "processes",
    "run",
    "server",
    "warden",
    "wire",
)
JUDGING_ROOMS = (
    "decide",
    "evidence",
    "figures",
    "gates",
    "intervals",
    "judge",
    "report",
    "safety",
    "trial",
    "verdict",
    "wording",
)
VERDICTS_SHOWN = ("runtime_verify.progress", "runtime_verify.report")

FINDINGS_SHOWN = ("torchmemlint.faces.frames", "torchmemlint.faces.pages", "torchmemlint.model")

# The first row that fits a file counts.
ROOMS = (
    Room("torchmemlint/__init__.py", ("torchmemlint.faces.session",)),
    Room("torchmemlint/__main__.py", ("torchmemlint.faces.cli",)),
    Room("torchmemlint/model.py"),
    Room("torchmemlint/source.py", ("torchmemlint.model", "torchmemlint.lower")),
    Room("torchmemlint/lower.py", ("torchmemlint.model", "torchmemlint.source"), ("libcst",)),
    Room("torchmemlint/document.py", ("torchmemlint.model", "torchmemlint.notebook", "torchmemlint.source")),
    Room("torchmemlint/notebook/__init__.py"),
    Room(
        "torchmemlint/notebook/*.py",
        ("torchmemlint.document", "torchmemlint.model", "torchmemlint.notebook", "torchmemlint.source"),
    ),
    Room("torchmemlint/exact.py", ("torchmemlint.model", "torchmemlint.source")),
    Room("torchmemlint/fix.py", ("torchmemlint.model", "torchmemlint.source")),
    Room("torchmemlint/fix_rounds.py", ("torchmemlint.fix", "torchmemlint.model", "torchmemlint.source")),
    Room("torchmemlint/patterns.py"),
    Room("torchmemlint/settings.py", ("torchmemlint.model", "torchmemlint.patterns"), ("tomli",)),
    Room("torchmemlint/suppress.py", ("torchmemlint.model",)),
    Room("torchmemlint/stale.py", tuple(f"torchmemlint.{name}" for name in ("model", "rule", "settings", "suppress"))),
    Room("torchmemlint/baseline.py", ("torchmemlint.model",)),
    Room("torchmemlint/cache.py", ("torchmemlint.facts.consulted", "torchmemlint.facts.words", "torchmemlint.model")),
    Room("torchmemlint/disk.py", (), ("pathspec",)),
    Room("torchmemlint/history.py", ("torchmemlint.disk",)),
    Room("torchmemlint/knowledge/__init__.py"),
    Room(
        "torchmemlint/facts/file_model.py",
        ("torchmemlint.facts", "torchmemlint.model", "torchmemlint.rule", "torchmemlint.source"),
    ),
    Room(
        "torchmemlint/facts/*.py",
        ("torchmemlint.facts", "torchmemlint.knowledge", "torchmemlint.model", "torchmemlint.source"),
    ),
    Room("torchmemlint/rule.py", ("torchmemlint.model", "torchmemlint.rules")),
    Room("torchmemlint/rules/__init__.py"),
    Room("torchmemlint/rules/tml*.py", ("torchmemlint.rule", "torchmemlint.facts.file_model")),
    Room(
        "torchmemlint/engine.py",
        (
            "torchmemlint.document",
            "torchmemlint.exact",
            "torchmemlint.facts",
            "torchmemlint.model",
            "torchmemlint.rule",
            "torchmemlint.source",
        ),
    ),
    Room("torchmemlint/faces/pages.py"),
    # What is shown, as values; `terminal` alone knows what a stream makes of it.
    Room("torchmemlint/faces/frames.py", ("torchmemlint.model",)),
    Room("torchmemlint/faces/report.py", FINDINGS_SHOWN),
    Room("torchmemlint/faces/full.py", (*FINDINGS_SHOWN, "torchmemlint.faces.report")),
    Room("torchmemlint/faces/terminal.py", ("torchmemlint.faces.frames",)),
    # The one way from linting to running code, imported only when that is asked for.
    Room("torchmemlint/faces/verifying.py", ("torchmemlint", "runtime_verify.cli", *VERDICTS_SHOWN)),
    # Reports for programs: from plain values to text; the rules' pages are part of some.
    Room(
        "torchmemlint/faces/formats/*.py",
        (
            "torchmemlint.document",
            "torchmemlint.faces.explain",
            "torchmemlint.faces.formats",
            "torchmemlint.faces.pages",
            "torchmemlint.model",
            "torchmemlint.rule",
            "torchmemlint.source",
        ),
    ),
    Room("torchmemlint/faces/editor_values.py", ("torchmemlint",), ("lsprotocol", "pygls")),
    Room("torchmemlint/faces/language_server.py", ("torchmemlint",), ("lsprotocol", "pygls")),
    Room("torchmemlint/faces/*.py", ("torchmemlint",), ("rich",)),
    Room("runtime_verify/__init__.py"),
    Room("runtime_verify/worker/*.py", ("runtime_verify.readings", "runtime_verify.worker"), ("torch",)),
    # Processes: they run in an interpreter that need not have the linter.
    *(
        Room(f"runtime_verify/{name}.py", tuple(f"runtime_verify.{other}" for other in (*PROCESS_ROOMS, "readings")))
        for name in PROCESS_ROOMS
    ),
    # Judging: from plain values to plain values.
    *(
        Room(
            f"runtime_verify/{name}.py",
            (*(f"runtime_verify.{other}" for other in (*JUDGING_ROOMS, "case", "readings")), "torchmemlint.model"),
        )
        for name in JUDGING_ROOMS
    ),
    Room("runtime_verify/progress.py", (*VERDICTS_SHOWN, "runtime_verify.verdict", "torchmemlint.model"), ("rich",)),
    Room(
        "runtime_verify/on_disk.py",
        ("torchmemlint.disk", "torchmemlint.facts", "torchmemlint.model", "torchmemlint.source"),
    ),
    Room(
        "runtime_verify/*.py",
        (
            "runtime_verify",
            "torchmemlint.engine",
            "torchmemlint.facts",
            "torchmemlint.fix",
            "torchmemlint.model",
            "torchmemlint.rule",
            "torchmemlint.source",
        ),
        ("distributed", "jinja2", "matplotlib", "scipy"),
        planned=True,
    ),
)

# A rule asks the FileModel; it needs no more of the standard library than this.
RULE_NEEDS = {"__future__", "ast", "collections", "dataclasses", "enum", "functools", "itertools", "re", "typing"}
DRAWERS = {"utils", "util", "helpers", "helper", "common", "misc", "base"}
MODULE_LINES, RULE_LINES = 400, 150

# Longer than a module should be, and why; the figure is how long it may get.
LONG = {
    "torchmemlint/lower.py": (620, "one short function for each kind of node of the grammar, and their tables"),
}

FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for package in ("torchmemlint", "runtime_verify")
    for path in (ROOT / package).rglob("*.py")
)
RULE_FILES = [name for name in FILES if fnmatch(name, "torchmemlint/rules/tml*.py")]


def room_of(name: str) -> Room | None:
    return next((room for room in ROOMS if fnmatch(name, room.files)), None)


def tree_of(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text("utf-8"))


def imports(tree: ast.AST) -> list[tuple[int, str]]:
    """Every module that a file imports anywhere, lazily or for types: line and dotted name."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            assert node.module is not None
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.append((node.lineno, whole if is_module(whole) else node.module))
    return found


def is_module(dotted: str) -> bool:
    path = ROOT / dotted.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def below(name: str, roots: tuple[str, ...]) -> bool:
    return any(name == root or name.startswith(root + ".") for root in roots)


@pytest.mark.parametrize("name", FILES)
def test_imports_keep_to_the_plan(name: str) -> None:
    room = room_of(name)
    assert room is not None, "stands in no row of ROOMS: which room is it, and who may it import?"
    wrong = []
    for line, module in imports(tree_of(name)):
        root = module.split(".")[0]
        if module == "torchmemlint":
            continue  # the version
        if root in ("torchmemlint", "runtime_verify"):
            allowed = below(module, room.may_import)
        else:
            allowed = root in sys.stdlib_module_names or root in room.others
        if not allowed:
            wrong.append(f"{name}:{line} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_every_room_is_lived_in() -> None:
    empty = [room.files for room in ROOMS if not room.planned and not any(room_of(name) is room for name in FILES)]
    assert not empty, f"no file stands in {empty}"


def test_modules_of_the_facts_form_no_circle() -> None:
    """Imports at the head of the modules go one way; what must look back does so lazily or for types only."""
    arrows: dict[str, set[str]] = {}
    for name in FILES:
        if name.startswith("torchmemlint/"):
            module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            head = ast.Module(
                [node for node in tree_of(name).body if isinstance(node, (ast.Import, ast.ImportFrom))], []
            )
            arrows[module] = {found for _, found in imports(head) if found.startswith("torchmemlint.")}
    while free := [module for module, targets in arrows.items() if not targets & set(arrows)]:
        for module in free:
            del arrows[module]
    assert not arrows, f"a circle of imports within {sorted(arrows)}"


@pytest.mark.parametrize("name", RULE_FILES)
def test_rules_need_little(name: str) -> None:
    """One module of ours, and the FileModel for annotations."""
    tree = tree_of(name)
    for line, module in imports(tree):
        root = module.split(".")[0]
        assert root == "torchmemlint" or root in RULE_NEEDS, f"line {line} imports {module}"
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not calls & {"open", "print", "exec", "eval", "input"}
    assert not any(isinstance(node, ast.Global) for node in ast.walk(tree))


@pytest.mark.parametrize("name", RULE_FILES)
def test_rules_are_short(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    page = tree_of(name).body[0]
    assert isinstance(page, ast.Expr) and page.end_lineno is not None
    lines = text.count("\n") - page.end_lineno
    assert lines <= RULE_LINES, f"{lines} lines below its page; what it knows belongs into the facts"


@pytest.mark.parametrize("name", FILES)
def test_modules_are_of_a_size_to_read(name: str) -> None:
    lines = (ROOT / name).read_text("utf-8").count("\n")
    page = tree_of(name).body[0].end_lineno or 0 if name in RULE_FILES else 0
    limit, _ = LONG.get(name, (MODULE_LINES, ""))
    assert lines - page <= limit, f"{lines - page} lines; split it, or say in LONG why it must be so long"


def test_exceptions_for_size_are_needed() -> None:
    for name, (_, reason) in LONG.items():
        assert name in FILES and reason
        assert (ROOT / name).read_text("utf-8").count("\n") > MODULE_LINES, f"{name} is short again: take it off LONG"


@pytest.mark.parametrize("name", FILES)
def test_modules_say_what_they_are_for(name: str) -> None:
    tree = tree_of(name)
    if tree.body:
        page = ast.get_docstring(tree)
        assert page, "begins with no docstring"
        assert page.split("\n\n")[0].rstrip().endswith((".", ":")), "the first paragraph is a sentence"


def test_no_drawers() -> None:
    names = [*FILES, *(path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py"))]
    drawers = [name for name in names if DRAWERS & {part.removesuffix(".py") for part in Path(name).parts}]
    assert not drawers, f"what is in it has a home elsewhere: {drawers}"


def test_torch_is_never_imported_to_lint() -> None:
    users = [name for name in FILES if any(module.split(".")[0] == "torch" for _, module in imports(tree_of(name)))]
    assert not [name for name in users if not name.startswith("runtime_verify/worker/")]


def test_rule_names_read_after_allow() -> None:
    """A name says what is smelt, not what to do: "allow loss-accumulated-with-graph"."""
    for rule in load_rules():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", rule.name), rule.name
        assert rule.name.split("-")[0] not in {"no", "use", "avoid", "disallow", "prefer", "dont", "missing"}, rule.name


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
def test_messages_are_one_plain_clause(case: Case) -> None:
    """Lower case, no full stop, names what it speaks of in backticks or as a call, no advice: that is the fix's."""
    for finding in case.findings(Confidence.LOW):
        message = finding.message
        where = f"{finding.code} says {message!r}"
        assert 15 <= len(message) <= 160 and "\n" not in message, where
        assert not message.endswith((".", "!", ":")) and ". " not in message, where
        assert "`" in message or "()" in message, f"{where}: of what?"
        assert message.count("`") % 2 == 0, where
        assert not message[0].isupper(), where
        assert not re.search(r"\b(should|please|consider|try|you|must|use|avoid|VRAM)\b", message), where
        for why in finding.why:
            assert why.message and not why.message.endswith("."), f"{finding.code} reasons {why.message!r}"
        if finding.fix is not None:
            title = finding.fix.title
            assert title[0].islower() or title[0] == "`", f"{finding.code} offers {title!r}"
            assert not title.endswith(".") and len(title) <= 100, f"{finding.code} offers {title!r}"
