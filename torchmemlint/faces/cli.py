"""The command `torchmemlint`: reads the disk, lints, prints, and answers with an exit status.

0 clean, 1 findings at or above --fail-on, 2 the gate did not really run. May not contain analysis.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from torchmemlint.faces.options import flags, parse
from torchmemlint.faces.report import (
    Line,
    as_json,
    as_json_lines,
    as_object,
    concise,
    counted,
    full,
    statistics,
    summary,
    warn,
    write,
)
from torchmemlint.model import Finding
from torchmemlint.settings import SettingsError, meant_code

if TYPE_CHECKING:
    from torchmemlint.faces.check import Checker, Choice
    from torchmemlint.faces.pool import Outcome
    from torchmemlint.settings import Settings

CLEAN, FOUND, FAILED, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; the exit status is the answer."""
    warnings.simplefilter("ignore")  # what Python's parser thinks of the user's escapes is no message of ours
    try:
        return _main(parse(arguments))
    except SettingsError as error:
        warn(str(error))
        return FAILED
    except KeyboardInterrupt:
        warn("interrupted")
        return INTERRUPTED
    except Exception as error:  # a traceback would exit with 1, which means findings
        import traceback

        traceback.print_exc()
        warn(f"internal error: {type(error).__name__}: {error}; please report it")
        return FAILED


def _main(asked: argparse.Namespace) -> int:
    if asked.explain:
        return _explain(asked)
    if asked.list_rules:
        return _list_rules(asked)
    return _check(asked)


def _explain(asked: argparse.Namespace) -> int:
    from torchmemlint.faces.explain import as_objects, explained
    from torchmemlint.rule import load_rules

    rules = {rule.code: rule for rule in load_rules()}
    word = asked.explain.upper()
    if word not in rules:
        known = {code: rule.name for code, rule in rules.items()}
        raise SettingsError(f"--explain: unknown rule code `{asked.explain}`{meant_code(asked.explain, known)}")
    if asked.output_format == "json":
        return _deliver(asked.output_file, as_json(as_objects([rules[word]])))
    return _deliver(asked.output_file, explained(rules[word]))


def _list_rules(asked: argparse.Namespace) -> int:
    from torchmemlint.faces.explain import as_objects, listed
    from torchmemlint.rule import load_rules

    if asked.output_format == "json":
        return _deliver(asked.output_file, as_json(as_objects(load_rules())))
    if asked.output_format == "json-lines":
        return _deliver(asked.output_file, as_json_lines(as_objects(load_rules())))
    return _deliver(asked.output_file, listed(load_rules()))


@dataclass
class _Run:
    """What came of the files: findings in order, what could not be checked, how many could.

    failing  the findings at or above --fail-on.
    notes, evidence  what was measured of findings: a line for people, an object for programs.
    stopped  what to say where somebody stopped it.
    """

    findings: list[Finding]
    problems: list[str]
    checked: int
    failing: list[Finding]
    standard_input: bytes | None = None
    notes: dict[Finding, str] = field(default_factory=dict)
    evidence: dict[Finding, dict[str, Any]] = field(default_factory=dict)
    stopped: str = ""


def _check(asked: argparse.Namespace) -> int:
    from torchmemlint.disk import common_folder
    from torchmemlint.faces.check import Checker, Choice

    paths = list(asked.paths) or ["."]
    named = [asked.stdin_filename or "stdin" if path == "-" else path for path in paths]
    shared = common_folder(named)
    kept_in = os.path.abspath(asked.cache_dir) if asked.cache_dir else ""
    choice = Choice(flags(asked), asked.config, asked.isolated, shared, not asked.no_cache, kept_in)
    checker = Checker(choice)
    if asked.show_settings:
        return _show_settings(asked, checker, os.path.abspath(named[0]))
    settings = checker.settings(shared)
    run = _standard_input(asked, checker) if paths == ["-"] else _files(checker, choice, paths, settings.jobs)
    try:
        if run.stopped:
            _report(asked, settings.output_format, run)
        elif asked.dry_run:
            _preview(asked, checker, settings, run)
        else:
            told = _prove(asked, checker, settings, run) if asked.verify or asked.evidence else False
            if not told:
                _report(asked, settings.output_format, run)
    finally:
        for problem in run.problems:
            warn(problem)
    if run.stopped:
        warn(run.stopped)
        return INTERRUPTED
    if run.problems:
        return FAILED
    return FOUND if run.failing and not (asked.exit_zero or asked.dry_run) else CLEAN


def _preview(asked: argparse.Namespace, checker: Checker, settings: Settings, run: _Run) -> None:
    from torchmemlint.faces import verifying

    options = verifying.options_of(asked, settings.jobs)
    if settings.output_format in ("json", "json-lines"):
        objects = verifying.preview_objects(run.findings, checker, run.standard_input, options)
        _deliver(asked.output_file, as_json(objects) if settings.output_format == "json" else as_json_lines(objects))
    else:
        _deliver(asked.output_file, verifying.preview(run.findings, checker, run.standard_input, options))


