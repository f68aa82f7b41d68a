"""What judging comes to, as plain values that are JSON and back."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


class Kind(str, enum.Enum):
    """Whether the effect that the rule claims is real on this code."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    INCONCLUSIVE = "inconclusive"


class Tier(str, enum.Enum):
    """How close to the user's program the run was. T4 is never decisive."""

    T0 = "T0"  # the user's own entry point
    T1 = "T1"  # real objects: nothing on the flagged statement's data slice is stood in for
    T2 = "T2"  # stand-ins, no operation of which had to be replaced
    T3 = "T3"  # operations were replaced, none of them on the slice
    T4 = "T4"  # an operation on the slice was replaced


class Reason(str, enum.Enum):
    """Why a verdict is what it is; `runtime_verify.wording` has a sentence for each."""

    EFFECT_SHOWN = "effect_shown"
    ORIGINAL_OUT_OF_MEMORY = "original_out_of_memory"
    NOTHING_RETURNED = "nothing_returned"

    NO_EFFECT = "no_effect"
    OPPOSITE = "opposite"
    MEMORY_RETURNED = "memory_returned"
    NO_GRAPH = "no_graph"  # refuted on real objects, inconclusive on stand-ins

    UNPLANNED = "unplanned"
    NEEDS_CUDA = "needs_cuda"
    NOT_RUN = "not_run"
    NOT_REACHED = "not_reached"
    TOO_FEW_PASSES = "too_few_passes"
    RAISED = "raised"
    EXITED = "exited"
    OOM_BOTH = "oom_both"
    TIMEOUT = "timeout"
    HOST_MEMORY = "host_memory"
    CRASH = "crash"
    OUTPUT = "output"
    HARNESS = "harness"
    FIX_UNSAFE = "fix_unsafe"
    DIVERGED = "diverged"
    FALLBACK_ON_SLICE = "fallback_on_slice"
    NOT_READ = "not_read"
    AA_UNSTABLE = "aa_unstable"
    CI_STRADDLES = "ci_straddles"
    TOO_FEW_PAIRS = "too_few_pairs"
    BELOW_THRESHOLD = "below_threshold"
    DOES_NOT_SCALE = "does_not_scale"
    NOTHING_TO_RETURN = "nothing_to_return"


class Answer(str, enum.Enum):
    """Yes, no, or not known."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Unit(str, enum.Enum):
    """What a figure counts."""

    BYTES = "bytes"
    MS = "ms"
    COUNT = "count"


@dataclass(frozen=True)
class FixSafe:
    """Whether losses, gradients and parameters come out the same with the fix, and why that is believed."""

    answer: Answer = Answer.UNKNOWN
    why: str = "nothing to compare"


@dataclass(frozen=True)
class Measured:
    """One figure of both variants.

    metric     name of the figure, as `runtime_verify.figures` calls it.
    original, fixed  medians over the runs, in `unit`.
    delta      median over the pairs of runs of original minus fixed.
    spread     largest minus smallest over the runs of the original (A/A).
    threshold  least size of the difference that counts, in `unit`.
    claimed    whether the rule's effect is about it; others are costs and benefits at the side.
    decisive   whether the verdict rests on it.
    low, high  for time: interval of original over fixed. p: one-sided, of the signed ranks.
    """

    metric: str
    unit: Unit
    original: float
    fixed: float
    delta: float
    spread: float
    threshold: float
    claimed: bool = False
    decisive: bool = False
    low: float | None = None
    high: float | None = None
    p: float | None = None

    @property
    def moved(self) -> bool:
        """The two variants differ by more than the threshold."""
        return abs(self.delta) >= self.threshold


@dataclass(frozen=True)
class Scaling:
    """The deciding difference at two sizes of the stand-in values; `how` is grows, constant or shrinks."""

    metric: str
    small: int
    large: int
    delta_small: float
    delta_large: float
    how: str


@dataclass(frozen=True)
class Verdict:
    """What was found out about one case.

    sentence    one line for people, beginning with the kind.
    metrics     the claimed figures, then every other one that moved.
    iterations  how often the flagged line was passed in each run, at least.
    runs        runs made: "original", "fixed", "timed original", "timed fixed" -> number.
    reached     whether the flagged line was reached in both variants.
    detail      within the reason: what the run itself said, or the short form of why nothing could be planned.
    """

    kind: Kind
    reason: Reason
    sentence: str
    tier: Tier | None = None
    fix_safe: FixSafe = FixSafe()
    metrics: tuple[Measured, ...] = ()
    scaling: Scaling | None = None
    iterations: int = 0
    runs: tuple[tuple[str, int], ...] = ()
    reached: bool = False
    device: str = ""
    torch: str = ""
    detail: str = ""

    @property
    def decided(self) -> bool:
        """Confirmed or refuted."""
        return self.kind is not Kind.INCONCLUSIVE


def as_json(verdict: Verdict) -> dict[str, Any]:
    """The verdict as JSON values, under the names that findings carry in JSON."""
    plain = asdict(verdict)
    ordered: dict[str, Any] = {"verdict": verdict.kind.value, "reason": verdict.reason.value}
    ordered["tier"] = verdict.tier.value if verdict.tier else None
    ordered["sentence"] = verdict.sentence
    ordered["detail"] = verdict.detail
    ordered["fix_safe"] = {"answer": verdict.fix_safe.answer.value, "why": verdict.fix_safe.why}
    ordered["metrics"] = [{**one, "unit": one["unit"].value} for one in plain["metrics"]]
    ordered["scaling"] = plain["scaling"]
    ordered["iterations"] = verdict.iterations
    ordered["runs"] = dict(verdict.runs)
    ordered |= {"reached": verdict.reached, "device": verdict.device, "torch": verdict.torch}
    return ordered


def from_json(data: Mapping[str, Any]) -> Verdict:
    """The verdict that `as_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
    safe, scaling = data["fix_safe"], data["scaling"]
    return Verdict(
        Kind(data["verdict"]),
        Reason(data["reason"]),
        str(data["sentence"]),
        Tier(data["tier"]) if data["tier"] is not None else None,
        FixSafe(Answer(safe["answer"]), str(safe["why"])),
        tuple(Measured(**{**one, "unit": Unit(one["unit"])}) for one in data["metrics"]),
        Scaling(**scaling) if scaling is not None else None,
        int(data["iterations"]),
        tuple((str(name), int(number)) for name, number in data["runs"].items()),
        bool(data["reached"]),
        str(data["device"]),
        str(data["torch"]),
        str(data["detail"]),
    )
