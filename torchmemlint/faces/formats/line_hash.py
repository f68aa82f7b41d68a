"""`primaryLocationLineHash`: GitHub's name for a line of a file, as its upload action makes it.

Files are read as UTF-16 units without blanks and tabs, any line end as LF, one unit 0xFFFF behind the end
and zeros from there on. A line's hash is that of the hundred units from its start, with a count of the
lines up to it that have the same hash. The action warns where a report brings another value.
"""

from __future__ import annotations

import re
import sys
from array import array
from collections import Counter

WINDOW = 100
BASE = 37
MASK = 2**64 - 1
END = 0xFFFF
_LEAVING = pow(BASE, WINDOW, 2**64)
_LINE_END = re.compile(r"\r\n?")


def line_hashes(text: str) -> list[str]:
    """The hash of each line of a text."""
    kept = _LINE_END.sub("\n", text).replace(" ", "").replace("\t", "")
    units = array("H", kept.encode(f"utf-16-{sys.byteorder[0]}e", "surrogatepass"))
    starts = {0} | {n + 1 for n, unit in enumerate(units) if unit == 10}
    units.append(END)
    units.extend([0] * WINDOW)
    seen: Counter[int] = Counter()
    hashes = []
    value = 0
    for n, unit in enumerate(units):
        if n - WINDOW in starts:
            seen[value] += 1
            hashes.append(f"{value:x}:{seen[value]}")
        left = units[n - WINDOW] if n >= WINDOW else 0
        value = (BASE * value + unit - _LEAVING * left) & MASK
    return hashes