def _prove(asked: argparse.Namespace, checker: Checker, settings: Settings, run: _Run) -> bool:
    """Adds what was measured, now or earlier, to the run; whether it has been reported on the way."""
    from torchmemlint.faces import verifying

    structured = settings.output_format in ("json", "json-lines")
    aside = structured or asked.output_file or asked.statistics
    shown = asked.verify and bool(run.findings) and not aside
    if asked.verify:
        options = verifying.options_of(asked, settings.jobs)
        proven = verifying.prove(run.findings, checker, run.standard_input, options, shown)
    else:
        proven = verifying.recall(run.findings, checker, run.standard_input, asked.evidence)
        if stale := len(proven.stale):
            warn(f"{asked.evidence} has no evidence of {stale} finding{'s' * (stale != 1)}: changed since", "warning")
    run.notes, run.evidence = verifying.notes(proven), verifying.objects(proven)
    if asked.drop_refuted:
        run.findings = [finding for finding in run.findings if not proven.refuted(finding)]
        run.failing = [finding for finding in run.failing if not proven.refuted(finding)]
    return shown


def _show_settings(asked: argparse.Namespace, checker: Checker, path: str) -> int:
    from torchmemlint.faces.explain import settings_shown
    from torchmemlint.rule import load_rules

    folder = path if os.path.isdir(path) else os.path.dirname(path)
    return _deliver(asked.output_file, settings_shown(checker.settings(folder), checker.root(folder), load_rules()))


def _standard_input(asked: argparse.Namespace, checker: Checker) -> _Run:
    from torchmemlint.disk import Target
    from torchmemlint.faces.pool import Outcome

    name = asked.stdin_filename
    target = Target(os.path.abspath(name), name) if name else Target("-", "-")
    if name and checker.forced_out(target.path):
        return _Run([], [], 0, [])
    data = sys.stdin.buffer.read()
    run = _gather(checker, [Outcome(target, tuple(checker.check(target, data)))])
    run.standard_input = data
    return run


def _files(checker: Checker, choice: Choice, paths: Sequence[str], jobs: int) -> _Run:
    from torchmemlint.disk import Filters, discover
    from torchmemlint.faces.pool import Interrupted, check_all
    from torchmemlint.faces.waiting import Waiting

    found = discover(paths, Filters(checker.excluded, checker.respects_gitignore, checker.forced_out))
    for folder in sorted({os.path.dirname(target.path) for target in found.targets}):
        checker.settings(folder)  # a mistake in any configuration file is said before anything is linted
    try:
        with Waiting(len(found.targets)) as waiting:
            run = _gather(checker, check_all(choice, found.targets, jobs, waiting.advance))
    except Interrupted as stopped:
        run = _gather(checker, stopped.outcomes)
        run.stopped = f"interrupted: {run.checked} of {len(found.targets)} files were checked"
    run.problems[:0] = found.problems
    for folder in found.empty:
        warn(f"no Python files under {folder}", "warning")
    return run


def _gather(checker: Checker, outcomes: Iterable[Outcome]) -> _Run:
    from torchmemlint.rule import INTERNAL_ERROR

    run = _Run([], [], 0, [])
    for outcome in outcomes:
        if outcome.problem:
            run.problems.append(outcome.problem)
            continue
        run.checked += 1
        run.findings += outcome.findings
        if outcome.findings:
            least = checker.settings(os.path.dirname(os.path.abspath(outcome.target.path))).fail_on.rank
            run.failing += [finding for finding in outcome.findings if finding.severity.rank >= least]
        for finding in outcome.findings:
            if finding.code == INTERNAL_ERROR:
                run.problems.append(f"{finding.path}: {finding.message}")
    run.findings.sort(key=lambda finding: finding.order)
    return run


def _report(asked: argparse.Namespace, output_format: str, run: _Run) -> None:
    findings = run.findings
    if output_format in ("json", "json-lines"):
        objects = counted(findings) if asked.statistics else [as_object(one, run.evidence.get(one)) for one in findings]
        _deliver(asked.output_file, as_json(objects) if output_format == "json" else as_json_lines(objects))
        return
    if asked.statistics:
        _deliver(asked.output_file, statistics(findings))
    elif output_format == "concise":
        _deliver(asked.output_file, concise(findings, run.notes))
    elif findings or not (run.problems or run.stopped):
        closing = summary(findings, run.checked)
        _deliver(asked.output_file, [*full(findings, _Excerpts(run.standard_input), run.notes), closing])


class _Excerpts:
    """The lines of the files that findings name, the last file remembered."""

    def __init__(self, standard_input: bytes | None) -> None:
        self._standard_input = standard_input
        self._path = ""
        self._lines: Sequence[str] = ()

    def __call__(self, path: str) -> Sequence[str]:
        from torchmemlint.disk import read_bytes
        from torchmemlint.source import BadFile, Source

        if path != self._path:
            data = read_bytes(path) if self._standard_input is None else self._standard_input
            try:
                self._path, self._lines = path, Source(path, data or b"").lines
            except BadFile:
                self._lines = ()
        return self._lines


def _deliver(path: str | None, report: str | list[Line]) -> int:
    """Writes a report to standard output or to the file that was asked for."""
    if path:
        try:
            with open(path, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
                _put(report, file)
        except OSError as error:
            raise SettingsError(f"--output-file: {path}: {error.strerror}") from None
        return CLEAN
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path or a line may not fit the terminal's encoding
    try:
        _put(report, sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read has read enough; the exit status still counts
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return CLEAN


def _put(report: str | list[Line], stream: TextIO) -> None:
    if isinstance(report, str):
        stream.write(report)
    else:
        write(report, stream)
