"""The one way from linting to running code: asked for by --verify or --evidence, and imported only then."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from runtime_verify import cli
from runtime_verify.progress import watching
from runtime_verify.report import evidence_object, note
from torchmemlint.document import Document
from torchmemlint.faces.check import Checker
from torchmemlint.faces.frames import Line
from torchmemlint.faces.options import words
from torchmemlint.faces.report import as_object, concise
from torchmemlint.faces.terminal import Colour, looks, write
from torchmemlint.facts.project import Project
from torchmemlint.model import Finding
from torchmemlint.rule import NOTICES
from torchmemlint.settings import SettingsError
from torchmemlint.source import Source

Proven = cli.Proven
Opener = Callable[[Finding], tuple[Source, Project, Finding]]


def options_of(asked: argparse.Namespace, jobs: int) -> cli.Options:
    """What the command line says about verifying. Raises SettingsError."""
    with _one_line():
        return cli.Options(
            asked.verify_device or "cuda",
            tuple(words(asked.verify_only or ())),
            asked.entry or "",
            asked.keep_harness or "",
            asked.evidence or "",
            cli.TIMEOUT_S if asked.timeout is None else asked.timeout,
            jobs,
        )


def prove(
    findings: Sequence[Finding],
    checker: Checker,
    standard_input: bytes | None,
    options: cli.Options,
    shown: bool,
    colour: Colour = Colour.AUTO,
) -> cli.Proven:
    """Runs the findings' code; verdicts go to standard output as they come if `shown`. Raises SettingsError."""
    stream = sys.stdout if shown else sys.stderr
    how = looks(stream, colour)
    if shown:
        write(concise(one for one in findings if not _of_a_rule(one)), stream, how)
    progress = watching(stream, quiet=not shown and not stream.isatty(), coloured=how.colour)
    with _one_line():
        return cli.verify(_of_rules(findings), _opener(checker, standard_input), options, progress)


def recall(findings: Sequence[Finding], checker: Checker, standard_input: bytes | None, path: str) -> cli.Proven:
    """What an evidence file knows of the findings. Raises SettingsError."""
    with _one_line():
        return cli.recall(_of_rules(findings), _opener(checker, standard_input), path)


def preview(
    findings: Sequence[Finding], checker: Checker, standard_input: bytes | None, options: cli.Options
) -> list[Line]:
    """What would be run, for people. Raises SettingsError."""
    with _one_line():
        return cli.preview(_of_rules(findings), _opener(checker, standard_input), options)


def preview_objects(
    findings: Sequence[Finding], checker: Checker, standard_input: bytes | None, options: cli.Options
) -> list[dict[str, Any]]:
    """What would be run, for programs: each finding with its `plan`. Raises SettingsError."""
    with _one_line():
        planned = cli.preview_objects(_of_rules(findings), _opener(checker, standard_input), options)
        return [{**as_object(finding), "plan": plan} for finding, plan in planned]


def notes(proven: cli.Proven) -> dict[Finding, str]:
    """The line under each finding in a text report."""
    return {finding: note(verdict) for finding, verdict in proven.verdicts.items()}


def objects(proven: cli.Proven) -> dict[Finding, dict[str, Any]]:
    """The `evidence` of each finding in JSON."""
    return {finding: evidence_object(verdict) for finding, verdict in proven.verdicts.items()}


@contextmanager
def _one_line() -> Iterator[None]:
    """Turns what cannot be done into the command line's one-line error with exit status 2."""
    try:
        yield
    except cli.VerifyError as error:
        raise SettingsError(str(error)) from None


def _of_a_rule(finding: Finding) -> bool:
    return all(finding.code != notice.code for notice in NOTICES)


def _of_rules(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if _of_a_rule(finding)]


def _opener(checker: Checker, standard_input: bytes | None) -> Opener:
    """Opens a finding's file as it was linted; findings of one file come one after the other."""
    last: dict[str, tuple[Document, Project]] = {}

    def opened(finding: Finding) -> tuple[Source, Project, Finding]:
        if finding.path not in last:
            last.clear()
            last[finding.path] = checker.opened(finding.path, standard_input)
        document, project = last[finding.path]
        return document.source, project, document.standing(finding)

    return opened
