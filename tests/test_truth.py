"""The generator of verifier cases of known truth: what it makes of good code, what it leaves alone, the score."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from made_records import MIB, record
from made_records import trial as made_trial
from runtime_verify.case import from_json
from torchmemlint.fix import apply
from torchmemlint.model import Applicability, Fix
from torchmemlint.source import Source
from truth.code import Code
from truth.mutate import Mutant, chosen, edits_between, found, labelled, mutations
from truth.mutation import Mutation, Truth, changed
from truth.run import trial_as_json, trial_from_json
from truth.score import judged, report

TRAIN = """
import torch
from torchvision import resnet


@torch.no_grad()
def check(model, loader):
    model.eval()
    for x in loader:
        y = model(x)


def evaluate(model, loader, criterion):
    total = 0.0
    with torch.no_grad():
        for x, y in loader:
            loss = criterion(model(x), y)
            total += loss.item()
    return total


def train(model, loader, criterion, optimizer):
    model.train()
    seen = 0
    total = 0.0
    history = []
    for x, y in loader:
        x = x.cuda()
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(x)
        history.append(loss.detach())
    torch.cuda.synchronize()
    return total, history
"""
FORWARD = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.again = nn.LSTM(4, 4)

    def forward(self, x):
        h = self.first(x)
        return torch.relu(h)
"""
EMPTY = """
import torch


def clear(x):
    torch.cuda.empty_cache()
"""


def made(text: str) -> dict[str, Mutation]:
    """The mutations of a text by kind."""
    return {one.kind: one for one in mutations(Code("train.py", text))}


def written(text: str, kind: str) -> list[str]:
    """The lines that are new in the text as written."""
    lines = text.split("\n")
    return [line.strip() for line in changed(lines, made(text)[kind].changes) if line not in lines]


@pytest.mark.parametrize(
    ("text", "kind", "rule", "lines"),
    [
        (TRAIN, "sum-graph", "TML302", ["total += loss * len(x)"]),
        (TRAIN, "append-graph", "TML204", ["history.append(loss)"]),
        (TRAIN, "grad-on-with", "TML301", ["with torch.enable_grad():"]),
        (TRAIN, "grad-on-decorator", "TML301", ["@torch.enable_grad()"]),
        (TRAIN, "empty-cache-each-step", "TML101", ["torch.cuda.empty_cache()"]),
        (TRAIN, "collect-each-step", "TML103", ["import gc", "gc.collect()"]),
        (
            TRAIN,
            "hook-appends-output",
            "TML202",
            [
                "kept_for_test = []",
                "model.register_forward_hook(lambda module, args, output: kept_for_test.append(output))",
            ],
        ),
        (FORWARD, "held-in-attribute", "TML201", ["self.kept_for_test = h"]),
        (EMPTY, "emptied-twice", "TML102", []),
    ],
)
def test_harmful(text: str, kind: str, rule: str, lines: list[str]) -> None:
    one = made(text)[kind]
    assert (one.truth, one.code) == (Truth.HARMFUL, rule)
    assert written(text, kind) == lines


@pytest.mark.parametrize(
    ("text", "kind", "rule", "lines"),
    [
        (TRAIN, "number-twice", "TML302", ["total += float(loss.item()) * len(x)"]),
        (TRAIN, "detached-twice", "TML204", ["history.append(loss.detach().detach())"]),
        (TRAIN, "sum-spelled-out", "TML302", ["total = total + (loss.item() * len(x))"]),
        (TRAIN, "sum-without-graph", "TML302", ["total += loss"]),
        (TRAIN, "grad-off-twice", "TML301", ["with torch.no_grad(), torch.no_grad():"]),
        (TRAIN, "nothing-for-emptying", "TML101", ["_ = 0"]),
        (TRAIN, "nothing-for-grad", "TML301", ["_ = 0"]),
        (TRAIN, "nothing-for-sum", "TML204", ["_ = 0"]),
        (TRAIN, "emptied-after-loop", "TML101", ["torch.cuda.empty_cache()"]),
        (TRAIN, "collected-after-loop", "TML103", ["import gc", "gc.collect()"]),
        (TRAIN, "hook-keeps-nothing", "TML202", ["model.register_forward_hook(lambda module, args, output: None)"]),
        (FORWARD, "shape-in-attribute", "TML201", ["self.kept_for_test = h.shape"]),
        (EMPTY, "emptied-after-release", "TML102", ["torch.zeros(2**24, device='cuda')"]),
    ],
)
def test_harmless(text: str, kind: str, rule: str, lines: list[str]) -> None:
    one = made(text)[kind]
    assert (one.truth, one.code) == (Truth.HARMLESS, rule)
    assert written(text, kind) == lines


