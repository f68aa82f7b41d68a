"""The disk: which files to lint, which folder is their project, their bytes. May not lint, print, or know settings.

A project is the folder that holds a marker file nearest above a path; without one it is the folder the
caller names. Symbolic links to folders are never followed, so no walk runs in circles.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

PYTHON_SUFFIXES = (".py", ".pyi", ".ipynb")
PROJECT_MARKERS = ("pyproject.toml", "setup.py", "setup.cfg", "torchmemlint.toml", ".git")
CONFIG_FILES = ("torchmemlint.toml", "pyproject.toml")
SKIPPED_FOLDERS = frozenset(("__pycache__", "node_modules", "site-packages", "venv"))
MAX_PROJECT_FILES = 50_000
MAX_AROUND = 5_000
"""Python files from which on an unmarked current folder is no project because something in it is linted."""
MAX_CACHED_BYTES = 64_000_000
MAX_FILE_BYTES = 20_000_000


@dataclass(frozen=True)
class Target:
    """A file to lint: where it is, and what the user would call it."""

    path: str
    shown: str


@dataclass
class Found:
    """What discovery came back with; `problems` could not be looked at, `empty` are folders without Python."""

    targets: list[Target] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Filters:
    """What to leave out; the callables are given absolute paths. Files named by the user stay in unless `force`."""

    excluded: Callable[[str], bool] = lambda path: False
    gitignore: Callable[[str], bool] = lambda folder: True
    force: Callable[[str], bool] = lambda path: False


def discover(paths: Iterable[str], filters: Filters) -> Found:
    """The files that the given paths stand for, each once: folders walked in sorted order, files as they are."""
    found = Found()
    seen: set[str] = set()
    for path in paths:
        here = os.path.abspath(path)
        if filters.force(here):
            continue
        if os.path.isdir(here):
            targets = list(_walk(path, here, filters, found.problems))
            if not targets:
                found.empty.append(path)
        elif os.path.lexists(here):
            targets = [Target(here, path)]
        else:
            found.problems.append(f"{path}: No such file or directory")
            continue
        found.targets += [target for target in targets if target.path not in seen]
        seen.update(target.path for target in targets)
    return found


def _walk(shown: str, top: str, filters: Filters, problems: list[str]) -> Iterator[Target]:
    prefix = "" if os.path.normpath(shown) == "." else os.path.normpath(shown)
    ignores = _Ignores(top) if filters.gitignore(top) else None

    def unreadable(error: OSError) -> None:
        problems.append(f"{os.path.join(prefix, _below(error.filename, top)) or '.'}: {error.strerror}")

    for folder, folders, files in os.walk(top, onerror=unreadable):
        if ignores:
            ignores.enter(folder, ".gitignore" in files)
        kept = []
        for name in sorted(folders):
            child = os.path.join(folder, name)
            if not (_skipped(child, name) or filters.excluded(child) or (ignores and ignores.ignored(child, True))):
                kept.append(name)
        folders[:] = kept
        for name in sorted(files):
            child = os.path.join(folder, name)
            if not name.endswith(PYTHON_SUFFIXES) or name.startswith(".#"):  # .# is an editor's lock, not a file
                continue
            if filters.excluded(child) or (ignores and ignores.ignored(child, False)):
                continue
            if os.path.isfile(child) or os.path.islink(child):  # reading a pipe would wait for ever
                yield Target(child, os.path.join(prefix, _below(child, top)))


def _below(path: str, folder: str) -> str:
    """The rest of a path below a folder that it starts with; relpath would ask the system each time."""
    return path[len(folder) :].lstrip(os.sep)


def _skipped(path: str, name: str) -> bool:
    """Folders that hold nobody's own code: hidden ones, virtual environments, installed packages."""
    return name.startswith(".") or name in SKIPPED_FOLDERS or os.path.exists(os.path.join(path, "pyvenv.cfg"))


