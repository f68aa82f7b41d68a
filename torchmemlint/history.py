"""What git says has changed in a work tree since a revision, and what changed files held then. Knows no settings.

The past is that of the merge base: the commit that the current one and the revision have in common, which is
what a pull request is compared with. The present is the disk: what is not committed counts, and new files do.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from torchmemlint.disk import DiskFiles, read_bytes

SUFFIXES = (".py", ".pyi", ".ipynb")
_LEFT_OUT = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
"""What git tells its hooks, which is about another folder than ours."""


class HistoryError(Exception):
    """Why the past cannot be told, in one line."""


@dataclass(frozen=True)
class Changes:
    """The changes of Python files and notebooks in one work tree. Paths are relative to its top, with slashes.

    before  the files that have changed or gone, as they were.
    added   the files that were not there.
    """

    top: str
    base: str
    before: Mapping[str, bytes] = field(default_factory=dict)
    added: frozenset[str] = frozenset()

    def called(self, path: str) -> str | None:
        """What git calls a file; None for one outside the work tree. A link is called what it leads to."""
        real = os.path.realpath(path)
        inside = real.startswith(self.top.rstrip(os.sep) + os.sep)
        return real[len(self.top) :].lstrip(os.sep).replace(os.sep, "/") if inside else None

    def found(self, called: str) -> str:
        """Where a file is, or was."""
        return os.path.join(self.top, called.replace("/", os.sep))

    def read(self, called: str) -> bytes | None:
        """What a file held then; None where it was not there."""
        if called in self.added:
            return None
        return self.before[called] if called in self.before else read_bytes(self.found(called))


def work_tree(folder: str) -> str:
    """The top of the work tree that a folder lies in. Raises HistoryError."""
    while not os.path.isdir(folder):  # standard input may be called as it likes
        folder = os.path.dirname(folder)
    top = _asked(folder, "rev-parse", "--show-toplevel")
    if top is None:
        raise HistoryError(f"{folder} is in no work tree of git")
    return os.path.realpath(os.fsdecode(top.rstrip(b"\r\n")))


def changes_since(top: str, revision: str) -> Changes:
    """What has changed in a work tree since its history and that of a revision parted. Raises HistoryError."""
    if _asked(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}") is None:
        raise HistoryError(f"unknown revision `{revision}`{_shallow(top)}")
    if _asked(top, "rev-parse", "--verify", "--quiet", "HEAD^{commit}") is None:
        raise HistoryError("nothing is committed yet")
    base = _asked(top, "merge-base", "--end-of-options", revision, "HEAD")
    if base is None:
        raise HistoryError(f"`{revision}` and HEAD have no commit in common{_shallow(top)}")
    commit = base.decode().strip()
    flags = ("--raw", "-z", "--no-abbrev", "--no-renames", "--no-relative", "--no-ext-diff", "--ignore-submodules")
    raw = _demanded(top, "diff", *flags, commit)
    old, added = _changed(raw)
    untracked = _demanded(top, "ls-files", "--others", "--exclude-standard", "-z")
    added |= {os.fsdecode(name) for name in untracked.split(b"\0") if name}
    kept = {path: blob for path, blob in old.items() if path.endswith(SUFFIXES)}
    contents = _blobs(top, list(kept.values()))
    before = dict(zip(kept, contents, strict=True))
    return Changes(top, commit, before, frozenset(path for path in added if path.endswith(SUFFIXES)))


def _changed(raw: bytes) -> tuple[dict[str, str], set[str]]:
    """The blobs of the files that have changed or gone, and the files that came, out of `git diff --raw -z`."""
    old: dict[str, str] = {}
    added: set[str] = set()
    parts = iter(raw.split(b"\0"))
    for head in parts:
        if not head:
            continue
        mode, _, blob, _, _ = head.removeprefix(b":").decode().split(" ")
        path = os.fsdecode(next(parts))
        if mode.startswith("100"):
            old[path] = blob
        else:  # it was not there, or was a link
            added.add(path)
    return old, added


def _blobs(top: str, names: Sequence[str]) -> list[bytes]:
    """The contents of blobs, all from one process."""
    if not names:
        return []
    data = _demanded(top, "cat-file", "--batch", text="".join(f"{name}\n" for name in names).encode())
    found, at = [], 0
    for name in names:
        end = data.index(b"\n", at)
        head = data[at:end].split(b" ")
        if len(head) != 3:
            raise HistoryError(f"git cannot read {name}: {data[at:end].decode(errors='replace')}")
        size = int(head[2])
        found.append(data[end + 1 : end + 1 + size])
        at = end + size + 2
    return found


def _shallow(top: str) -> str:
    """The usual reason for missing history, as the end of a message."""
    shallow = _asked(top, "rev-parse", "--is-shallow-repository")
    return "; the clone is shallow: fetch more of it" if shallow is not None and shallow.strip() == b"true" else ""


def _asked(folder: str, *arguments: str) -> bytes | None:
    """What git answers, None where it says no."""
    done = _git(folder, arguments)
    return done.stdout if done.returncode == 0 else None


def _demanded(folder: str, *arguments: str, text: bytes = b"") -> bytes:
    """What git answers. Raises HistoryError."""
    done = _git(folder, arguments, text)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"]
        raise HistoryError(f"git {arguments[0]}: {said[0]}")
    return done.stdout


def _git(folder: str, arguments: Sequence[str], text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    kept = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT}
    environment = kept | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        return subprocess.run(
            ["git", "-C", folder, *arguments], input=text, capture_output=True, env=environment, check=False
        )
    except FileNotFoundError:
        raise HistoryError("git is not installed, or not on the path") from None
    except OSError as error:
        raise HistoryError(f"git cannot be run: {error.strerror}") from None


class PastFiles:
    """A project's Python files as they were; what git does not know of counts as unchanged."""

    def __init__(self, root: str, changes: Changes) -> None:
        self._disk = DiskFiles(root)
        self._changes = changes
        inside = changes.called(os.path.join(root, "x"))
        self._prefix = inside[:-1] if inside is not None else None
        self._paths: list[str] | None = None

    def paths(self) -> Iterable[str]:
        """All of them, relative to the root."""
        if self._paths is None:
            now = {path for path in self._disk.paths() if self._called(path) not in self._changes.added}
            self._paths = sorted(now | set(self._gone()))
        return self._paths

    def _gone(self) -> Iterable[str]:
        for called in self._changes.before:
            if self._prefix is not None and called.startswith(self._prefix) and called.endswith(".py"):
                yield called.removeprefix(self._prefix)

    def read(self, path: str) -> bytes | None:
        """What one of them held."""
        called = self._called(path)
        changed = called is not None and (called in self._changes.before or called in self._changes.added)
        return self._changes.read(called) if called is not None and changed else self._disk.read(path)

    def _called(self, path: str) -> str | None:
        return None if self._prefix is None else self._prefix + path

    def relative(self, path: str) -> str | None:
        """A path relative to the root, None where it lies outside."""
        return self._disk.relative(path)

    def named(self, path: str) -> str:
        """A root-relative path as the user would name it."""
        return self._disk.named(path)
