"""A run told in the format that was asked for, with what is said of it at the end. May not lint or decide."""

from __future__ import annotations

import argparse
import os
import sys

from torchmemlint.faces.delivery import caution, columns, deliver, deliver_bytes, remark
from torchmemlint.faces.formats import MACHINE
from torchmemlint.faces.frames import Line
from torchmemlint.faces.report import as_json, as_json_lines, as_object, concise, counted, statistics, summary
from torchmemlint.faces.run import Run
from torchmemlint.faces.terminal import Colour, looks
from torchmemlint.model import Finding
from torchmemlint.settings import SettingsError


def demand_a_place(asked: argparse.Namespace, output_format: str) -> None:
    """Counts and plans are not findings: the formats that others have defined hold nothing else."""
    for flag, given in (("--statistics", asked.statistics), ("--dry-run", asked.dry_run)):
        if given and output_format in MACHINE:
            raise SettingsError(f"{flag}: {output_format} has no place for it; --output-format text or json has")


def report(asked: argparse.Namespace, output_format: str, run: Run) -> None:
    if run.patch is not None:
        _show_patch(asked, run.patch)
    elif asked.output_file or not asked.silent:
        _tell(asked, output_format, run)
    if run.fixed:
        remark(asked, [[(run.fixed, "bold")]])
    if output_format == "text" and run.patch is None and (run.findings or not (run.problems or run.stopped)):
        remark(asked, [summary(run.findings, run.checked), *([[(run.offer, "")]] if run.offer else [])])


def _show_patch(asked: argparse.Namespace, patch: bytes) -> None:
    from torchmemlint.faces.patch import in_colour

    if not asked.output_file and looks(sys.stdout, Colour(asked.color)).colour:
        deliver(asked, in_colour(patch))
    else:
        deliver_bytes(patch, asked.output_file)


def _tell(asked: argparse.Namespace, output_format: str, run: Run) -> None:
    findings = run.findings
    aside = asked.fix and run.standard_input is not None
    if output_format in MACHINE:
        _tell_programs(asked, output_format, run, aside)
    elif output_format in ("json", "json-lines"):
        objects = [as_object(one, run.evidence.get(one)) for one in findings]
        objects = counted(findings, run.fixable) if asked.statistics else objects
        deliver(asked, as_json(objects) if output_format == "json" else as_json_lines(objects), aside)
    elif asked.statistics:
        deliver(asked, statistics(findings, run.fixable), aside)
    elif output_format == "concise":
        deliver(asked, concise(findings, run.notes, run.fixable), aside)
    else:
        deliver(asked, _full(asked, run), aside)


def _full(asked: argparse.Namespace, run: Run) -> list[Line]:
    if not run.findings:
        return []
    from torchmemlint.faces.excerpts import Excerpts
    from torchmemlint.faces.explain import once
    from torchmemlint.faces.full import full

    def about(finding: Finding) -> list[tuple[str, str]]:
        return once(finding.code, scaled=finding not in run.notes)

    return full(run.findings, Excerpts(run.standard_input), columns(asked), run.notes, about, run.fixable)


def _tell_programs(asked: argparse.Namespace, output_format: str, run: Run, aside: bool) -> None:
    from torchmemlint.faces import formats, machine

    results = machine.results(run)
    deliver(asked, formats.render(output_format, results), aside)
    if output_format == "github" and (trouble := machine.add_to_summary(results, os.environ)):
        caution(asked, trouble)
