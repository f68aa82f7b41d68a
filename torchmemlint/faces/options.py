"""The command line's grammar: flags to settings. May not read files, lint or print (argparse prints --help)."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from torchmemlint import __version__
from torchmemlint.faces.terminal import Colour
from torchmemlint.model import Confidence, Severity
from torchmemlint.settings import OUTPUT_FORMATS, SettingsError, meant

LISTS = ("select", "extend-select", "ignore", "exclude", "extend-exclude", "fixable", "unfixable")
FORMAT_VARIABLE = "TORCHMEMLINT_OUTPUT_FORMAT"
NAMING = ("select", "extend-select", "config", "baseline", "write-baseline", "evidence", "output-file", "cache-dir")
"""Flags whose value names what is meant: an empty one is a shell variable that is not set."""
CHOICES = ("min-confidence", "fail-on", "output-format")
EPILOG = (
    "Exit status: 0 no finding at or above --fail-on, 1 findings, 2 something could not be checked, "
    "130 stopped by Ctrl-C, 143 by SIGTERM. "
    "Silence a line with `# noqa: TML101` or `# torchmemlint: ignore[TML101] reason`."
)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line instead of printing the whole usage first."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message} (see --help)")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Says what may have been meant besides what there is."""
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            near = meant(str(value), known)
            raise argparse.ArgumentError(action, f"invalid choice: {value!r}{near} (choose from {', '.join(known)})")


