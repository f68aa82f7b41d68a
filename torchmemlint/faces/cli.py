"""The command `torchmemlint`: reads the disk, lints, prints, and answers with an exit status.

0 clean, 1 findings at or above --fail-on, 2 the gate did not really run; 130 stopped by Ctrl-C, 143 by
SIGTERM. May not contain analysis.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from torchmemlint.faces.delivery import caution, deliver, deliver_bytes, remark
from torchmemlint.faces.frames import printable
from torchmemlint.faces.options import flags, parse, words
from torchmemlint.faces.report import as_json, as_json_lines
from torchmemlint.faces.run import Run
from torchmemlint.faces.stopping import status, terminable
from torchmemlint.faces.telling import demand_a_place, report
from torchmemlint.faces.terminal import Colour, warn
from torchmemlint.settings import SettingsError

if TYPE_CHECKING:
    from torchmemlint.disk import Found
    from torchmemlint.faces.check import Checker, Choice
    from torchmemlint.faces.fixing import Fixer
    from torchmemlint.faces.narrowing import Narrowing
    from torchmemlint.faces.pool import Outcome
    from torchmemlint.faces.verifying import Proven
    from torchmemlint.settings import Settings

CLEAN, FOUND, FAILED = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; the exit status is the answer."""
    warnings.simplefilter("ignore")  # what Python's parser thinks of the user's escapes is no message of ours
    try:
        return _main(parse(arguments))
    except SettingsError as error:
        warn(str(error))
        return FAILED
    except KeyboardInterrupt as stopped:
        warn("interrupted")
        return status(stopped)
    except Exception as error:  # a traceback would exit with 1, which means findings
        import traceback

        traceback.print_exc()
        warn(f"internal error: {type(error).__name__}: {error}; please report it")
        return FAILED


def _main(asked: argparse.Namespace) -> int:
    if asked.explain or asked.list_rules:
        return _tell_of_rules(asked)
    if asked.lsp:
        return _serve(asked)
    with terminable():
        return _check(asked)


def _serve(asked: argparse.Namespace) -> int:
    from torchmemlint.faces.check import Choice

    try:
        from torchmemlint.faces.language_server import serve
    except ModuleNotFoundError:
        raise SettingsError("--lsp needs pygls: pip install 'torchmemlint[lsp]'") from None
    serve(Choice(flags(asked) | {"force-exclude": True}, asked.config, asked.isolated, os.getcwd()))
    return CLEAN


def _tell_of_rules(asked: argparse.Namespace) -> int:
    from torchmemlint.faces.explain import as_objects, chosen, explained, listed
    from torchmemlint.rule import load_rules

    rules = load_rules()
    told = chosen(words([*asked.explain, *asked.paths]), rules) if asked.explain else rules
    written = {"json": as_json, "json-lines": as_json_lines}.get(asked.output_format)
    if written:
        deliver(asked, written(as_objects(told)))
    else:
        deliver(asked, explained(told) if asked.explain else listed(rules))
    return CLEAN


def _check(asked: argparse.Namespace) -> int:
    from torchmemlint.disk import common_folder
    from torchmemlint.faces.check import Checker, Choice
    from torchmemlint.faces.narrowing import Narrowing

    started = time.time()
    paths = list(asked.paths) or ["."]
    named = [asked.stdin_filename or "stdin" if path == "-" else path for path in paths]
    shared = common_folder(named)
    kept_in = os.path.abspath(asked.cache_dir) if asked.cache_dir else ""
    choice = Choice(flags(asked), asked.config, asked.isolated, shared, not asked.no_cache, kept_in)
    checker = Checker(choice)
    if asked.show_settings:
        return _show_settings(asked, checker, os.path.abspath(named[0]))
    if asked.show_files:
        return _show_files(asked, checker, paths)
    settings = checker.settings(shared)
    demand_a_place(asked, settings.output_format)
    narrowing = Narrowing(asked, checker, choice)

    def lint(text: bytes | None) -> Run:
        if text is not None:
            run = _standard_input(asked, checker, narrowing, text)
        else:
            run = _files(asked, checker, narrowing, choice, paths)
        if asked.evidence and not asked.verify and not run.stopped:
            _recall(asked, checker, run)
        run.started = started
        return run

    run = lint(sys.stdin.buffer.read() if paths == ["-"] else None)
    if not run.stopped and (run.findings or asked.fix or asked.diff):
        from torchmemlint.faces.fixing import Fixer

        run = _fix(asked, run, Fixer(checker, choice, settings.jobs, asked.quiet), lint)
    return _answer(asked, checker, settings, run, narrowing)


def _fix(asked: argparse.Namespace, run: Run, fixer: Fixer, lint: Callable[[bytes | None], Run]) -> Run:
    """The run after its fixes, if any were asked for; it says what could be fixed besides."""
    text = run.standard_input
    if asked.diff:
        run.patch = fixer.patches(run.findings, run.target, text)
    elif asked.fix and run.target is not None and text is not None:
        fixed = fixer.fix_text(run.target, run.findings, text)
        run = lint(fixed)
        deliver_bytes(fixed)
    elif asked.fix:
        try:
            while not run.stopped and fixer.fix_files(run.findings):
                run = lint(None)
        except KeyboardInterrupt as stopped:
            run.stopped = "interrupted while fixing: files are either fixed or as they were"
            run.status = status(stopped)
    run.warnings += fixer.warnings
    run.problems += fixer.problems
    run.fixed = fixer.words(run.findings, asked.diff)
    run.offer, run.fixable = fixer.offer(run.findings), fixer.fixable(run.findings)
    return run