def test_renamed_everywhere() -> None:
    lines = "\n".join(changed(TRAIN.split("\n"), made(TRAIN)["local-renamed"].changes))
    assert lines.count("history_renamed") == 3
    assert "return total, history_renamed" in lines


def test_swapped() -> None:
    lines = changed(TRAIN.split("\n"), made(TRAIN)["assignments-swapped"].changes)
    at = lines.index("    seen = 0")
    assert lines[at - 1] == "    total = 0.0"


@pytest.mark.parametrize(
    ("old", "new", "kinds"),
    [
        ("loss.backward()", "other.backward()", ["sum-graph", "append-graph", "number-twice"]),
        ("        optimizer.step()", "        loss = loss.detach()", ["sum-graph", "append-graph"]),
        ("        optimizer.step()", "        total = 0.0", ["sum-graph"]),
        ("        optimizer.step()", "        other += loss", ["sum-graph", "append-graph"]),
        ("        optimizer.step()", "        other = other + loss", ["sum-graph", "append-graph"]),
        ("        optimizer.step()", "        log['loss'] = loss", ["sum-graph", "append-graph"]),
        ("        optimizer.step()", "        meter.update(loss, 3)", ["sum-graph", "append-graph"]),
        ("    total = 0.0\n    history", "    total = start()\n    history", ["sum-graph"]),
        ("        optimizer.step()", "        print(history[-1].sum(), np.mean(history))", ["append-graph"]),
        ("for x, y in loader:\n        x = x", "for x, y in [(1, 2), (3, 4)]:\n        x = x", ["sum-graph"]),
        ("x = x.cuda()", "if x is None:\n            continue", ["empty-cache-each-step", "collect-each-step"]),
        ("loss.backward()", "other(loss)", ["grad-on-with", "grad-on-decorator", "hook-appends-output"]),
        ("import torch\n", "import torch\nmodel.requires_grad_(False)\n", ["grad-on-with", "grad-on-decorator"]),
        ("resnet", "mlp", ["grad-on-with", "empty-cache-each-step"]),
        ("    model.train()", "    model = wrap(model)", ["hook-appends-output"]),
        ("@torch.no_grad()", "@torch.jit.script", ["grad-on-decorator"]),
    ],
)
def test_nothing_uncertain(old: str, new: str, kinds: list[str]) -> None:
    """Each condition that the truth rests on, taken away."""
    assert old in TRAIN
    assert set(kinds) <= set(made(TRAIN))
    assert not set(kinds) & set(made(TRAIN.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("self.first = nn.Linear(4, 4)", "self.first = build()"),
        ("h = self.first(x)", "h = self.again(x)"),
        ("h = self.first(x)", "h = self.first(x)\n        if h is None:\n            return x"),
        ("h = self.first(x)", "h = self.first(x)\n        h = h.detach()"),
        ("super().__init__()", "super().__init__()\n        self.requires_grad_(False)"),
    ],
)
def test_nothing_uncertain_in_forward(old: str, new: str) -> None:
    assert "held-in-attribute" not in made(FORWARD.replace(old, new))


