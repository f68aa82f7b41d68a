"""What the user chose: which rules, how sure, what fails a run. May not read files, print, or import rules.

The text of a configuration file and the known codes are handed in; `disk` finds the file, the faces
know the rules. Every mistake is one `SettingsError` that says where it is and what was meant.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torchmemlint.model import Applicability, Confidence, Severity
from torchmemlint.patterns import matches

OUTPUT_FORMATS = ("text", "concise", "json", "json-lines", "sarif", "github", "gitlab", "junit", "rdjson")
OPT_IN = "TML9"
DEFAULT_EXCLUDE = (
    *(".bzr", ".direnv", ".eggs", ".git", ".hg", ".ipynb_checkpoints", ".mypy_cache", ".nox", ".pyenv"),
    *(".pytest_cache", ".ruff_cache", ".svn", ".tox", ".venv", "__pycache__", "__pypackages__", "_build"),
    *("buck-out", "build", "dist", "node_modules", "site-packages", "venv"),
)

_ADDED_TO = ("ignore", "extend-select", "extend-exclude", "severity")
"""What the command line adds to what the file says, instead of taking its place."""
Codes = Mapping[str, str]
"""The known codes and the names of their rules."""
_TABLE = re.compile(r"\s*\[+[\w.\s-]+\]+\s*$")


class SettingsError(Exception):
    """A mistake in what the user chose, as one line."""


@dataclass(frozen=True)
class Settings:
    """The choices for one file, already validated. `base` is the folder that patterns are relative to.

    origins  where each choice comes from that somebody made: a place in a file, a flag.
    """

    select: tuple[str, ...] = ("TML",)
    extend_select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    per_file_ignores: tuple[tuple[str, tuple[str, ...]], ...] = ()
    min_confidence: Confidence = Confidence.MEDIUM
    fail_on: Severity = Severity.WARNING
    output_format: str = "text"
    exclude: tuple[str, ...] = DEFAULT_EXCLUDE
    extend_exclude: tuple[str, ...] = ()
    force_exclude: bool = False
    respect_gitignore: bool = True
    jobs: int = 0
    severity: tuple[tuple[str, Severity], ...] = ()
    require_reason: bool = False
    baseline: str = ""
    unsafe_fixes: bool = False
    fixable: tuple[str, ...] = ("ALL",)
    unfixable: tuple[str, ...] = ()
    base: str = ""
    place: str = ""
    origins: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def enabled(self, code: str) -> bool:
        """Whether a rule is on. The longest matching selector decides; `ignore` wins a draw.

        Opt-in rules are on only where a selector says so: `TML9...` or `ALL`.
        """
        chosen = (*self.select, *self.extend_select)
        if code.startswith(OPT_IN):
            chosen = tuple(one for one in chosen if one == "ALL" or one.startswith(OPT_IN))
        return _closeness(code, chosen) > _closeness(code, self.ignore)

    @property
    def applicable(self) -> frozenset[Applicability]:
        """Which kinds of fixes may be applied. Proofs never are."""
        return frozenset({Applicability.SAFE, Applicability.UNSAFE} if self.unsafe_fixes else {Applicability.SAFE})

    def fixes(self, code: str) -> bool:
        """Whether findings with this code may be fixed. The longest matching selector decides."""
        return _closeness(code, self.fixable) > _closeness(code, self.unfixable)

    @property
    def of_findings(self) -> Settings:
        """The same, but for what decides only what is done with findings and not which ones there are."""
        plain = Settings()
        return replace(
            self,
            fail_on=plain.fail_on,
            output_format=plain.output_format,
            jobs=plain.jobs,
            unsafe_fixes=plain.unsafe_fixes,
            fixable=plain.fixable,
            unfixable=plain.unfixable,
            place=plain.place,
        )

    def ignored(self, code: str) -> bool:
        """Whether the user asked for this code not to be reported."""
        return _closeness(code, self.ignore) >= 0

    def ignored_in(self, path: str, code: str) -> bool:
        """Whether `per-file-ignores` names the code for a path (relative to `base`, forward slashes)."""
        return any(
            _closeness(code, selectors) >= 0 and matches((pattern.removeprefix("!"),), path) != pattern.startswith("!")
            for pattern, selectors in self.per_file_ignores
        )

    def severity_of(self, code: str, otherwise: Severity) -> Severity:
        """The severity that the user gave a code: that of the longest selector, the last one in a draw."""
        fitting = [(_closeness(code, (one,)), level) for one, level in self.severity]
        closest = max((near for near, _ in fitting), default=-1)
        return next((level for near, level in reversed(fitting) if near == closest >= 0), otherwise)

    def excluded(self, path: str) -> bool:
        """Whether a file or folder is excluded by itself (relative to `base`, forward slashes)."""
        return matches((*self.exclude, *self.extend_exclude), path, whole=True)


def parse_config(text: str, path: str, base: str, known: Codes) -> Settings | None:
    """The settings of a configuration file, or None where it has none of ours. Raises SettingsError."""
    table: Any = _load(text, path)
    header = ""
    if re.split(r"[/\\]", path)[-1] == "pyproject.toml":
        header = "tool.torchmemlint"
        tool = table.get("tool", {})
        if not isinstance(tool, dict) or "torchmemlint" not in tool:
            return None
        table = tool["torchmemlint"]
    elif "tool" in table:
        place = _place(text, header, path, "tool")
        raise SettingsError(f"{place}: no [tool.torchmemlint] here: in this file the keys stand at the top")
    if not isinstance(table, dict):
        raise SettingsError(f"{path}: [tool.torchmemlint] must be a table")
    choices: dict[str, Any] = {}
    origins = {}
    reader = _Reader(lambda word: _place(text, header, path, word), known)
    for key, value in table.items():
        choices.update(reader.read(key, value))
        origins[key] = _place(text, header, path, key)
    if choices.get("baseline"):
        choices["baseline"] = os.path.normpath(os.path.join(base, choices["baseline"]))
    return replace(Settings(), **choices, base=base, place=path, origins=origins)


def _load(text: str, path: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):  # imported here, like difflib below: most runs start without needing it
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from None


def override(settings: Settings, flags: Mapping[str, object], known: Codes) -> Settings:
    """The settings with the command line on top; keys are flag names without dashes. Raises SettingsError.

    `select` on the command line starts afresh, as in ruff: `--select ALL` means all, whatever the file ignores.
    """
    choices: dict[str, Any] = {}
    origins = dict(settings.origins)
    for key, value in flags.items():
        flag = f"--{key}"
        choices.update(_Reader(lambda _, flag=flag: flag, known).read(key, value))  # type: ignore[misc]
    if "select" in choices:
        settings = replace(settings, ignore=(), extend_select=())
        origins = {key: place for key, place in origins.items() if key not in ("ignore", "extend-select")}
    for key in flags:
        added = key in _ADDED_TO and key in origins
        origins[key] = f"{origins[key]} and --{key}" if added else f"--{key}"
    for key in _ADDED_TO:
        name = key.replace("-", "_")
        choices[name] = (*getattr(settings, name), *choices.get(name, ()))
    return replace(settings, **choices, origins=origins)


class _Reader:
    """Turns one key and its value into fields of `Settings`; `place` says where a word stands."""

    def __init__(self, place: Callable[[str], str], known: Codes) -> None:
        self._place = place
        self._known = known

    def read(self, key: str, value: object) -> dict[str, Any]:
        if key not in _KEYS:
            raise SettingsError(f"{self._place(key)}: unknown key `{key}`{meant(key, _KEYS)}")
        return {key.replace("-", "_"): _KEYS[key](self, key, value)}

    def codes(self, key: str, value: object) -> tuple[str, ...]:
        chosen = self.words(key, value)
        for word in chosen:
            if word not in ("ALL", OPT_IN) and not (word and any(code.startswith(word) for code in self._known)):
                raise SettingsError(f"{self._place(word)}: unknown rule code `{word}`{meant_code(word, self._known)}")
        return chosen

    def words(self, key: str, value: object) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or not all(isinstance(word, str) for word in value):
            raise SettingsError(f"{self._place(key)}: `{key}` must be a list of strings")
        return tuple(value)

    def table(self, key: str, value: object) -> tuple[tuple[str, tuple[str, ...]], ...]:
        if not isinstance(value, dict):
            raise SettingsError(f"{self._place(key)}: `{key}` must be a table of patterns and lists of codes")
        return tuple((pattern, self.codes(pattern, selectors)) for pattern, selectors in value.items())

    def severities(self, key: str, value: object) -> tuple[tuple[str, Severity], ...]:
        if not isinstance(value, dict):
            raise SettingsError(f"{self._place(key)}: `{key}` must be a table of codes and severities")
        levels = [severity.value for severity in Severity]
        return tuple(
            (self.codes(code, [code])[0], Severity(self.choice(code, level, levels))) for code, level in value.items()
        )

    def text(self, key: str, value: object) -> str:
        if not isinstance(value, str):
            raise SettingsError(f"{self._place(key)}: `{key}` must be a string")
        return value

    def flag(self, key: str, value: object) -> bool:
        if not isinstance(value, bool):
            raise SettingsError(f"{self._place(key)}: `{key}` must be true or false")
        return value

    def count(self, key: str, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise SettingsError(f"{self._place(key)}: `{key}` must be a number, 0 for as many as there are cores")
        return value

    def choice(self, key: str, value: object, values: Iterable[str]) -> str:
        values = list(values)
        if not isinstance(value, str) or value not in values:
            near = meant(value, values) if isinstance(value, str) else ""
            raise SettingsError(f"{self._place(key)}: `{key}` must be one of {', '.join(values)}, not `{value}`{near}")
        return value


_KEYS: dict[str, Callable[[_Reader, str, object], Any]] = {
    "select": _Reader.codes,
    "extend-select": _Reader.codes,
    "ignore": _Reader.codes,
    "per-file-ignores": _Reader.table,
    "min-confidence": lambda r, key, value: Confidence(r.choice(key, value, [c.value for c in Confidence])),
    "fail-on": lambda r, key, value: Severity(r.choice(key, value, [s.value for s in Severity])),
    "output-format": lambda r, key, value: r.choice(key, value, OUTPUT_FORMATS),
    "exclude": _Reader.words,
    "extend-exclude": _Reader.words,
    "force-exclude": _Reader.flag,
    "respect-gitignore": _Reader.flag,
    "jobs": _Reader.count,
    "severity": _Reader.severities,
    "require-reason": _Reader.flag,
    "baseline": _Reader.text,
    "unsafe-fixes": _Reader.flag,
    "fixable": _Reader.codes,
    "unfixable": _Reader.codes,
}


def meant(word: str, words: Iterable[str]) -> str:
    """What the user may have meant, as the end of a message."""
    import difflib

    near = difflib.get_close_matches(word, list(words), n=1)
    return f"; did you mean `{near[0]}`?" if near else ""


def meant_code(word: str, known: Codes) -> str:
    """The same for a rule code, also where the rule's name was given."""
    import difflib

    by_name = {name: code for code, name in known.items()}
    near = difflib.get_close_matches(word.lower(), by_name, n=1, cutoff=0.8)
    if near:
        return f"; did you mean `{by_name[near[0]]}` ({near[0]})?"
    prefix = word.upper()
    if prefix and any(code.startswith(prefix) for code in known):
        return f"; did you mean `{prefix}`?"
    return meant(prefix, known)


def _closeness(code: str, selectors: Iterable[str]) -> int:
    """The length of the longest selector that names the code; `ALL` counts 0, none -1."""
    return max(
        (0 if one == "ALL" else len(one) for one in selectors if one == "ALL" or code.startswith(one)), default=-1
    )


def _place(text: str, header: str, path: str, word: str) -> str:
    """Where a word stands in the configuration file, as `path:line`; TOML's parser keeps no places."""
    inside = not header
    whole = re.compile(rf"(?<![\w-]){re.escape(word)}(?![\w-])")
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("#")[0]
        if header and _TABLE.match(line):
            inside = header in line
            line = line.replace(header, "")
        if inside and whole.search(line):
            return f"{path}:{number}"
    return path