class _Ignores:
    """The .gitignore files of a walk, from the top of the work tree down; the nearest one with an opinion wins."""

    def __init__(self, top: str) -> None:
        self._specs: dict[str, Any] = {}
        above: list[str] = []
        for folder in _upwards(top):
            above.append(folder)
            if os.path.lexists(os.path.join(folder, ".git")):
                for one in reversed(above[1:]):
                    self.enter(one, os.path.exists(os.path.join(one, ".gitignore")))
                break
        if self.ignored(top, True):  # the user named an ignored folder: what lies above has had its say
            self._specs.clear()

    def enter(self, folder: str, has_file: bool) -> None:
        path = os.path.join(folder, ".gitignore")
        if not has_file or folder in self._specs or not os.path.isfile(path):  # reading a pipe would wait for ever
            return
        from pathspec import GitIgnoreSpec  # only where there is such a file: the import is not free

        data = read_bytes(path) or b""
        self._specs[folder] = GitIgnoreSpec.from_lines(data.decode("utf-8", "replace").splitlines())

    def ignored(self, path: str, is_folder: bool) -> bool:
        if not self._specs:
            return False
        for folder in _upwards(os.path.dirname(path)):
            if spec := self._specs.get(folder):
                inside = _below(path, folder).replace(os.sep, "/")
                verdict = spec.check_file(inside + "/" if is_folder else inside).include
                if verdict is not None:
                    return bool(verdict)
        return False


def _upwards(folder: str) -> Iterator[str]:
    while True:
        yield folder
        above = os.path.dirname(folder)
        if above == folder:
            return
        folder = above


def read_bytes(path: str) -> bytes | None:
    """A file's bytes, or None where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def rewrite(path: str, before: bytes, after: bytes) -> str:
    """Gives a file new content, all of it or none; what kept it from that, "" where nothing did.

    The file is replaced by a finished one, with the same permissions; a link stays, and what it points to changes.
    """
    import tempfile  # slow to import, and most runs write nothing

    path = os.path.realpath(path)
    draft = ""
    try:
        found = os.stat(path)
        if not found.st_mode & 0o222 or not os.access(path, os.W_OK):
            return "the file is read-only"
        handle, draft = tempfile.mkstemp(dir=os.path.dirname(path), prefix=f".{os.path.basename(path)}.")
        with open(handle, "wb") as file:
            file.write(after)
            file.flush()
            os.fsync(file.fileno())
        _same_owner(draft, found)
        if read_bytes(path) != before:
            return "the file has changed since it was read"
        os.replace(draft, path)
        draft = ""
    except OSError as error:
        return f"the file cannot be written: {error.strerror or error}"
    finally:
        if draft:
            with contextlib.suppress(OSError):
                os.unlink(draft)
    return ""


def _same_owner(path: str, like: os.stat_result) -> None:
    """Gives a file the owner, where that is allowed, and the permissions of another."""
    if hasattr(os, "chown"):
        with contextlib.suppress(OSError):
            os.chown(path, like.st_uid, like.st_gid)
    os.chmod(path, stat.S_IMODE(like.st_mode))


def as_shown(path: str) -> str:
    """An absolute path as a user in the current folder would write it."""
    here = os.getcwd()
    return _below(path, here) if _inside(path, here) and path != here else path


def project_root(folder: str, otherwise: str) -> str:
    """The nearest folder above with a project's marker; without one `otherwise`, if the folder lies inside it."""
    for above in _upwards(folder):
        if _is_project(above):
            return above
    return otherwise if _inside(folder, otherwise) else folder


def _is_project(folder: str) -> bool:
    return any(os.path.lexists(os.path.join(folder, marker)) for marker in PROJECT_MARKERS)


def repository_root(folder: str) -> str:
    """The git work tree that a folder lies in, with links resolved; the folder itself where it lies in none."""
    folder = os.path.realpath(folder)
    for above in _upwards(folder):
        if os.path.lexists(os.path.join(above, ".git")):
            return above
    return folder


