"""One file to the findings its user wants to see: settings, project, rules, engine, suppressions. May not print.

The command line and the flake8 plugin both come here, which is why they agree.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from torchmemlint.cache import digest
from torchmemlint.disk import DiskFiles, Target, as_shown, common_folder, config_files, project_root, read_bytes
from torchmemlint.document import Document, readable
from torchmemlint.engine import fingerprinted, lint, lint_file
from torchmemlint.facts.project import Files, Project
from torchmemlint.model import Confidence, Finding, Position, Severity, Span
from torchmemlint.rule import BAD_FILE, INTERNAL_ERROR, NOTICES, UNUSED, Rule, load_rules
from torchmemlint.settings import Settings, SettingsError, override, parse_config
from torchmemlint.source import BadFile, Source

STDIN = "-"
MAX_PROJECTS = 3
"""Projects whose words and helpers are kept between batches of files."""


def known_codes() -> dict[str, str]:
    """Every code that can be selected, with its name."""
    return {notice.code: notice.name for notice in NOTICES} | {rule.code: rule.name for rule in load_rules()}


@dataclass(frozen=True)
class Choice:
    """What was said for a whole run; goes to worker processes as it is.

    flags     settings given on the command line, by flag name without dashes.
    config    the one configuration file to use, "" to look for the nearest of each file.
    isolated  look for no configuration at all.
    otherwise the project folder of files that no marker claims.
    cached    whether findings are kept from run to run, and where: "" for each project's own folder.
    """

    flags: Mapping[str, object] = field(default_factory=dict)
    config: str = ""
    isolated: bool = False
    otherwise: str = ""
    cached: bool = False
    cache_folder: str = ""


class Checker:
    """Checks files, remembering settings by folder and projects by root; `files` gives those of a root."""

    def __init__(self, choice: Choice, files: Callable[[str], Files] = DiskFiles) -> None:
        self._files = files
        self._choice = choice
        self._known = known_codes()
        self._notices = {notice.code: notice.name for notice in NOTICES}
        self._rules = {code: name for code, name in self._known.items() if code not in self._notices}
        self._settings: dict[str, Settings] = {}
        self._projects: dict[str, Project] = {}
        self._roots: dict[str, str] = {}
        self._otherwise = choice.otherwise or common_folder([])

    def settings(self, folder: str) -> Settings:
        """The settings for the files of a folder. Raises SettingsError."""
        found = self._settings.get(folder)
        if found is None:
            found = override(self._configured(folder), self._choice.flags, self._known)
            self._settings[folder] = found
        return found

    def settings_of(self, target: Target) -> Settings:
        """The settings for a file. Raises SettingsError."""
        return self.settings(_folder(target))

    def _configured(self, folder: str) -> Settings:
        here = os.getcwd()
        if self._choice.isolated:
            return Settings(base=here)
        if self._choice.config:
            data = read_bytes(self._choice.config)
            if data is None:
                raise SettingsError(f"{self._choice.config}: cannot be read")
            chosen = parse_config(data.decode("utf-8", "replace"), self._choice.config, here, self._known)
            if chosen is None:
                raise SettingsError(f"{self._choice.config}: has no table [tool.torchmemlint]")
            return chosen
        for path, text in config_files(folder):
            near = parse_config(text, as_shown(path), os.path.dirname(path), self._known)
            if near is not None:
                return near
        return Settings(base=here)

    def root(self, folder: str) -> str:
        """The folder of the project that a folder belongs to."""
        if folder not in self._roots:
            self._roots[folder] = project_root(folder, self._otherwise)
        return self._roots[folder]

    def respects_gitignore(self, folder: str) -> bool:
        """Whether a walk of the folder leaves out what git ignores."""
        return self.settings(folder).respect_gitignore

    def excluded(self, path: str) -> bool:
        """Whether a walk leaves out a file or folder, given by its absolute path."""
        settings = self.settings(os.path.dirname(path))
        return settings.excluded(_relative(path, settings.base))

    def forced_out(self, path: str) -> bool:
        """Whether a file that the user named is left out all the same: it or a folder above it is excluded."""
        settings = self.settings(os.path.dirname(path))
        if not settings.force_exclude:
            return False
        parts = _relative(path, settings.base).split("/")
        return any(settings.excluded("/".join(parts[: n + 1])) for n in range(len(parts)))

    def check(self, target: Target, data: bytes, noqa: bool = True) -> list[Finding]:
        """The findings of one file that its settings and comments let through. Raises SettingsError."""
        settings, called, rules = self._asked(target)
        project = self.project(self.root(_folder(target)))
        try:
            document, found = lint_file(called, data, rules, project, settings.min_confidence)
            heard = self._heard(found, document.source, rules, settings, target, noqa)
            kept = [document.placed(one) for one in heard]
        except Exception as error:  # a bug of ours in one file must not hide the findings of the others
            kept = [_crash(called, error)]
        return [_renamed(one, called, target) for one in kept]

    def check_edited(self, target: Target, source: Source) -> list[Finding]:
        """The same of a source that became of a file's, with its places; the project's other files see it too."""
        settings, called, rules = self._asked(target)
        project = self.project(self.root(_folder(target))).seeing(called, source.data)
        source = Source(called, source.data)
        try:
            found = lint(source, rules, project, settings.min_confidence)
            kept = self._heard(found, source, rules, settings, target)
        except Exception as error:
            kept = [_crash(called, error)]
        return [_renamed(one, called, target) for one in kept]

    def _asked(self, target: Target) -> tuple[Settings, str, list[Rule]]:
        """A file's settings, what it is called, and the rules that look at it."""
        settings, inside = self.settings_of(target), self.inside(target)
        return settings, as_shown(target.path), [rule for rule in load_rules() if _wanted(rule, settings, inside)]

    def _heard(
        self,
        found: list[Finding],
        source: Source,
        ran: Iterable[Rule],
        settings: Settings,
        target: Target,
        noqa: bool = True,
    ) -> list[Finding]:
        """The findings that are reported and that no comment silences, and what is wrong with the comments."""
        inside = self.inside(target)
        kept = [one for one in found if _reported(one, settings, inside)]
        judging = settings.enabled(UNUSED) and not settings.ignored_in(inside, UNUSED) and _speaks_of_us(source.data)
        if kept or judging:
            from torchmemlint.stale import Judged, stale  # most files have neither findings nor comments about them
            from torchmemlint.suppress import Suppressions

            try:
                comments = Suppressions(source.lines)
            except BadFile:
                return [_weighed(one, settings) for one in kept]
            kept = [one for one in kept if one.code == INTERNAL_ERROR or not comments.silence(one, noqa)]
            if judging and all(one.code not in (INTERNAL_ERROR, BAD_FILE) for one in found):
                judged = Judged(
                    found, [rule.code for rule in ran], self._rules, self._notices, noqa, settings.require_reason
                )
                about = fingerprinted(source, stale(source.path, source.lines, comments, judged))
                kept = sorted([*kept, *about], key=lambda one: one.order)
        return [_weighed(one, settings) for one in kept]

    def inside(self, target: Target) -> str:
        """What the patterns of a file's settings are held against."""
        return _relative(target.path, self.settings_of(target).base)

    def opened(self, path: str, data: bytes | None = None) -> tuple[Document, Project]:
        """A file as it was linted, and its project; `data` where it is not on disk. Raises OSError and BadFile."""
        inside = path != STDIN
        folder = os.path.dirname(os.path.abspath(path)) if inside else os.getcwd()
        called = as_shown(os.path.abspath(path)) if inside else path
        if data is None:
            with open(path, "rb") as file:
                data = file.read()
        return readable(called, data), self.project(self.root(folder))

    def named(self, target: Target, data: bytes) -> str:
        """A name for a file's content together with everything else that its findings are asked with."""
        asked = f"{target.shown}\0{self.settings(os.path.dirname(target.path)).of_findings}\0"
        return digest(asked.encode("utf-8", "surrogateescape") + data)

    @property
    def projects(self) -> Mapping[str, Project]:
        """The projects met so far, by root."""
        return self._projects

    def project(self, root: str) -> Project:
        """The project in a folder."""
        if root not in self._projects:
            self._projects[root] = Project(self._files(root))
        self._projects[root] = found = self._projects.pop(root)  # the last one asked for comes last
        return found

    def let_go(self) -> None:
        """Keep what is known of the projects that were asked for last, and the trees of the last alone.

        A run over many has no room for all.
        """
        for root in list(self._projects)[:-MAX_PROJECTS]:
            del self._projects[root]
        for project in list(self._projects.values())[:-1]:
            project.shared.drop_trees()


