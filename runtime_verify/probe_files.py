"""The rules' probes as cases: files of `fixtures/tmlNNN/` to pairs of programs. Runs nothing.

| file | what | with the fix | expected |
|---|---|---|---|
| `probe*.py` | one finding | the linter's own fix | confirmed |
| `probe_fine*.py` | a right use that looks like it | `probe_fine*.other.py`, changed as a fix would | refuted |

Each is run whole, as a script. In lookalikes a comment `# probe` marks the statement that is watched; where the
other file lacks it, `# probe: gone` marks what now stands in its place.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from runtime_verify.case import Case, Module, Program, Unplanned
from runtime_verify.plan import Planner
from runtime_verify.verdict import Kind
from torchmemlint import fix as fixing
from torchmemlint.engine import lint
from torchmemlint.facts.project import Project
from torchmemlint.model import Applicability, Confidence, Effect, Finding
from torchmemlint.rule import Rule, load_rules
from torchmemlint.source import Source

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
OTHER = ".other.py"
_MARK = re.compile(r"#\s*probe(?P<gone>: gone)?\s*$")
_DEVICE = re.compile(r"device=\"cuda\"")


class BadProbe(Exception):
    """A probe that is none; the message names the file."""


@dataclass(frozen=True)
class Probe:
    """One probe.

    name      of its file, without the ending.
    expected  the verdict that it must come to on a CUDA device.
    """

    name: str
    expected: Kind
    case: Case

    @property
    def runs_on_cpu(self) -> bool:
        """Whether its tensors may be anywhere."""
        return not any(_DEVICE.search(module.text) for module in self.case.original.modules)


def probes(codes: Collection[str] = (), fixtures: Path = FIXTURES) -> list[Probe]:
    """The probes of rules, all by default, in order of code and file. Raises BadProbe."""
    found = []
    for rule in load_rules():
        if rule.effect is None or (codes and rule.code not in codes):
            continue
        for path in sorted((fixtures / rule.code.lower()).glob("probe*.py")):
            if not path.name.endswith(OTHER):
                found.append(_lookalike(path, rule) if path.stem.startswith("probe_fine") else _flagged(path, rule))
    return found


def evidence_file(code: str, fixtures: Path = FIXTURES) -> Path:
    """Where the verdicts on a rule's probes are kept."""
    return fixtures / code.lower() / "evidence.json"


class _Alone:
    """A project of the one file that is handed in: nothing else of the checkout belongs to a probe."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def paths(self) -> Iterable[str]:
        return [self._source.path]

    def read(self, path: str) -> bytes | None:
        return self._source.data if path == self._source.path else None

    def relative(self, path: str) -> str | None:
        return path if path == self._source.path else None

    def named(self, path: str) -> str:
        return path


def _opened(path: Path) -> Source:
    """A probe under a name that is the same on every machine."""
    return Source(f"fixtures/{path.parent.name}/{path.name}", path.read_bytes())


def findings(source: Source) -> list[Finding]:
    """What is reported of a probe by default."""
    default = [rule for rule in load_rules() if rule.default]
    found = lint(source, default, Project(_Alone(source)))
    return [one for one in found if one.confidence.rank >= Confidence.MEDIUM.rank]


def _flagged(path: Path, rule: Rule) -> Probe:
    source = _opened(path)
    found = findings(source)
    if [finding.code for finding in found] != [rule.code]:
        raise BadProbe(f"{source.path}: gives {[one.code for one in found]}, not exactly one {rule.code}")
    finding = found[0]
    try:
        case = Planner().plan(finding, source, Project(_Alone(source)))
    except Unplanned as reason:
        raise BadProbe(f"{source.path}: {reason}") from None
    assert finding.fix is not None
    fixed = Source(source.path, fixing.apply(source, [finding.fix]).data)
    original = _program(source, case.original.mark, case.original.kept)
    return Probe(
        path.stem,
        Kind.CONFIRMED,
        _keyed(replace(case, original=original, fixed=_program(fixed, case.fixed.mark, case.fixed.kept))),
    )


def _lookalike(path: Path, rule: Rule) -> Probe:
    source, other = _opened(path), _opened(path.with_name(path.stem + OTHER))
    for one in (source, other):
        if found := findings(one):
            raise BadProbe(f"{one.path}: gives {[finding.code for finding in found]}, not nothing")
    assert rule.effect is not None
    case = Case(
        key="",
        code=rule.code,
        name=rule.name,
        path=source.path,
        line=_marked(source)[0],
        column=0,
        message=_headline(source),
        effect=rule.effect,
        fix_title=_headline(other),
        applicability=Applicability.PROOF,
        original=_program(source, *_marked(source)),
        fixed=_program(other, *_marked(other)),
    )
    return Probe(path.stem, Kind.REFUTED, _keyed(case))


def _program(source: Source, mark: int, kept: bool) -> Program:
    return Program((Module("probe", source.path, source.text),), "", mark, kept)


def _marked(source: Source) -> tuple[int, bool]:
    """The line of the watched statement, and whether it is still there. Raises BadProbe."""
    lines = source.text.splitlines()
    marks = [(number, match) for number, line in enumerate(lines, 1) if (match := _MARK.search(line))]
    if len(marks) != 1:
        raise BadProbe(f"{source.path}: {len(marks)} comments `# probe`, not one")
    return marks[0][0], marks[0][1]["gone"] is None


def _headline(source: Source) -> str:
    """The first line of a probe's docstring."""
    return source.text.partition("\n")[0].strip('"')


def _keyed(case: Case) -> Case:
    """The case under a hash of what is claimed and of both texts as they are."""
    return replace(case, key=hashlib.sha256(json.dumps(_identity(case)).encode()).hexdigest()[:16])


def _identity(case: Case) -> list[object]:
    parts: list[object] = [case.code, _claim(case.effect)]
    for program in (case.original, case.fixed):
        parts.append([program.mark, program.kept, [module.text for module in program.modules]])
    return parts


def _claim(effect: Effect) -> dict[str, str]:
    return {name: str(value) for name, value in asdict(effect).items()}
