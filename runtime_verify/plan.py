"""A finding and its fix to a case: both variants linted, sliced and marked, or the reason why not.

The text as written must give exactly this finding, the fixed one must not. May not run code or print.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import PurePath

from runtime_verify.case import Case, Module, Program, Unplanned
from runtime_verify.marks import Mark, line_of, lines_beside, mark_in, statement_at
from runtime_verify.modules import Modules, text_lines
from runtime_verify.slice import sliced
from runtime_verify.targets import entry
from torchmemlint import fix as fixing
from torchmemlint.engine import lint
from torchmemlint.facts.project import Project
from torchmemlint.model import Confidence, Edit, Finding, Fix, Metric
from torchmemlint.rule import Rule, load_rules
from torchmemlint.source import BadFile, Source

Opener = Callable[[Finding], "tuple[Source, Project, Finding]"]


@dataclass(frozen=True)
class Refused:
    """A finding that no case could be made of, and why."""

    finding: Finding
    reason: Unplanned


def plan_findings(
    findings: Iterable[Finding], opened: Opener, linted: bool = False, whole: bool = False
) -> Iterator[Case | Refused]:
    """The cases of findings, in their order.

    opened  gives a finding's file as it was linted, its project, and the finding with its places in that source; the
            same project object for all findings of one project keeps what was read of it.
    linted  the findings come from linting these very bytes in this run: the text as written need not be linted again.
    whole   the user's own program is run: the flagged file as it is, with nothing cut out.
    """
    wanted = list(findings)
    planner = Planner(wanted if linted else (), whole)
    for finding in wanted:
        yield _planned(planner, finding, opened)


def _planned(planner: Planner, finding: Finding, opened: Opener) -> Case | Refused:
    try:
        source, project, standing = opened(finding)
        case = planner.plan(standing, source, project)
        start = finding.in_file.start
        return replace(case, line=start.line, column=start.column)
    except Unplanned as reason:
        return Refused(finding, reason)
    except OSError as error:
        return Refused(finding, Unplanned("unreadable", f"the file cannot be read: {error.strerror or error}"))
    except BadFile as error:
        return Refused(finding, Unplanned("unreadable", f"the file cannot be read: {error.reason}"))


GRAPH_CLAIMS = frozenset({Metric.LIVE_GRAPH_NODES})
"""Claims about graphs that are kept: by the statement that is flagged, and by others like it in the same step."""


@dataclass(frozen=True)
class _Pair:
    """The two texts to compare with their marks, and how many other fixes both have."""

    original: tuple[Source, Mark]
    fixed: tuple[Source, Mark]
    besides: int


class Planner:
    """Plans findings, remembering each project's modules and what each file was found to fire.

    known  findings of files as they are now, which are not looked for again.
    whole  programs keep the flagged file as it is, for a program that is run from its own start.
    """

    def __init__(self, known: Iterable[Finding] = (), whole: bool = False) -> None:
        self._whole = whole
        self._known: dict[tuple[str, str], list[Finding]] = {}
        for finding in known:
            self._known.setdefault((finding.path, finding.code), []).append(finding)
        self._rules = {rule.code: rule for rule in load_rules()}
        self._modules: dict[int, tuple[Project, Modules]] = {}
        self._last: tuple[bytes, str, str, list[Finding]] | None = None

    def plan(self, finding: Finding, source: Source, project: Project) -> Case:
        """The case of one finding. Raises Unplanned."""
        rule = self._rules.get(finding.code)
        if rule is None or rule.effect is None:
            raise Unplanned("no_effect", f"{finding.code} claims no effect that could be measured")
        if finding.fix is None:
            raise Unplanned("no_fix", "the finding has no fix to compare with")
        before = self._known.get((finding.path, finding.code)) or self._found(source, rule, project)
        if not any(same_place(one, finding) for one in before):
            raise Unplanned("not_reproduced", "linting the file again does not give this finding")
        fixed = _fixed(source, finding.fix)
        tree, new_tree = _tree(source), _tree(fixed)
        line, mark = _marks(source, fixed, tree, finding)
        after = lint(fixed, [rule], project)
        if not _is_quiet(finding, source, before, fixed, after, new_tree, mark):
            before = self._found(source, rule, project)  # a report leaves out what comments silence
            if not _is_quiet(finding, source, before, fixed, after, new_tree, mark):
                raise Unplanned("fix_not_quiet", "the finding is still reported with the fix")
        function = entry(tree, finding.span.start, finding.fix.edits)
        graphs = _handed_in(tree, finding, function) if rule.effect.metric in GRAPH_CLAIMS else ()
        pair = self._besides(finding, source, tree, rule, project)
        if pair is None:
            pair = _Pair((source, Mark(line, True)), (fixed, mark), 0)
        original = self._program(project, *pair.original, function, graphs)
        variant = self._program(project, *pair.fixed, function, graphs)
        return Case(
            key=_key(original, variant, rule),
            code=finding.code,
            name=finding.name,
            path=finding.path,
            line=finding.span.start.line,
            column=finding.span.start.column,
            message=finding.message,
            effect=rule.effect,
            fix_title=finding.fix.title,
            applicability=finding.fix.applicability,
            original=original,
            fixed=variant,
            besides=pair.besides,
        )

    def _besides(
        self, finding: Finding, source: Source, tree: ast.Module, rule: Rule, project: Project
    ) -> _Pair | None:
        """Both texts with the fixes of further findings in the same function that hold the same; None without such.

        What two statements of a step hold, neither holds alone: fixing one would show nothing.
        """
        assert finding.fix is not None
        others = [
            one.fix
            for other in self._rules.values()
            if _same_effect(other, rule)
            for one in self._known.get((finding.path, other.code)) or self._found(source, other, project)
            if one.symbol == finding.symbol and not same_place(one, finding) and one.fix is not None
            if one.confidence.rank >= Confidence.MEDIUM.rank
        ]
        if not others:
            return None
        try:
            base, whole = fixing.apply(source, others), fixing.apply(source, [finding.fix, *others])
        except BadFile:
            return None
        if len(base.applied) < len(others) or len(whole.applied) <= len(others):
            return None
        texts = Source(source.path, base.data), Source(source.path, whole.data)
        marks = []
        for text, fixes in zip(texts, (others, [finding.fix, *others]), strict=True):
            edits = tuple(sorted(edit for fix in fixes for edit in fix.edits))
            marks.append(_marks(source, text, tree, finding, edits)[1])
        return _Pair((texts[0], marks[0]), (texts[1], marks[1]), len(others)) if marks[0].kept else None

    def _program(self, project: Project, source: Source, mark: Mark, function: str, graphs: tuple[str, ...]) -> Program:
        if self._whole:
            module = Module(PurePath(source.path).stem, source.path, "\n".join(text_lines(source)) + "\n")
            return Program((module,), function, mark.line, mark.kept, graphs)
        if id(project) not in self._modules:
            self._modules[id(project)] = (project, Modules(project))
        try:
            modules = sliced(self._modules[id(project)][1], source, function, mark.line)
        except (LookupError, SyntaxError, RecursionError) as error:
            raise Unplanned("not_sliced", f"the code around the finding cannot be cut out: {error}") from error
        return Program(modules, function, mark.line, mark.kept, graphs)

    def _found(self, source: Source, rule: Rule, project: Project) -> list[Finding]:
        """What one rule finds in the file as written; findings of one file come one after the other."""
        if self._last is None or self._last[:3] != (source.data, source.path, rule.code):
            self._last = (source.data, source.path, rule.code, lint(source, [rule], project))
        return self._last[3]


def _same_effect(one: Rule, other: Rule) -> bool:
    """Whether two rules speak of the same thing that is kept, a graph."""
    metrics = {rule.effect.metric for rule in (one, other) if rule.effect is not None}
    return len(metrics) == 1 and metrics <= GRAPH_CLAIMS


def same_place(one: Finding, other: Finding) -> bool:
    """Whether two findings of one file are the same one."""
    return one.code == other.code and one.span == other.span


def _fixed(source: Source, fix: Fix) -> Source:
    """The text with the fix, whatever its applicability."""
    try:
        result = fixing.apply(source, [fix])
    except BadFile as error:
        raise Unplanned("not_python", f"the file cannot be read: {error.reason}") from error
    if not result.applied:
        raise Unplanned("fix_not_python", f"the fix cannot be applied: {result.refused[0][1]}")
    return Source(source.path, result.data)


def _tree(source: Source) -> ast.Module:
    if source.screen is None:
        raise Unplanned("not_python", "this Python cannot parse the file")
    return source.screen.module


def _handed_in(tree: ast.Module, finding: Finding, function: str) -> tuple[str, ...]:
    """Parameters of the function that the flagged statement reads: its claim says that they carry a graph."""
    found = statement_at(tree, finding.span.start)
    name = function.rpartition(".")[2]
    if found is None or not name:
        return ()
    read = {node.id for node in ast.walk(found[0]) if isinstance(node, ast.Name)}
    around = [
        node
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == name
        if node.lineno <= finding.span.start.line <= (node.end_lineno or 0)
    ]
    parameters = {argument.arg for node in around for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}
    return tuple(sorted((parameters & read) - {"self", "cls"}))


def _marks(
    source: Source, fixed: Source, tree: ast.Module, finding: Finding, edits: tuple[Edit, ...] | None = None
) -> tuple[int, Mark]:
    """The flagged statement's line as written and with the fix."""
    found = statement_at(tree, finding.span.start)
    if found is None or finding.fix is None:
        raise Unplanned("no_statement", "the finding stands on no statement")
    line = line_of(found[0], finding.span.start)
    lines = lines_beside(tree, finding.span.start, line)
    changes = finding.fix.edits if edits is None else edits
    return line, mark_in(text_lines(source), text_lines(fixed), changes, lines, line)


