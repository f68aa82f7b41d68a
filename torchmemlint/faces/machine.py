"""From a run to a report for programs: files are called what their repository calls them, and read once more."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone

from torchmemlint.disk import read_bytes, repository_root
from torchmemlint.faces.formats.github import step_summary
from torchmemlint.faces.formats.results import Results
from torchmemlint.faces.formats.texts import Texts
from torchmemlint.faces.run import Run
from torchmemlint.model import Finding

SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"


def results(run: Run) -> Results:
    """What the formats need to know of a run."""
    root = repository_root(os.getcwd())
    piped = run.findings[0].path if run.standard_input is not None and run.findings else None

    def named(path: str) -> str:
        return _named(path, root)

    def read(path: str) -> bytes | None:
        return run.standard_input if path == piped else read_bytes(path)

    said = {f"{finding.path}: {finding.message}" for finding in run.findings}
    problems = [problem for problem in (*run.problems, run.stopped) if problem and problem not in said]
    started = datetime.fromtimestamp(run.started, timezone.utc)
    findings = list(_once(run.findings, root))
    return Results(findings, problems, run.checked, named, Texts(read), started, run.notes, run.evidence)


def _once(findings: Sequence[Finding], root: str) -> Iterator[Finding]:
    """A file and a link to it are one file to whoever reads the report."""
    known = set()
    for finding in findings:
        key = (_named(finding.path, root), finding.cell, finding.span, finding.code)
        if key not in known:
            known.add(key)
            yield finding


def _named(path: str, root: str) -> str:
    """A path below the root with forward slashes, links followed; absolute where it lies outside."""
    if path == "-":
        return "stdin"
    for full in (os.path.realpath(path), os.path.abspath(path)):
        if full.startswith(root.rstrip(os.sep) + os.sep):
            return full[len(root.rstrip(os.sep)) + 1 :].replace(os.sep, "/")
    return os.path.abspath(path).replace(os.sep, "/")


def add_to_summary(results: Results, environment: Mapping[str, str]) -> str:
    """Adds to the summary of the GitHub step that this runs in, if it runs in one; what went wrong, if anything did."""
    path = environment.get(SUMMARY_VARIABLE)
    if not path:
        return ""
    try:
        with open(path, "a", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(step_summary(results, _tree_address(environment)))
    except OSError as error:
        return f"{SUMMARY_VARIABLE}: {path}: {error.strerror}"
    return ""


def _tree_address(environment: Mapping[str, str]) -> str:
    """The address below which GitHub shows this commit's files, "" where it is not known."""
    server, repository, commit = (environment.get(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY", "SHA"))
    return f"{server}/{repository}/blob/{commit}" if server and repository and commit else ""
