"""The catalogue of rules is current, complete and counts what the fixtures admit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cases import all_cases
from torchmemlint.faces import catalogue
from torchmemlint.faces.check import known_codes
from torchmemlint.faces.pages import rule_url
from torchmemlint.rule import load_rules


def test_the_committed_page_is_current() -> None:
    assert catalogue.main(["--check"]) == 0, "run python -m torchmemlint.faces.catalogue, and commit the page"


def test_every_rule_has_a_row_with_a_link_that_leads_somewhere() -> None:
    text = catalogue.page(load_rules(), catalogue.known_limits(catalogue.FIXTURES))
    links = dict(re.findall(r"\[(TML\d{3})\]\(([^)]+)\)", text))
    assert sorted(links) == [rule.code for rule in load_rules()]
    assert all((catalogue.PAGE.parent / file).is_file() for file in links.values())


def test_every_code_has_a_place_that_its_address_leads_to() -> None:
    text = catalogue.PAGE.read_text(encoding="utf-8")
    for code in known_codes():
        page, _, place = rule_url(code).partition("#")
        assert page.endswith(catalogue.PAGE.relative_to(catalogue.PACKAGE.parent).as_posix())
        assert text.count(f'<a id="{place}"></a>') == 1, code


def test_limits_are_counted_like_the_markers_are_read() -> None:
    """The catalogue reads comments on its own; the tests' reader of markers must agree."""
    read: dict[tuple[str, str], int] = {}
    for case in all_cases():
        for path in case.files:
            for marker in case.markers(path):
                if marker.kind in ("missed", "false-alarm"):
                    read[marker.code, marker.kind] = read.get((marker.code, marker.kind), 0) + 1
    assert dict(catalogue.known_limits(catalogue.FIXTURES)) == read


def test_check_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(catalogue, "PAGE", tmp_path / "README.md")
    assert catalogue.main(["--check"]) == 1
    assert "python -m torchmemlint.faces.catalogue" in capsys.readouterr().err
    assert catalogue.main([]) == 0 and catalogue.main(["--check"]) == 0


def test_limits_in_a_fixture(tmp_path: Path) -> None:
    folder = tmp_path / "tml101" / "proj_x"
    folder.mkdir(parents=True)
    (folder / "a.py").write_text(
        "x = 1  # missed: two hops\ny = 2  # false-alarm TML301 TML302: bounded\nz = 3  # ok: fine\n"
    )
    found = catalogue.known_limits(tmp_path)
    assert found == {("TML101", "missed"): 1, ("TML301", "false-alarm"): 1, ("TML302", "false-alarm"): 1}
