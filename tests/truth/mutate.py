"""Makes verifier cases of known truth out of good code: `python tests/truth/mutate.py --trees DIR... --out FILE`.

Each tree is a repository, "OWNER+NAME@COMMIT"; its code is read and never copied into ours. The same seed on the
same trees gives the same set, whatever their order.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import gzip
import hashlib
import json
import os
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

from runtime_verify.case import Case, Program, Unplanned, as_json
from runtime_verify.marks import line_of, mark_in, statement_at
from runtime_verify.modules import Modules
from runtime_verify.outline import first_line
from runtime_verify.slice import sliced
from runtime_verify.targets import entry
from torchmemlint.disk import DiskFiles
from torchmemlint.facts.project import Project
from torchmemlint.model import Applicability, Edit, Position, Span
from torchmemlint.rule import load_rules
from torchmemlint.source import Source
from truth.code import Code
from truth.harmful import harmful
from truth.harmless import harmless
from truth.mutation import Mutation, Truth, changed

WORDS = (".backward(", "no_grad", "inference_mode", "empty_cache", "def forward(")
LARGEST = 200_000
"""Bytes of a file that is read: larger ones are generated."""
COSTLY = frozenset(
    ("nothing-for-emptying", "nothing-for-collecting", "emptied-after-loop", "collected-after-loop", "grad-off-twice")
)
"""Kinds of which half as many are taken: that time is the same takes up to twenty pairs of runs, alone on a device."""
SKIPPED = ("test", "conftest", "setup.py", "docs/")


@dataclass(frozen=True)
class Mutant:
    """A mutation and where it was found. tree: the repository's folder; path: the file in it."""

    repository: str
    tree: str
    path: str
    mutation: Mutation


def mutations(code: Code) -> Iterator[Mutation]:
    """Everything that a file offers."""
    yield from harmful(code)
    yield from harmless(code)


def found(tree: str, files: int, seed: int) -> Iterator[Mutant]:
    """The mutants of some files of a repository, in an order that the seed decides."""
    repository = os.path.basename(tree.rstrip("/")).split("@")[0].replace("+", "/", 1)
    paths = sorted(str(path.relative_to(tree)) for path in Path(tree).rglob("*.py") if path.is_file())
    paths = [path for path in paths if not any(word in path.lower() for word in SKIPPED)]
    random.Random(f"{seed} {repository}").shuffle(paths)
    texts: dict[str, str] = {}
    for path in paths:
        text = _text(os.path.join(tree, path))
        if text is not None and "torch" in text and any(word in text for word in WORDS):
            texts[path] = text
        if len(texts) == files:
            break
    trained = any(".backward(" in text for text in texts.values())
    for path, text in texts.items():
        try:
            code = Code(path, text, trained)
        except (SyntaxError, ValueError, RecursionError):
            continue
        yield from (Mutant(repository, tree, path, one) for one in mutations(code))


def _text(path: str) -> str | None:
    """A file of plain lines; None for what is too large, or whose lines ends or characters are unusual."""
    try:
        data = Path(path).read_bytes()
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return (
        text
        if len(data) <= LARGEST and "\r" not in text and "\f" not in text and not text.startswith("\ufeff")
        else None
    )


