"""JSON that strict readers take: no half of a surrogate pair, which stands for a byte of a name that is no text."""

from __future__ import annotations

import json
import re
from typing import Any

_HALVES = re.compile("[\ud800-\udfff]")


def strict_json(value: Any) -> str:
    """The text of a report, ASCII only."""
    return json.dumps(_whole(value), indent=2) + "\n"


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return _HALVES.sub("\ufffd", value)
    if isinstance(value, dict):
        return {key: _whole(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return value
