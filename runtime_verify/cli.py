"""Verification as the command line offers it: findings and options in, verdicts, progress and clear errors out.

Called by the linter's own command line, and only for --verify and --evidence. Never imports torch.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from runtime_verify import evidence, harness
from runtime_verify.campaign import Terms, carry_out, order_of
from runtime_verify.case import Case
from runtime_verify.judge import unplanned, wants_more
from runtime_verify.plan import Opener, Refused, plan_findings
from runtime_verify.preview import difference, preview_object, previewed
from runtime_verify.progress import Progress
from runtime_verify.report import Line
from runtime_verify.run import CannotRun, Machine, NoCuda, NoTorch, Runner, Unsupported
from runtime_verify.trial import Trial, Variant, Wanted
from runtime_verify.verdict import Kind, Verdict
from torchmemlint.model import Finding

AT_A_TIME = 6
"""Memory runs at a time on a device: each takes a CUDA context of half a GiB."""
TIMEOUT_S = 120.0
DEVICE = re.compile(r"cuda(:\d+)?|cpu")
CODE = re.compile(r"TML\d{0,3}", re.IGNORECASE)
FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


class VerifyError(Exception):
    """Nothing can be verified as asked; the message is one line that says why and what to do."""


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line.

    device   "cuda", "cuda:N" or "cpu".
    only     codes, prefixes of codes, and path prefixes; empty for all findings.
    entry    the user's own entry point, "" for the flagged code alone.
    keep     folder to write each run as a script to, "" for none.
    evidence file to keep verdicts in, "" for none.
    timeout  seconds that one run may take.
    jobs     memory runs at a time on a device; 0 for as many as suit it.
    """

    device: str = "cuda"
    only: tuple[str, ...] = ()
    entry: str = ""
    keep: str = ""
    evidence: str = ""
    timeout: float = TIMEOUT_S
    jobs: int = 0

    def __post_init__(self) -> None:
        """Raises VerifyError for what makes no sense."""
        if not DEVICE.fullmatch(self.device):
            raise VerifyError(f"--verify-device: `{self.device}` is none of cuda, cuda:N, cpu")
        if self.timeout <= 0:
            raise VerifyError(f"--timeout: {self.timeout:g} s is no time to run in")
        if self.entry:
            _check_entry(self.entry)


@dataclass
class Proven:
    """Verdicts by finding; `stale` findings have no evidence in the file that was read."""

    verdicts: dict[Finding, Verdict] = field(default_factory=dict)
    stale: list[Finding] = field(default_factory=list)

    def refuted(self, finding: Finding) -> bool:
        verdict = self.verdicts.get(finding)
        return verdict is not None and verdict.kind is Kind.REFUTED


def verify(findings: Sequence[Finding], opened: Opener, options: Options, progress: Progress) -> Proven:
    """Runs the findings that `options.only` lets through, and tells `progress` as verdicts come.

    What was decided until an interruption is kept in the evidence file. Raises VerifyError when nothing can be run.
    """
    return _Verification(opened, options, progress).verify(_chosen(findings, options.only))


def preview(findings: Sequence[Finding], opened: Opener, options: Options) -> list[Line]:
    """What `verify` would run, for people. Runs nothing."""
    lines: list[Line] = []
    number = 0
    for finding, plan in _planned(findings, opened, options):
        number += 1
        if isinstance(plan, Refused):
            lines += [[(f"{finding.where}: {finding.code} ", "bold"), (f"cannot be run: {plan.reason}", "")], []]
        else:
            source, _, standing = opened(finding)
            lines += previewed(plan, finding, difference(standing, source), options.device, options.entry)
    return [*lines, [(f"{number} finding{'s' * (number != 1)}; nothing was run", "bold")]]


def preview_objects(
    findings: Sequence[Finding], opened: Opener, options: Options
) -> Iterator[tuple[Finding, dict[str, Any]]]:
    """What `verify` would run, for programs: each finding with its plan."""
    for finding, plan in _planned(findings, opened, options):
        if isinstance(plan, Refused):
            yield finding, {"problem": str(plan.reason), "reason": plan.reason.code}
        else:
            source, _, standing = opened(finding)
            yield finding, preview_object(plan, difference(standing, source), options.device, options.entry)


def recall(findings: Sequence[Finding], opened: Opener, path: str) -> Proven:
    """The verdicts that an evidence file has on the findings, by what they are made of now. Raises VerifyError."""
    if not os.path.exists(path):
        raise VerifyError(f"--evidence: {path} does not exist; --verify --evidence {path} writes it")
    known = _read(path)
    proven = Proven()
    for finding, plan in zip(findings, plan_findings(findings, opened), strict=True):
        entry = known.get(plan.key) if isinstance(plan, Case) else None
        if entry is not None:
            proven.verdicts[finding] = entry.verdict
        elif isinstance(plan, Case):
            proven.stale.append(finding)
    return proven