def _answer(asked: argparse.Namespace, checker: Checker, settings: Settings, run: Run, narrowing: Narrowing) -> int:
    """Reports, and says with which status to exit."""
    try:
        if asked.dry_run and not run.stopped:
            _preview(asked, checker, settings, run)
        elif run.stopped or not (asked.verify and _prove(asked, checker, settings, run)):
            report(asked, settings.output_format, run)
    finally:
        for warning in run.warnings:
            caution(asked, warning)
        for problem in run.problems:
            warn(problem)
    if run.stopped:
        warn(run.stopped)
        return run.status
    for line in narrowing.concluded():
        remark(asked, [[(line, "")]])
    if run.problems:
        return FAILED
    if asked.exit_zero or asked.dry_run:
        return CLEAN
    found = run.patch if asked.diff else run.failing or (asked.exit_non_zero_on_fix and run.fixed)
    return FOUND if found else CLEAN


def _preview(asked: argparse.Namespace, checker: Checker, settings: Settings, run: Run) -> None:
    from torchmemlint.faces import verifying

    options = verifying.options_of(asked, settings.jobs)
    if settings.output_format in ("json", "json-lines"):
        objects = verifying.preview_objects(run.findings, checker, run.standard_input, options)
        deliver(asked, as_json(objects) if settings.output_format == "json" else as_json_lines(objects))
    else:
        deliver(asked, verifying.preview(run.findings, checker, run.standard_input, options))


def _prove(asked: argparse.Namespace, checker: Checker, settings: Settings, run: Run) -> bool:
    """Adds what is measured now to the run; whether it has been reported on the way."""
    from torchmemlint.faces import verifying

    structured = settings.output_format not in ("text", "concise")
    aside = structured or asked.output_file or asked.statistics or asked.silent
    shown = bool(run.findings) and not aside
    options = verifying.options_of(asked, settings.jobs)
    colour = Colour(asked.color)
    _add(asked, run, verifying.prove(run.findings, checker, run.standard_input, options, shown, colour))
    return shown


def _recall(asked: argparse.Namespace, checker: Checker, run: Run) -> None:
    """Adds what was measured earlier to the run."""
    from torchmemlint.faces import verifying

    proven = verifying.recall(run.findings, checker, run.standard_input, asked.evidence)
    if stale := len(proven.stale):
        run.warnings.append(f"{asked.evidence} has no evidence of {stale} finding{'s' * (stale != 1)}: changed since")
    _add(asked, run, proven)


def _add(asked: argparse.Namespace, run: Run, proven: Proven) -> None:
    from torchmemlint.faces import verifying

    run.notes, run.evidence = verifying.notes(proven), verifying.objects(proven)
    if asked.drop_refuted:
        run.findings = [finding for finding in run.findings if not proven.refuted(finding)]
        run.failing = [finding for finding in run.failing if not proven.refuted(finding)]


def _show_settings(asked: argparse.Namespace, checker: Checker, path: str) -> int:
    from torchmemlint.faces.settings_shown import settings_shown
    from torchmemlint.rule import load_rules

    folder = path if os.path.isdir(path) else os.path.dirname(path)
    deliver(asked, settings_shown(checker.settings(folder), checker.root(folder), load_rules()))
    return CLEAN


def _show_files(asked: argparse.Namespace, checker: Checker, paths: Sequence[str]) -> int:
    found = _discovered(asked, checker, paths)
    if asked.output_format in ("json", "json-lines"):
        objects = [{"filename": target.shown} for target in found.targets]
        deliver(asked, as_json(objects) if asked.output_format == "json" else as_json_lines(objects))
    else:
        deliver(asked, [[(printable(target.shown), "")] for target in found.targets])
    for problem in found.problems:
        warn(problem)
    return FAILED if found.problems else CLEAN


def _standard_input(asked: argparse.Namespace, checker: Checker, narrowing: Narrowing, data: bytes) -> Run:
    from torchmemlint.disk import Target
    from torchmemlint.faces.pool import Outcome

    name = asked.stdin_filename
    target = Target(os.path.abspath(name), name) if name else Target("-", "-")
    if name and checker.forced_out(target.path):
        run = Run([], [], 0, [])
    else:
        run = _gather(checker, narrowing.narrowed([Outcome(target, tuple(checker.check(target, data)))], data))
    run.target, run.standard_input = target, data
    return run


def _discovered(asked: argparse.Namespace, checker: Checker, paths: Sequence[str]) -> Found:
    from torchmemlint.disk import Filters, discover

    found = discover(paths, Filters(checker.excluded, checker.respects_gitignore, checker.forced_out))
    for folder in found.empty:
        caution(asked, f"no Python files under {folder}")
    return found


def _files(
    asked: argparse.Namespace, checker: Checker, narrowing: Narrowing, choice: Choice, paths: Sequence[str]
) -> Run:
    from torchmemlint.faces.pool import Interrupted, check_all
    from torchmemlint.faces.waiting import Waiting

    found = _discovered(asked, checker, paths)
    folders = sorted({os.path.dirname(target.path) for target in found.targets})
    for folder in folders:
        checker.settings(folder)  # a mistake in any configuration file is said before anything is linted
    narrowing.prepare(folders)
    jobs = checker.settings(choice.otherwise).jobs
    try:
        with Waiting(len(found.targets), asked.quiet) as waiting:
            outcomes = check_all(choice, found.targets, jobs, waiting.advance)
        run = _gather(checker, narrowing.narrowed(outcomes))
    except Interrupted as stopped:
        run = _gather(checker, narrowing.narrowed(stopped.outcomes))
        run.stopped = f"interrupted: {run.checked} of {len(found.targets)} files were checked"
        run.status = stopped.status
    run.problems[:0] = found.problems
    return run


def _gather(checker: Checker, outcomes: Iterable[Outcome]) -> Run:
    from torchmemlint.rule import INTERNAL_ERROR

    run = Run([], [], 0, [])
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
