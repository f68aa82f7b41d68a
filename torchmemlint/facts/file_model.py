"""The query surface that rules ask."""

from __future__ import annotations

from torchmemlint.facts.project import Project
from torchmemlint.source import Source, Tree


class FileModel:
    def __init__(self, source: Source, tree: Tree, project: Project) -> None:
        self.source = source
        self.path = source.path
