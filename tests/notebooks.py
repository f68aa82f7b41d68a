"""Notebooks for tests, written as Jupyter writes them. Knows no rules and asserts nothing."""

from __future__ import annotations

import json
from typing import Any

PYTHON = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}


def cell(source: str, kind: str = "code", **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"cell_type": kind, "metadata": {}, "source": source.splitlines(keepends=True)}
    if kind == "code":
        made |= {"execution_count": 3, "outputs": [{"name": "stdout", "output_type": "stream", "text": ["0.5 \n"]}]}
    return made | more


def notebook(*cells: str | dict[str, Any], metadata: dict[str, Any] | None = None, **style: Any) -> str:
    """The text of a notebook; strings are code cells."""
    rows = [cell(one) if isinstance(one, str) else one for one in cells]
    whole = {"cells": rows, "metadata": PYTHON if metadata is None else metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, **({"indent": 1, "ensure_ascii": False} | style)) + "\n"