def _is_quiet(
    finding: Finding,
    source: Source,
    before: list[Finding],
    fixed: Source,
    after: list[Finding],
    tree: ast.Module,
    mark: Mark,
) -> bool:
    """Whether the fixed text gives one finding of this kind less, and none at the flagged statement.

    Findings that the fix made less sure than a report shows are gone.
    """
    least = min(finding.confidence.rank, Confidence.MEDIUM.rank)
    old = Counter(_kind(source, one) for one in before if one.confidence.rank >= least)
    left = [one for one in after if one.confidence.rank >= least]
    new = Counter(_kind(fixed, one) for one in left)
    mine = _kind(source, finding)
    at_mark = mark.kept and any(_stands_at(tree, one, mark.line) for one in left)
    return new[mine] < old[mine] and not at_mark


def _stands_at(tree: ast.Module, finding: Finding, line: int) -> bool:
    found = statement_at(tree, finding.span.start)
    return found is not None and line_of(found[0], finding.span.start) == line


def _kind(source: Source, finding: Finding) -> tuple[str, str]:
    """Which finding it is, wherever it has moved to: its function and flagged text without layout."""
    return finding.symbol, "".join(source.slice(finding.span).split())


def _key(original: Program, fixed: Program, rule: Rule) -> str:
    """A hash of what will be run and what is claimed of it; no path of this machine goes into it."""
    effect = asdict(rule.effect) if rule.effect is not None else {}
    parts: list[object] = [rule.code, {name: str(value) for name, value in effect.items()}]
    for program in (original, fixed):
        parts.append([program.function, program.mark, program.kept])
        parts.append([[module.name, module.package, module.text] for module in program.modules])
    return hashlib.sha256(json.dumps(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
