"""Whether code is a test of the linted project, by what pytest and unittest collect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchmemlint.facts.structure import Function

if TYPE_CHECKING:
    from torchmemlint.facts.file_facts import FileFacts

TEST_FOLDERS = frozenset({"tests", "testing", "unittests", "unit_tests"})


def is_test(facts: FileFacts, function: Function) -> bool:
    """A test's function or its helper: tests run once, on small tensors."""
    parts = facts.relative.split("/")
    if TEST_FOLDERS & set(parts[:-1]) or parts[-1] == "conftest.py":
        return True
    scope: Function | None = function
    while scope is not None:
        if scope.owner is not None and facts.derives(scope.owner, "unittest.TestCase"):
            return True
        scope = scope.outer
    collected = parts[-1].startswith("test_") or parts[-1].endswith("_test.py")
    return collected and any(f.name.startswith("test") for f in facts.structure.functions if f.outer is not None and f.outer.is_module)
