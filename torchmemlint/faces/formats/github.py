"""GitHub's workflow commands: an annotation for each finding, and the table for the step's summary.

Only ten errors and ten warnings of a step become annotations, so the worst come first and the summary has
them all. In a message only `%`, CR and LF are escaped, in a property `:` and `,` too: `@actions/core` does
it so, and whatever else is escaped is shown escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torchmemlint.faces.formats.results import Results
from torchmemlint.faces.formats.wording import counts, details, one_line, place, said
from torchmemlint.faces.pages import rule_url
from torchmemlint.model import Finding, Severity

COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}
MAX_SUMMARY_BYTES = 1_000_000
"""GitHub drops a step's summary beyond 1 MiB, the whole of it."""


def as_github(results: Results) -> str:
    """The commands, the run's own problems first."""
    lines = [_command("error", {"title": "torchmemlint"}, one_line(problem)) for problem in results.problems]
    lines += [_annotation(finding, results) for finding in results.worst_first]
    return "".join(f"{line}\n" for line in lines)


def _annotation(finding: Finding, results: Results) -> str:
    """The message begins with the place because the log shows nothing else."""
    span, path = finding.in_file, finding.path
    properties = {
        "title": f"{finding.code} {finding.name}",
        "file": results.named(path),
        "line": str(span.start.line),
        "endLine": str(max(span.end.line, span.start.line)),
    }
    if span.start.line == span.end.line:  # columns of several lines are refused
        properties["col"] = str(results.texts.utf16_column(path, span.start))
        properties["endColumn"] = str(results.texts.utf16_column(path, span.end))
    headline = f"{place(finding, results)}: {finding.code} {one_line(finding.message)}"
    return _command(COMMANDS[finding.severity], properties, "\n".join([headline, *details(finding, results)]))


def _command(name: str, properties: dict[str, str], message: str) -> str:
    given = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{name} {given}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def step_summary(results: Results, tree: str) -> str:
    """All findings as a table in Markdown; `tree` is the address that a path continues, "" for no links."""
    head = f"### torchmemlint\n\n{counts(results)}\n\n"
    head += "".join(f"- **not checked**: {_cell(problem)}\n" for problem in results.problems)
    if not results.findings:
        return head
    head += "\n| | rule | where | what |\n|---|---|---|---|\n"
    rows = (_row(finding, results, tree) for finding in results.worst_first)
    room = MAX_SUMMARY_BYTES - len(head.encode("utf-8", "replace"))
    return head + "".join(_fitting(rows, len(results.findings), room))


def _fitting(rows: Iterable[str], total: int, room: int) -> Iterator[str]:
    """As many rows as there is room for, and how many are left out."""
    for number, row in enumerate(rows):
        room -= len(row.encode("utf-8", "replace"))
        if room < 200:
            yield f"\n{total - number} more are not shown here.\n"
            return
        yield row


def _row(finding: Finding, results: Results, tree: str) -> str:
    where = _cell(place(finding, results))
    if tree:
        where = f"[{where}]({tree}/{results.address(finding.path)}#L{finding.in_file.start.line})"
    rule = f"[{finding.code}]({rule_url(finding.code)}) {finding.name}"
    what = "<br>".join(_cell(line) for line in (said(finding), *details(finding, results)))
    return f"| {finding.severity.value} | {rule} | {where} | {what} |\n"


def _cell(text: str) -> str:
    return one_line(text).replace("|", "\\|")