def common_folder(paths: Sequence[str]) -> str:
    """Where files without a marked project belong: the current folder if all lie in it, else what they share.

    A current folder with more files than a project has, such as a home directory, counts only if it was named itself.
    """
    here = os.getcwd()
    folders = [path if os.path.isdir(path) else os.path.dirname(path) for path in map(os.path.abspath, paths)]
    if all(_inside(folder, here) for folder in folders):
        if not folders or here in folders or _is_project(here) or not DiskFiles(here).has(MAX_AROUND):
            return here
    try:
        return os.path.commonpath(folders)
    except ValueError:  # different drives
        return here


def config_files(folder: str) -> Iterator[tuple[str, str]]:
    """Paths and texts of the files that may hold our settings, nearest first; only those that speak of us."""
    for above in _upwards(folder):
        for name in CONFIG_FILES:
            path = os.path.join(above, name)
            if os.path.isfile(path) and (data := read_bytes(path)) is not None:
                if name != "pyproject.toml" or b"torchmemlint" in data:
                    yield path, data.decode("utf-8", "replace")


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


class DiskFiles:
    """A project's Python files on disk; listed at the first question, read one by one, bounded in both."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._paths: list[str] | None = None
        self._cache: OrderedDict[str, bytes] = OrderedDict()
        self._cached = 0

    def paths(self) -> Iterable[str]:
        """All Python files, relative to the root, nearest the root first where there are too many to keep.

        A root without a marker is a folder that may hold many projects: what lies in those is not its own.
        """
        if self._paths is None:
            self._paths = sorted(self._list(MAX_PROJECT_FILES))
        return self._paths

    def has(self, files: int) -> bool:
        """Whether there are as many Python files as that."""
        return len(self._list(files)) >= files

    def _list(self, most: int) -> list[str]:
        found: list[str] = []
        level = [self.root]
        foreign = PROJECT_MARKERS if not _is_project(self.root) else ()
        while level and len(found) < most:
            below: list[str] = []
            for folder in level:
                names, folders = _entries(folder, foreign)
                inside = _below(folder, self.root).replace(os.sep, "/")
                found += [f"{inside}/{name}" if inside else name for name in names]
                below += folders
            level = below
        return found[:most]

    def read(self, path: str) -> bytes | None:
        """The bytes of one file, or None where it cannot be read or is larger than any source should be."""
        if path in self._cache:
            self._cache.move_to_end(path)
            return self._cache[path]
        full = os.path.join(self.root, path)
        try:
            data = None if os.path.getsize(full) > MAX_FILE_BYTES else read_bytes(full)
        except OSError:
            return None
        if data is not None:
            self._cache[path] = data
            self._cached += len(data)
            while self._cached > MAX_CACHED_BYTES:
                self._cached -= len(self._cache.popitem(last=False)[1])
        return data

    def relative(self, path: str) -> str | None:
        """A path relative to the root, None where it lies outside or is standard input."""
        full = os.path.abspath(path)
        if path == "-" or not _inside(full, self.root) or full == self.root:
            return None
        return _below(full, self.root).replace(os.sep, "/")

    def named(self, path: str) -> str:
        """A root-relative path as the user would name it."""
        return as_shown(os.path.join(self.root, path.replace("/", os.sep)))


def _entries(folder: str, foreign: Sequence[str]) -> tuple[list[str], list[str]]:
    """The Python files and the folders worth entering of one folder, sorted; none where it has what is foreign."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return [], []
    if any(entry.name in foreign for entry in entries):
        return [], []
    files = [entry.name for entry in entries if entry.name.endswith(".py") and _is_file(entry)]
    folders = [e.path for e in entries if e.is_dir(follow_symlinks=False) and not _skipped(e.path, e.name)]
    return files, folders


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()  # reading a pipe would wait for ever
    except OSError:  # a link that leads round in a circle
        return False