def _folder(target: Target) -> str:
    return os.path.dirname(target.path) if target.path != STDIN else os.getcwd()


def _speaks_of_us(data: bytes) -> bool:
    """Whether a file may hold a comment that silences findings of ours."""
    return b"torchmemlint:" in data or (b"TML" in data and b"noqa" in data.lower())


def _relative(path: str, base: str) -> str:
    """A path below the base with forward slashes; outside it only the file's own name can be matched."""
    inside = path.removeprefix(base.rstrip(os.sep) + os.sep)
    return os.path.basename(path) if inside == path else inside.replace(os.sep, "/")


def _wanted(rule: Rule, settings: Settings, inside: str) -> bool:
    return settings.enabled(rule.code) and not settings.ignored_in(inside, rule.code)


def _reported(finding: Finding, settings: Settings, inside: str) -> bool:
    """An internal error is always reported, an unreadable text unless it is ignored by name."""
    if finding.code == INTERNAL_ERROR:
        return True
    if finding.code == BAD_FILE:
        return not (settings.ignored(BAD_FILE) or settings.ignored_in(inside, BAD_FILE))
    return finding.confidence.rank >= settings.min_confidence.rank


def _weighed(finding: Finding, settings: Settings) -> Finding:
    """The finding with the severity that the user gave to it."""
    if not settings.severity or finding.code == INTERNAL_ERROR:
        return finding
    return replace(finding, severity=settings.severity_of(finding.code, finding.severity))


def _renamed(finding: Finding, called: str, target: Target) -> Finding:
    """The same finding with its own file called what the user calls it."""
    why = tuple(replace(step, path=target.shown) if step.path == called else step for step in finding.why)
    return replace(finding, path=target.shown, why=why)


def _crash(path: str, error: Exception) -> Finding:
    start = Position(1, 0)
    message = f"internal error: {type(error).__name__}: {error}; please report it"
    code, name = INTERNAL_ERROR, "internal-error"
    return Finding(path, Span(start, start), code, name, Severity.ERROR, Confidence.HIGH, " ".join(message.split()))
