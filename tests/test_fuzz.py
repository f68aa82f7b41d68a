"""Made-up and damaged programs: never a failure of ours, the same findings however they are asked for, and sound fixes.

`TORCHMEMLINT_FUZZ=N` tries N programs in each test, other ones every time; without it a few, always the same.
"""

from __future__ import annotations

import ast
import json
import os
import random
import sys
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cases import all_cases, lint_files
from commands import ISOLATED, lint, lint_json
from programs import HEAD, OTHER, programs, slips
from test_fixes import key, keys, spliced
from torchmemlint.engine import lint as lint_source
from torchmemlint.faces.mending import uncovers
from torchmemlint.fix import ON_REQUEST, apply
from torchmemlint.fix_rounds import fix_until_quiet
from torchmemlint.model import Confidence, Finding
from torchmemlint.rule import BAD_FILE, INTERNAL_ERROR, load_rules
from torchmemlint.source import Source

TRIES = int(os.environ.get("TORCHMEMLINT_FUZZ", "0"))
RULES = [rule for rule in load_rules() if rule.default]
BAIT = "\nimport torch  # " + " ".join(sorted({word for rule in RULES for word in rule.words})) + "\n"
FIXTURES = [data.decode() for case in all_cases() for data in case.files.values()]


def tried(few: int) -> settings:
    return settings(
        max_examples=TRIES or few,
        derandomize=not TRIES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def findings(text: str, name: str = "a.py") -> list[Finding]:
    """All findings of a text beside a file that it imports from, at any confidence; ours to fail on."""
    found = [one for one in lint_files({name: text.encode(), "other.py": OTHER.encode()}, RULES) if one.path == name]
    failed = [one.message for one in found if one.code == INTERNAL_ERROR]
    assert not failed, f"{failed}\n{text}"
    if any(one.code == BAD_FILE for one in found):
        assert not reads(text), f"{found[0].message}\n{text}"
    return found


def reads(text: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(text)
        except (SyntaxError, ValueError):
            return False
    return True


def plain(found: Iterable[Finding]) -> list[object]:
    return [(one.code, one.span, one.message, one.confidence, one.why, one.fix, one.fingerprint) for one in found]


def places(found: Iterable[Finding]) -> list[object]:
    return [(one.code, one.span, one.message, one.confidence) for one in found]


@tried(80)
@given(programs())
def test_made_up_programs(text: str) -> None:
    """No failure, no file that Python reads refused, the same on a repeat and with other line ends."""
    found = findings(text)
    assert plain(findings(text)) == plain(found)
    if "'''" not in text:  # a finding's text may hold the line ends inside a string
        assert places(findings(text.replace("\n", "\r\n"))) == places(found)


@tried(80)
@given(slips(programs()))
def test_damaged_programs(text: str) -> None:
    findings(text)


@tried(80)
@given(slips(st.sampled_from(FIXTURES)))
def test_damaged_fixtures(text: str) -> None:
    found = findings(text)
    assert plain(findings(text)) == plain(found)


def sound_fixes(text: str) -> int:
    """Each fix alone parses, changes only what it says, and cures; all together end. How many there were."""
    files = {"a.py": text.encode(), "other.py": OTHER.encode()}
    found = findings(text)
    before = keys(files, found)
    offered = [one for one in found if one.fix and one.confidence.rank >= Confidence.MEDIUM.rank]
    for one in offered:
        assert one.fix
        result = apply(Source("a.py", files["a.py"]), [one.fix])
        if not result.applied:
            assert result.refused and result.data == files["a.py"]
            continue
        new = result.data.decode()
        assert new == spliced(text, one.fix.edits), one
        assert reads(new), f"{one}\n{new}"
        after = keys({"a.py": result.data}, findings(new))
        mine = key(files, one)
        if text.count(Source("a.py", files["a.py"]).slice(one.span)) > 1:  # what it stood in for may come forward
            continue
        assert after[mine] < before[mine], f"still there after {one.fix}\n{text}\n=====\n{new}"
    return len(offered)


def settles(text: str) -> None:
    """All safe and unsafe fixes come to an end, and nothing is left to do when they are asked for again."""

    def ours(source: Source) -> list[Finding]:
        return [one for one in findings(source.data.decode()) if one.confidence.rank >= Confidence.MEDIUM.rank]

    done = fix_until_quiet(Source("a.py", text.encode()), ours, ON_REQUEST, uncovers=uncovers)
    assert not done.refused, f"{done.refused}\n{text}\n=====\n{done.data.decode()}"
    assert reads(done.data.decode())
    again = fix_until_quiet(Source("a.py", done.data), ours, ON_REQUEST, uncovers=uncovers)
    assert again.data == done.data and not again.fixed


GRAD_ON_AGAIN = """with torch.enable_grad():
    x = '''
in a string'''; losses.append(model(x))
"""


@tried(60)
@example(HEAD + GRAD_ON_AGAIN)
@given(programs().filter(reads))
def test_fixes_of_made_up_programs(text: str) -> None:
    sound_fixes(text)
    settles(text)


@tried(40)
@given(slips(st.sampled_from(FIXTURES)).filter(reads))
def test_fixes_of_damaged_fixtures(text: str) -> None:
    sound_fixes(text)
    settles(text)


@tried(10)
@given(st.lists(st.one_of(programs(), slips(programs())), min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_files_does_not_matter(texts: list[str], luck: random.Random) -> None:
    from cases import MemoryFiles
    from torchmemlint.facts.project import Project

    files = {f"m{n}.py": text.encode() for n, text in enumerate(texts)} | {"other.py": OTHER.encode()}
    order = list(files)
    answers = []
    for _ in range(2):
        project = Project(MemoryFiles(files))
        by_file = {name: plain(lint_source(Source(name, files[name]), RULES, project)) for name in order}
        answers.append([by_file[name] for name in sorted(files)])
        luck.shuffle(order)
    assert answers[0] == answers[1]


# ---- files ----------------------------------------------------------------------------------------


def sampled(folders: Iterable[Path], few: int) -> list[Path]:
    luck = random.Random(None if TRIES else 4)
    paths = sorted(path for folder in folders for path in folder.rglob("*.py") if path.stat().st_size < 200_000)
    return luck.sample(paths, min(TRIES or few, len(paths)))


def thinned(text: str, luck: random.Random) -> str:
    """The text without some of its lines."""
    lines = text.splitlines(keepends=True)
    gone = {luck.randrange(len(lines)) for _ in range(luck.randint(1, 5))} if lines else set()
    return "".join(line for number, line in enumerate(lines) if number not in gone)


def real_files() -> list[Path]:
    folders = [Path(sysconfig.get_paths()["stdlib"])]
    few = sampled(folders, 25)
    site = Path(sysconfig.get_paths()["purelib"])
    for package in ("torch", "torchvision", "libcst", "_pytest"):
        if (site / package).is_dir():
            few += sampled([site / package], 25)
    return few


def test_real_files_whole_and_with_lines_missing() -> None:
    """The standard library and what is installed: not written for torch, so every rule is made to look."""
    luck = random.Random(None if TRIES else 4)
    counts: Counter[str] = Counter()
    for path in real_files():
        try:
            text = path.read_text("utf-8") + BAIT
        except UnicodeDecodeError:
            continue
        for version in (text, thinned(text, luck)):
            try:
                found = findings(version)
                if reads(version):
                    counts["fixes"] += sound_fixes(version)
            except Exception as error:
                raise AssertionError(f"{path}: {error}"[:4_000]) from error
            counts["programs"] += 1
            counts.update(one.code for one in found)
    assert counts["programs"] > 40
    print(f"\n{dict(counts)}", file=sys.stderr)


def test_the_number_of_processes_and_the_order_do_not_matter(tmp_path: Path) -> None:
    texts: list[str] = [*FIXTURES[:60], OTHER]
    luck = random.Random(5)
    for number, text in enumerate(texts):
        (tmp_path / f"m{number}.py").write_text(text if number % 2 else thinned(HEAD + text, luck))
    names = [f"m{number}.py" for number in range(len(texts))]
    answers = []
    for jobs in ("1", "2"):
        rows = lint_json(*ISOLATED, "--min-confidence", "low", "--jobs", jobs, *names, cwd=tmp_path, stand_ins=False)
        answers.append(sorted(rows, key=json.dumps))
        luck.shuffle(names)
    assert answers[0] == answers[1]
    assert len(answers[0]) > 50 and not any(row["code"] == INTERNAL_ERROR for row in answers[0])
    assert lint(*ISOLATED, *names, cwd=tmp_path, stand_ins=False).returncode == 1


@pytest.mark.parametrize("text", [HEAD, OTHER, HEAD + OTHER])
def test_the_pieces_are_read(text: str) -> None:
    assert reads(text) and findings(HEAD) is not None