class _Verification:
    """One call of `verify`."""

    def __init__(self, opened: Opener, options: Options, progress: Progress) -> None:
        self._opened, self._options, self._progress = opened, options, progress
        self._proven = Proven()
        self._entries: dict[str, evidence.Entry] = {}
        self._findings: list[Finding] = []
        self._stack = ExitStack()
        self._runner: Runner | None = None

    def verify(self, findings: list[Finding]) -> Proven:
        before = _read(self._options.evidence) if self._options.evidence else {}
        with self._progress:
            self._progress.begin(findings)
            try:
                with self._stack:
                    self._carry_out(findings)
            except (CannotRun, Unsupported, harness.HarnessError) as error:
                raise VerifyError(_advice(error, self._options.device)) from None
            finally:
                self._save(before)
            self._progress.end()
        return self._proven

    def _carry_out(self, findings: list[Finding]) -> None:
        cases = list(self._cases(findings))
        if not cases:
            return
        devices: tuple[str, ...] = (self._options.device,)
        fresh = Trial(self._options.device.partition(":")[0], bool(self._options.entry))
        if any(wants_more(case, fresh) for case in cases):
            devices = self._devices(self._open())
        jobs = self._options.jobs or AT_A_TIME
        terms = Terms(devices, self._options.entry, max(64, 2 * jobs * len(devices)))
        for number, trial, verdict in carry_out(cases, self._open, terms):
            case = cases[number]
            self._keep(case, trial, terms)
            self._entries[case.key] = evidence.entry_of(case, verdict)
            self._settle(self._findings[number], verdict)

    def _cases(self, findings: list[Finding]) -> Iterator[Case]:
        """The cases; what none can be made of is settled at once."""
        for finding, plan in zip(
            findings, plan_findings(findings, self._opened, whole=bool(self._options.entry)), strict=True
        ):
            if isinstance(plan, Refused):
                self._settle(finding, unplanned(plan.reason.code, str(plan.reason)))
            else:
                self._findings.append(finding)
                yield plan

    def _settle(self, finding: Finding, verdict: Verdict) -> None:
        self._proven.verdicts[finding] = verdict
        self._progress.settled(finding, verdict)

    def _devices(self, runner: Runner) -> tuple[str, ...]:
        """The devices by number: what is compared must have run on the same one."""
        if self._options.device != "cuda":
            return (self._options.device,)
        return tuple(f"cuda:{number}" for number in range(len(runner.machine.devices)))

    def _open(self) -> Runner:
        """The runner, started when the first run is wanted."""
        if self._runner is None:
            jobs = self._options.jobs or AT_A_TIME
            runner = Runner((self._options.device,), memory_lane=jobs, timeout_s=self._options.timeout)
            self._runner = self._stack.enter_context(runner)
            self._progress.machine(_described(self._runner.machine, self._options.device))
        return self._runner

    def _keep(self, case: Case, trial: Trial, terms: Terms) -> None:
        if not self._options.keep:
            return
        decisions = next((run.record.decisions for run in trial.runs), None)
        orders = {
            variant.value: order_of(case, Wanted(variant), self._options.device, terms.entry, decisions)
            for variant in Variant
        }
        harness.keep(self._options.keep, case, orders)

    def _save(self, before: dict[str, evidence.Entry]) -> None:
        if not self._options.evidence or not self._entries:
            return
        try:
            evidence.write(self._options.evidence, evidence.merged(before, self._entries))
        except evidence.BadEvidence as error:
            raise VerifyError(f"--evidence: {error}") from None


def _read(path: str) -> dict[str, evidence.Entry]:
    try:
        return evidence.read(path)
    except evidence.BadEvidence as error:
        raise VerifyError(f"--evidence: {error}") from None


def _planned(findings: Sequence[Finding], opened: Opener, options: Options) -> Iterable[tuple[Finding, Case | Refused]]:
    chosen = _chosen(findings, options.only)
    return zip(chosen, plan_findings(chosen, opened, whole=bool(options.entry)), strict=True)


def _chosen(findings: Sequence[Finding], only: Sequence[str]) -> list[Finding]:
    """The findings that any of the words names, by code or by path. Raises VerifyError for a word that names none."""
    if not only:
        return list(findings)
    tests = {word: _test(word) for word in only}
    for word, fits in tests.items():
        if findings and not any(fits(finding) for finding in findings):
            raise VerifyError(f"--verify-only: no finding is of `{word}`; give codes (TML3, TML101) or paths")
    return [finding for finding in findings if any(fits(finding) for fits in tests.values())]


def _test(word: str) -> Callable[[Finding], bool]:
    if CODE.fullmatch(word):
        return lambda finding: finding.code.startswith(word.upper())
    path, _, line = word.rpartition(":")
    if path and line.isdigit():
        return lambda finding: _below(finding.path, path) and finding.span.start.line == int(line)
    return lambda finding: _below(finding.path, word)


def _below(path: str, prefix: str) -> bool:
    return os.path.normpath(path).startswith(os.path.normpath(prefix))


def _check_entry(entry: str) -> None:
    try:
        words = shlex.split(entry)
    except ValueError as error:
        raise VerifyError(f"--entry: {error}: {entry}") from None
    first = words[0] if words else ""
    if first.endswith(".py"):
        if not os.path.isfile(first):
            raise VerifyError(f"--entry: {first}: no such file")
    elif not FUNCTION.fullmatch(first):
        raise VerifyError(
            f'--entry: `{first}` is neither a script ("train.py --epochs 1") nor a function ("pkg.mod:func")'
        )


def _advice(error: Exception, device: str) -> str:
    """The error in one line, with what can be done about it."""
    said = str(error)
    head, traced, trace = said.partition("Traceback (most recent call last)")
    said = " ".join((head + trace.strip().splitlines()[-1] if traced else said).split())
    if isinstance(error, NoTorch):
        return f"--verify: {said}"
    if isinstance(error, NoCuda):
        return f"--verify: {said}; run it where a CUDA device is, or with --verify-device cpu what needs none"
    if isinstance(error, harness.HarnessError):
        return f"--keep-harness: {said}"
    return f"--verify: {said}"


def _described(machine: Machine, device: str) -> str:
    if device == "cpu":
        return f"running on the CPU, torch {machine.torch}"
    names = ", ".join(sorted({str(one[0]) for one in machine.devices}))
    return f"running on {names}, torch {machine.torch}, CUDA {machine.cuda}, driver {machine.driver}"
