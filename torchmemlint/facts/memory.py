"""What has been worked out in one session: a table for each question, owned by whoever answers it.

A module declares its `Table` beside the question and asks the session's `Memory` for it, so that neither
the project nor a file's facts know which questions exist.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Table(Generic[K, V]):
    """The name of one table, with the types of what it maps."""


class Memory:
    """The tables of one session."""

    def __init__(self) -> None:
        self._tables: dict[Table[Any, Any], dict[Any, Any]] = {}

    def table(self, name: Table[K, V]) -> dict[K, V]:
        """The answers to one question so far; the asker adds to it."""
        return self._tables.setdefault(name, {})