def test_functions_named_like_models_are_none() -> None:
    text = TRAIN.replace("model(x)", "load_model(x)") + "\n\ndef load_model(x):\n    pass\n"
    assert not {"empty-cache-each-step", "grad-on-with", "nothing-for-grad"} & set(made(text))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository whose folder is named as those of the benchmark are."""
    root = tmp_path / "owner+name@0123456789ab"
    (root / "pkg").mkdir(parents=True)
    (root / "pyproject.toml").write_text("[project]\nname = 'pkg'\n")
    (root / "pkg" / "__init__.py").write_text("")
    (root / "pkg" / "train.py").write_text(TRAIN)
    (root / "pkg" / "net.py").write_text(FORWARD)
    (root / "pkg" / "test_train.py").write_text(TRAIN)
    return root


def test_found_in_a_repository(tree: Path) -> None:
    mutants = list(found(str(tree), 10, 0))
    assert {one.repository for one in mutants} == {"owner/name"}
    assert {one.path for one in mutants} == {"pkg/train.py", "pkg/net.py"}


def test_sample_is_the_same_and_balanced(tree: Path) -> None:
    mutants = [
        Mutant(f"owner/{name}", str(tree), f"{file}.py", Mutation(kind, Truth.HARMFUL, "TML302", (), line))
        for name in "abc"
        for file in "xy"
        for kind in ("one", "two")
        for line in range(1, 9)
    ]
    sample = chosen(mutants, per_repository=3, per_kind=7, seed=1)
    assert sample == chosen(mutants[::-1], per_repository=3, per_kind=7, seed=1)
    assert sample != chosen(mutants, per_repository=3, per_kind=7, seed=2)
    for kind in ("one", "two"):
        homes = [one.repository for one in sample if one.mutation.kind == kind]
        assert len(homes) == 7
        assert sorted(homes.count(home) for home in set(homes)) == [2, 2, 3]


def cases(tree: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    monkeypatch.chdir(tree)
    problems: Counter[str] = Counter()
    result = list(labelled(found(str(tree), 10, 0), problems))
    assert not problems
    return result


def test_cases(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = cases(tree, monkeypatch)
    assert json.loads(json.dumps(result)) == result
    by_kind = {one["kind"]: from_json(one["case"]) for one in result}  # type: ignore[arg-type]
    one = by_kind["sum-graph"]
    first = one.original.modules[0]
    assert (first.name, first.path, one.original.function) == ("pkg.train", "pkg/train.py", "train")
    assert first.text.split("\n")[one.original.mark - 1].strip() == "total += loss * len(x)"
    assert one.fixed.modules[0].text.split("\n")[one.fixed.mark - 1].strip() == "total += loss.item() * len(x)"
    assert one.fixed.kept
    emptied = by_kind["empty-cache-each-step"]
    text = emptied.original.modules[0].text.split("\n")
    assert text[emptied.original.mark - 1].strip() == "torch.cuda.empty_cache()"
    assert not emptied.fixed.kept
    grad = by_kind["grad-on-with"]
    assert grad.original.mark == grad.fixed.mark
    assert "model(x)" in grad.original.modules[0].text.split("\n")[grad.original.mark - 1]


def test_score(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mutants = [one for one in cases(tree, monkeypatch) if one["kind"] in ("sum-graph", "number-twice")]
    assert len(mutants) == 2
    grows = made_trial([record(nodes=lambda n: 3 * n, allocated=MIB)] * 2, [record(nodes=0, allocated=MIB)] * 2)
    again = trial_from_json(json.loads(json.dumps(trial_as_json(grows))))
    assert again == grows
    results = [{"key": one["case"]["key"], "trial": trial_as_json(grows)} for one in mutants]  # type: ignore[index]
    verdicts = judged(mutants, results)
    assert [one.wrong for one in verdicts] == [one["truth"] == "harmless" for one in mutants]
    said = report(verdicts)
    assert "wrong: 1 of 2 decided (50.0 %)" in said
    assert "WRONG harmless TML302 number-twice owner/name pkg/train.py" in said


@pytest.mark.parametrize("kind", sorted(made(TRAIN)))
def test_edits_lead_back(kind: str) -> None:
    """From the text as written to the good one, as the edits of a fix would."""
    one = made(TRAIN)[kind]
    good = TRAIN.split("\n")
    bad = changed(good, one.changes)
    assert bad != good
    fix = Fix("the good code", Applicability.PROOF, tuple(edits_between(bad, good)))
    assert apply(Source("train.py", "\n".join(bad).encode()), [fix]).data.decode() == TRAIN