def parser() -> Parser:
    made = Parser(
        prog="torchmemlint",
        usage="torchmemlint [FLAGS] [PATH ...]",
        description="Finds PyTorch memory anti-patterns without running or importing anything.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    made.add_argument("paths", nargs="*", metavar="PATH", help="files and folders; `-` for standard input (default: .)")
    made.add_argument("--version", action="version", version=f"torchmemlint {__version__}")
    _add_rules(made.add_argument_group("rules"))
    _add_adoption(made.add_argument_group("only what is new"))
    _add_files(made.add_argument_group("files"))
    _add_fixes(made.add_argument_group("fixes"))
    _add_output(made.add_argument_group("output"))
    _add_run(made.add_argument_group("run"))
    _add_verification(made.add_argument_group("verification (runs the flagged code)"))
    return made


def _add_rules(group: argparse._ArgumentGroup) -> None:
    codes: dict[str, Any] = {"metavar": "CODES", "action": "append"}
    group.add_argument("--select", help="codes or prefixes to enable, comma-separated; ALL for every rule", **codes)
    group.add_argument("--extend-select", help="codes or prefixes to enable besides", **codes)
    group.add_argument("--ignore", help="codes or prefixes to disable", **codes)
    confidences = [confidence.value for confidence in Confidence]
    group.add_argument("--min-confidence", choices=confidences, help="least confidence to report (default: medium)")
    severities = [severity.value for severity in Severity]
    group.add_argument("--fail-on", choices=severities, help="least severity to exit with 1 (default: warning)")
    group.add_argument(
        "--severity", metavar="CODE=LEVEL", action="append", help="severity of a code or prefix: error, warning, info"
    )
    group.add_argument("--exit-zero", action="store_true", help="exit with 0 in spite of findings")
    group.add_argument(
        "--explain",
        metavar="RULES",
        action="append",
        help="print the documentation of rules, by codes, prefixes or names, comma-separated, or `all`",
    )
    group.add_argument("--list-rules", action="store_true", help="list the rules")


def _add_adoption(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--baseline", metavar="FILE", help="leave out the findings that this baseline knows")
    group.add_argument("--no-baseline", action="store_true", help="report also what the configured baseline knows")
    group.add_argument(
        "--write-baseline", metavar="FILE", help="make a baseline of the findings; take out of one what is gone"
    )
    group.add_argument("--accept-new", action="store_true", help="let --write-baseline also take in what is new")
    group.add_argument("--diff-base", metavar="REV", help="report only what was not there when REV and HEAD parted")


def _add_files(group: argparse._ArgumentGroup) -> None:
    patterns: dict[str, Any] = {"metavar": "PATTERNS", "action": "append"}
    group.add_argument(
        "--exclude", help="files and folders to leave out, comma-separated, instead of the default", **patterns
    )
    group.add_argument("--extend-exclude", help="files and folders to leave out besides", **patterns)
    group.add_argument(
        "--force-exclude", action="store_true", help="leave out excluded files also where they are named"
    )
    group.add_argument("--no-respect-gitignore", action="store_true", help="walk into what .gitignore names")
    group.add_argument("--stdin-filename", metavar="PATH", help="what standard input is called")
    group.add_argument("--config", metavar="FILE", help="use this configuration file for everything")
    group.add_argument("--isolated", action="store_true", help="use no configuration file")
    group.add_argument("--show-settings", action="store_true", help="print the settings that count for the first path")
    group.add_argument("--show-files", action="store_true", help="print the files that would be checked")


def _add_fixes(group: argparse._ArgumentGroup) -> None:
    codes: dict[str, Any] = {"metavar": "CODES", "action": "append"}
    group.add_argument("--fix", action="store_true", help="apply the safe fixes of the findings")
    group.add_argument(
        "--unsafe-fixes",
        action=argparse.BooleanOptionalAction,
        help="also fixes that may change what the program computes; alone, count them among the fixable",
    )
    group.add_argument("--diff", action="store_true", help="print what --fix would change as a patch, change nothing")
    group.add_argument("--fixable", help="codes or prefixes that --fix may fix (default: ALL)", **codes)
    group.add_argument("--unfixable", help="codes or prefixes that --fix leaves alone", **codes)
    group.add_argument("--exit-non-zero-on-fix", action="store_true", help="exit with 1 also where all could be fixed")


def _add_output(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--output-format", choices=OUTPUT_FORMATS, help=f"default: text, or what {FORMAT_VARIABLE} says")
    group.add_argument("--output-file", metavar="FILE", help="write the report there")
    group.add_argument("--statistics", action="store_true", help="count findings by rule instead of listing them")
    colours = [colour.value for colour in Colour]
    group.add_argument("--color", choices=colours, default="auto", help="when to use colour (default: auto)")
    group.add_argument("-q", "--quiet", action="store_true", help="print findings and errors, nothing else")
    group.add_argument("-s", "--silent", action="store_true", help="print errors only; the exit status tells")


def _add_run(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--jobs", type=int, metavar="N", help="processes; 0, the default, for as many as pay")
    group.add_argument("--no-cache", action="store_true", help="lint everything anew, keep nothing")
    group.add_argument("--cache-dir", metavar="DIR", help="keep findings there, not in .torchmemlint_cache")
    group.add_argument(
        "--lsp", action="store_true", help="serve an editor over standard input (Language Server Protocol)"
    )


def _add_verification(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--verify",
        action="store_true",
        help="run each finding's code on a device, as written and with the fix, and judge",
    )
    group.add_argument("--verify-device", metavar="DEVICE", help="cuda, cuda:N or cpu (default: cuda)")
    group.add_argument(
        "--verify-only", metavar="WORDS", action="append", help="only these: codes, prefixes or paths, comma-separated"
    )
    group.add_argument(
        "--entry", metavar="COMMAND", help='run the real program: "train.py --epochs 1" or pkg.mod:function'
    )
    group.add_argument("--dry-run", action="store_true", help="say what --verify would run; runs nothing")
    group.add_argument(
        "--keep-harness", metavar="DIR", help="write each run there as a script that runs with python alone"
    )
    group.add_argument("--timeout", type=float, metavar="SECONDS", help="longest time for one run (default: 120)")
    group.add_argument(
        "--evidence", metavar="FILE", help="keep verdicts in this file; without --verify, show those that it has"
    )
    group.add_argument("--drop-refuted", action="store_true", help="leave out findings that were refuted")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line. Raises SettingsError for one that makes no sense."""
    made = parser()
    asked, unknown = made.parse_known_args(arguments)
    if unknown:
        flag = unknown[0].split("=")[0]
        known = [option for action in made._actions for option in action.option_strings]
        raise SettingsError(f"unknown flag `{flag}`{meant(flag, known)} (see --help)")
    for name in NAMING:
        value = getattr(asked, name.replace("-", "_"))
        if value is not None and not words([value] if isinstance(value, str) else value):
            raise SettingsError(f"--{name}: names nothing; leave the flag out to do without it")
    asked.config = asked.config or ""
    if asked.isolated and asked.config:
        raise SettingsError("--isolated and --config exclude each other")
    if "-" in asked.paths and len(asked.paths) > 1:
        raise SettingsError("standard input cannot be checked together with files")
    if asked.stdin_filename and "-" not in asked.paths:
        raise SettingsError("--stdin-filename needs the path `-`")
    if asked.silent:
        asked.quiet = True
    _demand_verify(asked)
    _demand_fix(asked)
    _demand_baseline(asked)
    if asked.output_format is None:
        asked.output_format = _format_of(os.environ)
    return asked


def _format_of(environment: Mapping[str, str]) -> str | None:
    """The report's format where the environment names one, as CI does for every command of a job."""
    named = environment.get(FORMAT_VARIABLE)
    if not named:
        return None
    if named not in OUTPUT_FORMATS:
        near = meant(named, OUTPUT_FORMATS)
        raise SettingsError(f"{FORMAT_VARIABLE}: `{named}` is none of {', '.join(OUTPUT_FORMATS)}{near}")
    return named


def _demand_baseline(asked: argparse.Namespace) -> None:
    """Flags on baselines that exclude each other."""
    if asked.accept_new and not asked.write_baseline:
        raise SettingsError("--accept-new needs --write-baseline FILE")
    for one, others in (
        ("baseline", ("no_baseline",)),
        ("write_baseline", ("no_baseline", "fix", "diff", "dry_run", "diff_base")),
    ):
        for other in others:
            if getattr(asked, one) and getattr(asked, other):
                raise SettingsError(f"--{one} and --{other} exclude each other".replace("_", "-"))
    if (
        asked.write_baseline
        and asked.baseline
        and os.path.abspath(asked.baseline) != os.path.abspath(asked.write_baseline)
    ):
        raise SettingsError("--baseline and --write-baseline name different files")
    if asked.write_baseline and "-" in asked.paths and not asked.stdin_filename:
        raise SettingsError("--write-baseline needs --stdin-filename to call standard input by")


def _demand_verify(asked: argparse.Namespace) -> None:
    """Flags that say how to verify make no sense without --verify."""
    if asked.verify:
        return
    for name in ("verify_device", "verify_only", "entry", "dry_run", "keep_harness", "timeout"):
        if getattr(asked, name):
            raise SettingsError(f"--{name.replace('_', '-')} needs --verify")
    if asked.drop_refuted and not asked.evidence:
        raise SettingsError("--drop-refuted needs --verify or --evidence FILE")


def _demand_fix(asked: argparse.Namespace) -> None:
    """Fixing goes with linting, not with what replaces it."""
    if asked.exit_non_zero_on_fix and not asked.fix:
        raise SettingsError("--exit-non-zero-on-fix needs --fix")
    if asked.exit_non_zero_on_fix and asked.exit_zero:
        raise SettingsError("--exit-non-zero-on-fix and --exit-zero exclude each other")
    if not (asked.fix or asked.diff):
        return
    flag = "--diff" if asked.diff else "--fix"
    if asked.verify:
        raise SettingsError(f"{flag} and --verify exclude each other: verify first, then fix")
    for name in ("explain", "list_rules", "show_settings", "show_files"):
        if getattr(asked, name):
            raise SettingsError(f"{flag} and --{name.replace('_', '-')} exclude each other")
    if asked.diff and asked.statistics:
        raise SettingsError("--diff prints a patch; --statistics does not go with it")
    if asked.diff and asked.output_format:
        raise SettingsError("--diff prints a patch; --output-format does not go with it")


def flags(asked: argparse.Namespace) -> dict[str, object]:
    """The settings given on the command line, by flag name."""
    given: dict[str, object] = {}
    for key in (*LISTS, *CHOICES, "jobs"):
        value = getattr(asked, key.replace("-", "_"))
        if value is not None:
            given[key] = words(value) if key in LISTS else value
    if asked.baseline or asked.no_baseline:
        given["baseline"] = os.path.abspath(asked.baseline) if asked.baseline else ""
    if asked.severity:
        given["severity"] = _pairs("--severity", words(asked.severity))
    if asked.force_exclude:
        given["force-exclude"] = True
    if asked.unsafe_fixes is not None:
        given["unsafe-fixes"] = asked.unsafe_fixes
    if asked.no_respect_gitignore:
        given["respect-gitignore"] = False
    return given


def _pairs(flag: str, words: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise SettingsError(f"{flag}: `{word}` is no CODE=LEVEL, as in `TML101=error`")
        pairs[key.strip()] = value.strip()
    return pairs


def words(values: Sequence[str]) -> list[str]:
    return [word.strip() for value in values for word in value.split(",") if word.strip()]
