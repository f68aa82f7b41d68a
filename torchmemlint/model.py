"""Plain values that every other room speaks in: spans, edits, fixes, findings, claimed effects.

May not import anything of ours, read files or print.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Severity(enum.Enum):
    """What happens if the finding ships."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"

    @property
    def rank(self) -> int:
        return {"info": 0, "warning": 1, "error": 2}[self.value]


class Confidence(enum.Enum):
    """How sure the analysis is that the finding is true."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"

    @property
    def rank(self) -> int:
        return {"low": 0, "medium": 1, "high": 2}[self.value]


class Applicability(enum.Enum):
    """Who may apply a fix.

    SAFE keeps every number the program computes, only memory or lifetime changes. UNSAFE may change
    what the program computes and is applied when asked for. PROOF is never applied to a user's file:
    it is the counterfactual that the runtime verifier runs where no sensible automatic fix exists.
    """

    SAFE = "safe"
    UNSAFE = "unsafe"
    PROOF = "proof"


class Metric(enum.Enum):
    """What the verifier can read; a rule's effect names one of these."""

    PEAK_BYTES = "peak bytes"
    RETAINED_BYTES = "retained bytes"
    RESERVED_BYTES_RETURNED = "reserved bytes returned"
    GROWTH_BYTES = "device bytes per iteration"
    HOST_GROWTH_BYTES = "host bytes per iteration"
    LIVE_GRAPH_NODES = "live graph nodes per iteration"
    TIME_MS = "milliseconds per iteration"
    DEVICE_ALLOCATIONS = "device allocations per iteration"
    HOST_SYNCS = "host syncs per iteration"


class Direction(enum.Enum):
    """What the code as written does to the metric, compared with the fixed code."""

    HIGHER = "higher"
    LOWER = "lower"


class Scene(enum.Enum):
    """What has to happen around the flagged code for its effect to show."""

    STEPS = "steps"  # it runs step after step
    OUT_OF_MEMORY = "out of memory"  # the work of the `try` statement around or before it runs out of memory


@dataclass(frozen=True)
class Effect:
    """A rule's measurable promise: the original is `direction` than the fixed code by at least `least`.

    `least` is in the unit of the metric (bytes, ms, count) unless `relative`, then a fraction of the
    fixed code's reading. `also` names further metrics that may prove the claim instead, `scene` what must happen.
    """

    metric: Metric
    direction: Direction = Direction.HIGHER
    least: float = 0.0
    relative: bool = False
    also: tuple[Metric, ...] = ()
    scene: Scene = Scene.STEPS

    @property
    def words(self) -> str:
        """The promise as a sentence."""
        direction = "higher" if self.direction is Direction.HIGHER else "lower"
        least = f", by at least {self._amount}" if self.least else ""
        also = f"; or {' or '.join(metric.value for metric in self.also)}" if self.also else ""
        return f"{self.metric.value} {direction} than in the fixed code{least}{also}"

    @property
    def _amount(self) -> str:
        if self.relative:
            return f"{self.least:.0%}"
        if self.metric is Metric.TIME_MS:
            return f"{self.least:g} ms"
        if "bytes" in self.metric.value:
            return f"{self.least / 2**20:g} MiB" if self.least >= 2**20 else f"{self.least:g} bytes"
        return f"{self.least:g}"


@dataclass(frozen=True, order=True)
class Position:
    """A place in a text: `line` counts from 1, `column` counts code points from 0."""

    line: int
    column: int


@dataclass(frozen=True, order=True)
class Span:
    """A half-open stretch of text."""

    start: Position
    end: Position


@dataclass(frozen=True, order=True)
class Edit:
    """Replace the text of `span` by `text`; in a notebook `span` counts within `cell`."""

    span: Span
    text: str
    cell: int | None = None


@dataclass(frozen=True)
class Fix:
    """One change to a file, as edits to its text that do not overlap."""

    title: str
    applicability: Applicability
    edits: tuple[Edit, ...]


@dataclass(frozen=True)
class Why:
    """One step of the chain of reasons behind a finding, with its place; `cell` and `stored` as in a finding."""

    message: str
    path: str
    span: Span
    cell: int | None = None
    stored: Span | None = None

    @property
    def in_file(self) -> Span:
        """Where the step stands in the file as it is on disk."""
        return self.stored or self.span

    @property
    def where(self) -> str:
        """The place as people read and click it."""
        return where(self.path, self.cell, self.span.start)


@dataclass(frozen=True)
class Finding:
    """One finding. `path` is as the caller named the file; `symbol` the enclosing function's dotted name.

    In a notebook `span` counts within `cell` (from 1, over all cells), and `stored` is the same place in the
    notebook's JSON; `stored` is None where the file is the text itself.
    """

    path: str
    span: Span
    code: str
    name: str
    severity: Severity
    confidence: Confidence
    message: str
    why: tuple[Why, ...] = ()
    symbol: str = ""
    fix: Fix | None = None
    cell: int | None = None
    stored: Span | None = None
    fingerprint: str = ""

    @property
    def in_file(self) -> Span:
        """Where the finding stands in the file as it is on disk."""
        return self.stored or self.span

    @property
    def where(self) -> str:
        """The place as people read and click it."""
        return where(self.path, self.cell, self.span.start)

    @property
    def order(self) -> tuple[str, int, Position, str, Position, str]:
        """Findings are sorted by path, place and code."""
        return (self.path, self.cell or 0, self.span.start, self.code, self.span.end, self.message)


def where(path: str, cell: int | None, place: Position) -> str:
    """A place in a file as every linter writes it: columns count from 1; cells of a notebook are named as ruff does."""
    inside = f"{path}:cell {cell}" if cell is not None else path
    return f"{inside}:{place.line}:{place.column + 1}"
