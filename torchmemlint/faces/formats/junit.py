"""JUnit's XML: a suite for each file with findings, a test case that failed for each of these.

Only what both Ant's schema and Jenkins' know: line and column are in the words, for there is no attribute.
A test case is recognised by its name, so that has the rule and the function and no line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from xml.etree import ElementTree as xml

from torchmemlint.faces.formats.results import Results
from torchmemlint.faces.formats.wording import details, one_line, place, said
from torchmemlint.model import Finding
from torchmemlint.rule import BAD_FILE, INTERNAL_ERROR

ERRORS = (BAD_FILE, INTERNAL_ERROR)
"""What is no failing of the code: the check itself could not be made."""
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_junit(results: Results) -> str:
    root = xml.Element("testsuites")
    for path, findings in groupby(results.findings, lambda finding: finding.path):
        name = results.named(path)
        suite = _suite(root, name, results)
        for finding, case in _cases(suite, name, list(findings)):
            _failed(case, finding, results)
    if results.problems or not results.findings:
        _of_the_run(_suite(root, "torchmemlint", results), results)
    for suite in root:
        _close(suite)
    xml.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{xml.tostring(root, encoding="unicode")}\n'


def _suite(root: xml.Element, name: str, results: Results) -> xml.Element:
    package = "torchmemlint"
    started = results.started.strftime("%Y-%m-%dT%H:%M:%S")
    attributes = {"name": _clean(name), "package": package, "id": str(len(root)), "timestamp": started}
    suite = xml.SubElement(root, "testsuite", {**attributes, "hostname": "localhost", "time": "0"})
    xml.SubElement(suite, "properties")
    return suite


def _cases(suite: xml.Element, path: str, findings: list[Finding]) -> Iterator[tuple[Finding, xml.Element]]:
    seen: Counter[str] = Counter()
    for finding in findings:
        name = f"{finding.code} {finding.name}"
        name += f" in {finding.symbol}" if finding.symbol else ""
        seen[name] += 1
        yield finding, _case(suite, f"{name} ({seen[name]})" if seen[name] > 1 else name, path)


def _case(suite: xml.Element, name: str, path: str) -> xml.Element:
    return xml.SubElement(suite, "testcase", {"name": _clean(name), "classname": _clean(path), "time": "0"})


def _failed(case: xml.Element, finding: Finding, results: Results) -> None:
    kind = "error" if finding.code in ERRORS else "failure"
    message = _clean(f"{place(finding, results)}: {said(finding)}")
    failed = xml.SubElement(case, kind, {"message": message, "type": finding.severity.value})
    head = f"{place(finding, results)}: {finding.code} [{finding.confidence.value}] {one_line(finding.message)}"
    failed.text = _clean("\n".join([head, *details(finding, results)]))


def _of_the_run(suite: xml.Element, results: Results) -> None:
    """What could not be checked; where there is nothing to say, a test that passed, as no test looks like a fault."""
    for number, problem in enumerate(results.problems, 1):
        case = _case(suite, f"run ({number})", "torchmemlint")
        xml.SubElement(case, "error", {"message": _clean(one_line(problem)), "type": "not checked"})
    if not results.problems:
        _case(suite, "no findings", "torchmemlint")


def _close(suite: xml.Element) -> None:
    """Counts the cases and adds what the schema wants at the end."""
    cases = suite.findall("testcase")
    suite.set("tests", str(len(cases)))
    suite.set("failures", str(sum(case.find("failure") is not None for case in cases)))
    suite.set("errors", str(sum(case.find("error") is not None for case in cases)))
    xml.SubElement(suite, "system-out")
    xml.SubElement(suite, "system-err")


def _clean(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return _NOT_XML.sub("\ufffd", text)
