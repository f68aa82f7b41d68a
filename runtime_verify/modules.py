"""Which file of the project a module name means, and the outline of each file, read once a project.

What an installed library or the standard library answers to is never taken from the project. May not
cut anything out.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from dataclasses import dataclass

from runtime_verify.outline import Outline, outline
from torchmemlint.facts.project import Files, Project
from torchmemlint.source import BadFile, Source

LIBRARIES = frozenset({"torch", "numpy"}) | sys.stdlib_module_names
"""Top-level names that always mean the library: a folder `torch/` of stubs or examples is not torch."""
OFTEN_INSTALLED = frozenset(
    ("accelerate", "apex", "clip", "datasets", "deepspeed", "diffusers", "einops", "evaluate", "lightning", "peft")
) | frozenset(("tensorboard", "timm", "tokenizers", "transformers", "wandb"))
"""Libraries whose names projects also give to parts of their own packages (`pkg/datasets/`)."""
LARGEST_FILE = 2_000_000
MOST_OUTLINES = 300
"""Modules whose trees are kept in memory: a few times what one slice takes."""
ROOT_PACKAGE = "project"
"""What the project's own top folder is called where a relative import needs it to be a package."""


@dataclass(frozen=True)
class Place:
    """A module's dotted name and the file it stands in, relative to the project's root."""

    name: str
    path: str

    @property
    def is_package(self) -> bool:
        return self.path.endswith("__init__.py")

    @property
    def package(self) -> str:
        """The dotted name that relative imports of level 1 start from."""
        return self.name if self.is_package else self.name.rpartition(".")[0]


class Modules:
    """The modules of one project."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._files: Files | None = project.shared.files
        self._paths: frozenset[str] | None = None
        self._found: dict[tuple[str, str], str | None] = {}
        self._outlines: OrderedDict[str, tuple[Outline, list[str]] | None] = OrderedDict()

    def flagged(self, path: str, relative_imports: bool) -> Place:
        """The place of the module in a file: named from the outermost folder that is a package.

        A file that imports relatively is named from the project's root, whatever its folders are.
        """
        folders = path.split("/")[:-1]
        stem = path.rpartition("/")[2].removesuffix(".py")
        top = len(folders)
        while top and "/".join([*folders[:top], "__init__.py"]) in self._all():
            top -= 1
        if relative_imports and top == len(folders):
            top = 0
        parts = [*folders[top:], *([] if stem == "__init__" else [stem])]
        if relative_imports and len(parts) == 1 and stem != "__init__":
            parts = [ROOT_PACKAGE, *parts]
        return Place(".".join(parts) or ROOT_PACKAGE, path)

    def absolute(self, dotted: str, near: str) -> Place | None:
        """The module that an absolute name means in the file `near`."""
        if dotted.partition(".")[0] in LIBRARIES:
            return None
        key = (dotted, near.rpartition("/")[0])
        if key not in self._found:
            path = self._project.shared.module(dotted, near)
            self._found[key] = None if path is None or self._is_part(dotted, path) else path
        found = self._found[key]
        return Place(dotted, found) if found is not None else None

    def _is_part(self, dotted: str, path: str) -> bool:
        """Whether a library's name was found deep in the project or inside a package: there the library is meant."""
        parts = dotted.split(".")
        folders = path.removesuffix("/__init__.py").split("/")
        above = folders[: len(folders) - len(parts)]
        inside = len(above) > 1 or "/".join([*above, "__init__.py"]) in self._all()
        return parts[0] in OFTEN_INSTALLED and inside

    def relative(self, dotted: str, level: int, at: Place) -> Place | None:
        """The module that a relative name with leading dots means in the module `at`."""
        folders = at.path.split("/")[:-1]
        package = at.package.split(".") if at.package else []
        above = level - 1
        if above > len(folders) or above >= len(package):
            return None
        tail = dotted.split(".") if dotted else []
        path = [*folders[: len(folders) - above], *tail]
        name = ".".join([*package[: len(package) - above], *tail])
        for candidate in ("/".join([*path, "__init__.py"]), "/".join(path) + ".py"):
            if candidate in self._all():
                return Place(name, candidate)
        return None

    def outline(self, path: str) -> tuple[Outline, list[str]] | None:
        """The outline and the lines of a file, None where it cannot be read or is no Python."""
        if path in self._outlines:
            self._outlines.move_to_end(path)
        else:
            self._outlines[path] = self._read(path)
            if len(self._outlines) > MOST_OUTLINES:
                self._outlines.popitem(last=False)
        return self._outlines[path]

    def shown(self, path: str) -> str:
        """A root-relative path as the user would name it."""
        return self._files.named(path) if self._files is not None else path

    def relative_path(self, path: str) -> str:
        """A path as the user names it, relative to the project's root where it lies inside."""
        return self._project.shared.relative(path)

    def _all(self) -> frozenset[str]:
        if self._paths is None:
            self._paths = frozenset(self._files.paths()) if self._files is not None else frozenset()
        return self._paths

    def _read(self, path: str) -> tuple[Outline, list[str]] | None:
        data = self._files.read(path) if self._files is not None else None
        if data is None or len(data) > LARGEST_FILE:
            return None
        source = Source(path, data)
        try:
            screen = source.screen
            return (outline(screen.module), text_lines(source)) if screen is not None else None
        except (BadFile, RecursionError):
            return None


def text_lines(source: Source) -> list[str]:
    """The lines of a source without their ends, as Python counts them."""
    return [line.rstrip("\r\n") for line in source.lines]
