"""What a path must be, from how it is used."""

from __future__ import annotations

from itertools import permutations

import pytest

from cases import MemoryFiles
from torchmemlint.facts.evidence import MODULE_METHODS, evidence
from torchmemlint.facts.project import Project
from torchmemlint.facts.values import Kind


@pytest.mark.parametrize("methods", list(permutations(sorted(MODULE_METHODS), 2)), ids=" ".join)
def test_the_reason_is_the_first_call(methods: tuple[str, str]) -> None:
    """Not the first of a set: Python orders those anew in each process."""
    text = "def f(net):\n" + "".join(f"    net.{method}()\n" for method in methods)
    facts = Project(MemoryFiles({"a.py": text.encode()})).facts("a.py")
    assert facts is not None
    (function,) = (one for one in facts.structure.functions if one.name == "f")
    value = evidence(facts, function)["net"]
    assert value.kind is Kind.MODULE
    assert [getattr(reason.node, "lineno", 0) for reason in value.why] == [2]