def chosen(mutants: Iterable[Mutant], per_repository: int, per_kind: int, seed: int) -> list[Mutant]:
    """A sample, balanced over kinds: the repositories take turns in giving one of a kind."""
    by_kind: dict[str, dict[str, list[Mutant]]] = defaultdict(lambda: defaultdict(list))
    seen: set[tuple[str, str, str, int]] = set()
    for one in mutants:
        name = (one.repository, one.mutation.kind, one.path, one.mutation.mark)
        if name not in seen:  # another commit of the same repository has the same file
            seen.add(name)
            by_kind[one.mutation.kind][one.repository].append(one)
    result: list[Mutant] = []
    for kind in sorted(by_kind):
        dice = random.Random(f"{seed} {kind}")
        repositories = sorted(by_kind[kind])
        dice.shuffle(repositories)
        queues = [sorted(by_kind[kind][name], key=lambda m: (m.path, m.mutation.mark)) for name in repositories]
        for queue in queues:
            dice.shuffle(queue)
        turns = [queue[turn] for turn in range(per_repository) for queue in queues if turn < len(queue)]
        costly = kind in COSTLY
        result += turns[: (per_kind + 1) // 2 if costly else per_kind]
    return result


class Projects:
    """The modules of one repository at a time."""

    def __init__(self) -> None:
        self._tree = ""
        self._modules: Modules | None = None

    def of(self, tree: str) -> Modules:
        """Those of a repository, which becomes the current folder: paths are shown as seen from there."""
        if self._modules is None or tree != self._tree:
            os.chdir(tree)
            self._tree, self._modules = tree, Modules(Project(DiskFiles(os.getcwd())))
        return self._modules


def case_of(path: str, text: str, mutation: Mutation, modules: Modules) -> Case:
    """The case of a mutation, sliced and marked as a plan does it. Raises Unplanned, LookupError, SyntaxError."""
    lines = text.split("\n")
    bad, good = changed(lines, mutation.changes), changed(lines, mutation.fixed)
    written, fixed = (Source(path, "\n".join(one).encode()) for one in (bad, good))
    tree = ast.parse(written.text)
    ast.parse(fixed.text)
    text_of_mark = bad[mutation.mark - 1]
    place = Position(mutation.mark, len(text_of_mark) - len(text_of_mark.lstrip()))
    at = statement_at(tree, place)
    if at is None:
        raise Unplanned("no_statement", "the mutation stands on no statement")
    statement, block = at
    line = line_of(statement, place)
    edits = list(edits_between(bad, good))
    mark = mark_in(bad, good, edits, [line if one is statement else first_line(one) for one in block], line)
    function = entry(tree, place, edits)
    original = Program(sliced(modules, written, function, line), function, line)
    variant = Program(sliced(modules, fixed, function, mark.line), function, mark.line, mark.kept)
    rule = next(rule for rule in load_rules() if rule.code == mutation.code)
    assert rule.effect is not None
    return Case(
        key=_key(original, variant, mutation),
        code=rule.code,
        name=rule.name,
        path=path,
        line=line,
        column=place.column,
        message=f"mutation: {mutation.kind}",
        effect=rule.effect,
        fix_title="the good code",
        applicability=Applicability.PROOF,
        original=original,
        fixed=variant,
    )


def edits_between(lines: Sequence[str], fixed: Sequence[str]) -> Iterator[Edit]:
    """Edits by whole lines that lead from one text to another."""
    head = next(
        (n for n, (one, two) in enumerate(zip(lines, fixed, strict=False)) if one != two), min(len(lines), len(fixed))
    )
    tail = 0
    while tail < min(len(lines), len(fixed)) - head and lines[-1 - tail] == fixed[-1 - tail]:
        tail += 1
    old, new = lines[head : len(lines) - tail], fixed[head : len(fixed) - tail]
    for name, i1, i2, j1, j2 in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if name != "equal":
            text = "".join(f"{line}\n" for line in new[j1:j2])
            yield Edit(Span(Position(head + i1 + 1, 0), Position(head + i2 + 1, 0)), text)


def _key(original: Program, fixed: Program, mutation: Mutation) -> str:
    parts = [mutation.kind, mutation.code]
    for program in (original, fixed):
        parts += [program.function, str(program.mark), *(module.text for module in program.modules)]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def labelled(mutants: Iterable[Mutant], problems: Counter[str]) -> Iterator[dict[str, Any]]:
    """Each mutant as JSON: its case, its truth, and where it comes from."""
    projects, keys = Projects(), set[str]()
    for one in sorted(mutants, key=lambda m: (m.tree, m.path, m.mutation.kind, m.mutation.mark)):
        try:
            modules = projects.of(one.tree)
            text = _text(one.path)
            assert text is not None
            case = case_of(one.path, text, one.mutation, modules)
        except (Unplanned, LookupError, SyntaxError) as error:
            problems[f"{one.mutation.kind}: {type(error).__name__} {error}"] += 1
            continue
        if case.key in keys:
            continue
        keys.add(case.key)
        truth = one.mutation.truth.value
        place = {"repository": one.repository, "path": one.path, "line": case.line}
        yield {"case": as_json(case), "truth": truth, "kind": one.mutation.kind, **place}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0] if __doc__ else None)
    parser.add_argument("--trees", nargs="+", required=True, help="folders, each a repository")
    parser.add_argument("--out", required=True, help="a .json.gz of what was made")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", type=int, default=120, help="files read of a repository, at most")
    parser.add_argument("--per-repository", type=int, default=2, help="mutants of one kind from one repository")
    parser.add_argument("--per-kind", type=int, default=12)
    args = parser.parse_args()
    trees, out = sorted(os.path.abspath(tree) for tree in args.trees), os.path.abspath(args.out)
    mutants = [one for tree in trees for one in found(tree, args.files, args.seed)]
    problems: Counter[str] = Counter()
    made = list(labelled(chosen(mutants, args.per_repository, args.per_kind, args.seed), problems))
    with gzip.open(out, "wt", encoding="utf-8") as file:
        json.dump(made, file)
    print(table(made))
    offered = Counter(one.mutation.kind for one in mutants)
    print("offered:", ", ".join(f"{kind} {count}" for kind, count in sorted(offered.items())))
    for problem, count in problems.most_common():
        print(f"left out {count} times: {problem}")
    return 0


def table(made: Sequence[dict[str, Any]]) -> str:
    """How many of each kind, and from how many repositories."""
    lines = []
    for truth in Truth:
        kinds = Counter((one["kind"], one["case"]["code"]) for one in made if one["truth"] == truth.value)
        for (kind, code), count in sorted(kinds.items()):
            homes = {one["repository"] for one in made if one["kind"] == kind}
            lines.append(f"{truth.value:9} {code} {kind:24} {count:4} from {len(homes)} repositories")
    homes = {one["repository"] for one in made}
    return "\n".join([*lines, f"together {len(made)} from {len(homes)} repositories"])


if __name__ == "__main__":
    sys.exit(main())
