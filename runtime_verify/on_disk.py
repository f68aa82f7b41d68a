"""Findings' files and their projects on disk, each project opened once. May not lint or print."""

from __future__ import annotations

import os

from torchmemlint.disk import DiskFiles, common_folder, project_root
from torchmemlint.facts.project import Project
from torchmemlint.model import Finding
from torchmemlint.source import Source


class OnDisk:
    """Opens the file and the project of a finding: what `plan_findings` asks for.

    otherwise  the project folder of files that no marker claims; the current folder by default.
    """

    def __init__(self, otherwise: str = "") -> None:
        self._otherwise = otherwise or common_folder([])
        self._projects: dict[str, Project] = {}

    def __call__(self, finding: Finding) -> tuple[Source, Project, Finding]:
        """The finding's file, its project, and the finding. Raises OSError where the file cannot be read."""
        path = os.path.abspath(finding.path)
        with open(path, "rb") as file:
            source = Source(finding.path, file.read())
        root = project_root(os.path.dirname(path), self._otherwise)
        if root not in self._projects:
            self._projects[root] = Project(DiskFiles(root))
        return source, self._projects[root], finding
