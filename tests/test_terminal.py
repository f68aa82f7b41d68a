"""What a stream gets of a report: colour, links, width and characters, by the terminal and the environment."""

from __future__ import annotations

import io
import re

import pytest

from torchmemlint.faces import frames, full, report, terminal
from torchmemlint.faces.frames import Line
from torchmemlint.faces.terminal import Colour, Looks, looks, write
from torchmemlint.model import Severity
from torchmemlint.rule import load_rules


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


XTERM = {"TERM": "xterm-256color"}
LINE: Line = [("TML101", "bold red link https://example.org/#tml101"), (" über", ""), (" 日本", "blue")]


@pytest.mark.parametrize(
    ("screen", "chosen", "environment", "colour"),
    [
        (True, "auto", {}, True),
        (False, "auto", {}, False),
        (False, "always", {"NO_COLOR": "1", "TERM": "dumb"}, True),
        (True, "never", {"FORCE_COLOR": "1"}, False),
        (True, "auto", {"NO_COLOR": "1"}, False),
        (True, "auto", {"NO_COLOR": ""}, True),
        (True, "auto", {"TERM": "dumb"}, False),
        (True, "auto", {"CLICOLOR": "0"}, False),
        (False, "auto", {"FORCE_COLOR": "1", "NO_COLOR": "1"}, True),
        (False, "auto", {"FORCE_COLOR": "0"}, False),
        (False, "auto", {"CLICOLOR_FORCE": "1"}, True),
        (False, "auto", {"CLICOLOR_FORCE": "0"}, False),
    ],
)
def test_colour(screen: bool, chosen: str, environment: dict[str, str], colour: bool) -> None:
    stream = Screen() if screen else io.StringIO()
    assert looks(stream, Colour(chosen), XTERM | environment).colour is colour


@pytest.mark.parametrize(
    ("screen", "chosen", "environment", "links"),
    [
        (True, "auto", {}, False),  # a terminal that nobody knows may print what it does not understand
        (True, "auto", {"TERM_PROGRAM": "vscode"}, True),
        (True, "auto", {"TERM_PROGRAM": "vscode", "NO_COLOR": "1"}, True),  # a link is no colour
        (True, "never", {"TERM_PROGRAM": "vscode"}, False),
        (True, "auto", {"TERM_PROGRAM": "vscode", "CI": "true"}, False),
        (True, "auto", {"TERM": "xterm-kitty"}, True),
        (True, "auto", {"VTE_VERSION": "7200"}, True),
        (True, "auto", {"VTE_VERSION": "4200"}, False),
        (False, "auto", {"TERM_PROGRAM": "vscode"}, False),
        (False, "auto", {"FORCE_HYPERLINK": "1"}, True),
        (True, "auto", {"TERM_PROGRAM": "vscode", "FORCE_HYPERLINK": "0"}, False),
    ],
)
def test_links(screen: bool, chosen: str, environment: dict[str, str], links: bool) -> None:
    stream = Screen() if screen else io.StringIO()
    assert looks(stream, Colour(chosen), XTERM | environment).links is links


def written(how: Looks) -> str:
    stream = io.StringIO()
    write([LINE], stream, how)
    return stream.getvalue()


def test_what_is_written() -> None:
    assert written(Looks()) == "TML101 über 日本\n"
    assert written(Looks(colour=True)) == "\x1b[1;31mTML101\x1b[0m über\x1b[34m 日本\x1b[0m\n"
    assert written(Looks(links=True)) == "\x1b]8;;https://example.org/#tml101\x1b\\TML101\x1b]8;;\x1b\\ über 日本\n"


def test_characters_that_the_encoding_lacks_keep_their_width() -> None:
    assert written(Looks(encoding="ascii")) == "TML101 ?ber ????\n"
    assert written(Looks(encoding="latin-1")) == "TML101 über ????\n"
    stream = io.StringIO()
    write([[("caf\udce9.py", "")]], stream, Looks(encoding="ascii"))  # a byte of a name, for the stream to escape
    assert stream.getvalue() == "caf\udce9.py\n"


def test_every_style_has_its_code() -> None:
    styles = (*report.STYLES.values(), full.REASON, frames.GUTTER, "bright_black", "green", "magenta", "red")
    assert {word for style in styles for word in style.split()} <= set(terminal._CODES)
    assert set(report.STYLES) == {severity.value for severity in Severity}


def test_a_code_leads_to_the_page_of_its_rule() -> None:
    from test_full import FINDING

    (style,) = [style for text, style in report.coded(FINDING) if text == FINDING.code]
    assert re.search(r" link https://\S+#tml302$", style)
    assert FINDING.code in {rule.code for rule in load_rules()}
