"""Findings that no plain edit cures still have a fix for the verifier: it cures them and stays Python."""

from __future__ import annotations

import ast
import textwrap

import pytest

from cases import lint_files
from torchmemlint.fix import apply
from torchmemlint.model import Applicability, Finding
from torchmemlint.rule import load_rules
from torchmemlint.source import Source

HEAD = """
import gc
import torch
from torch import nn
from torch.utils.data import DataLoader
"""

TML101_IN_AN_EXPRESSION = """
def fit(model, data, optimizer):
    for x, y in DataLoader(data):
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        print(torch.cuda.empty_cache())
"""

TML101_IN_A_STEP_THAT_WORKS = """
def step(model, x, y, optimizer):
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
    torch.cuda.empty_cache()


def fit(model, data, optimizer):
    for x, y in DataLoader(data):
        step(model, x, y, optimizer)
"""

TML103_IN_AN_EXPRESSION = """
def fit(model, data, optimizer):
    for x, y in DataLoader(data):
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        found = gc.collect() + 1
"""

TML104_WITH_FINALLY = """
def fit(model, batches, optimizer):
    for batch in batches:
        try:
            loss = model(batch).mean()
            loss.backward()
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
        finally:
            optimizer.zero_grad()
"""

TML104_ON_ONE_LINE = """
def fit(model, batches):
    for batch in batches:
        try: model(batch).mean().backward()
        except torch.cuda.OutOfMemoryError: torch.cuda.empty_cache()
"""

TML201_TWO_AT_ONCE = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 4)

    def forward(self, x):
        y, self.state = self.lstm(x); return y
"""

TML201_HANDED_ON = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.Linear(4, 4)
        self.state = None

    def forward(self, x):
        self.state = self.cell(x + self.state)
        return self.state.sum()
"""

TML202_HANDLE_KEPT = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 4)
        self.handles = []

    def forward(self, x):
        self.handles.append(self.head.register_forward_hook(print))
        return self.head(x)
"""

TML202_STEPWISE = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 4)

    def forward(self, x):
        self.handle = self.head.register_forward_hook(print)
        return self.head(x)
"""

TML202_GENERATOR = """
def fit(model, data, optimizer):
    kept = []
    for x, y in DataLoader(data):
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        kept.append(loss * factor for factor in (1, 2))
    return kept
"""

TML202_LAMBDA = """
def fit(model, data, optimizer):
    kept = []
    for x, y in DataLoader(data):
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        kept.append(lambda *factors: [loss * factor for factor in factors])
    return kept
"""

TML202_FUNCTION = """
def fit(model, data, optimizer):
    kept = []
    for x, y in DataLoader(data):
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()

        def scaled(*factors, sign=1, **rest):
            return [sign * loss * factor for factor in factors]

        kept.append(scaled)
    return kept
"""

TML202_FUNCTION_OF_THE_REST = """
def fit(model, data, optimizer):
    kept = []
    for x, y in DataLoader(data):
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()

        def scaled(**rest):
            return loss * rest["factor"]

        kept.append(scaled)
    return kept
"""

TML204_STRUCTURE = """
def fit(model, data, optimizer):
    kept = []
    for x, y in DataLoader(data):
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        kept.append({"loss": loss})
    return kept
"""

TML301_NO_STATEMENT_TO_WRAP = """
def predict(model: nn.Module, x): model.eval(); return model(x).argmax(1).tolist()
"""

PROOFS = {name: value for name, value in globals().items() if name.startswith("TML") and isinstance(value, str)}


def found(name: str) -> tuple[str, list[Finding]]:
    text = HEAD + PROOFS[name]
    rules = [rule for rule in load_rules() if rule.code == name[:6]]
    return text, lint_files({"mine.py": text.encode()}, rules)


@pytest.mark.parametrize("name", PROOFS)
def test_what_has_no_plain_fix_has_a_proof(name: str) -> None:
    text, findings = found(name)
    assert len(findings) == 1, findings
    fix = findings[0].fix
    assert fix is not None and fix.applicability is Applicability.PROOF
    result = apply(Source("mine.py", text.encode()), [fix])
    assert result.applied, result.refused
    ast.parse(result.data)
    rules = [rule for rule in load_rules() if rule.code == name[:6]]
    assert not lint_files({"mine.py": result.data}, rules), result.data.decode()


def test_a_step_that_works_keeps_its_work() -> None:
    """Only the call that it leads to goes: without the step itself there would be nothing to compare."""
    text, (finding,) = found("TML101_IN_A_STEP_THAT_WORKS")
    assert finding.fix is not None
    after = apply(Source("mine.py", text.encode()), [finding.fix]).data.decode()
    assert after == text.replace("    torch.cuda.empty_cache()\n", "")


def test_what_the_next_step_begins_with_is_not_emptied() -> None:
    text, (finding,) = found("TML201_HANDED_ON")
    assert finding.fix is not None
    after = apply(Source("mine.py", text.encode()), [finding.fix]).data.decode()
    assert "self.state = None" in text and after.count("self.state = None") == 1


def test_texts_hold_for_any_value() -> None:
    """The lambda that detaches lets pass what is no tensor."""
    _, (finding,) = found("TML204_STRUCTURE")
    assert finding.fix is not None
    (edit,) = finding.fix.edits
    call = ast.parse(textwrap.dedent(edit.text), mode="eval").body
    assert isinstance(call, ast.Call) and isinstance(call.args[0], ast.Lambda)
    mapping = eval(compile(ast.Expression(call.args[0]), "fix", "eval"))
    assert mapping(3) == 3
