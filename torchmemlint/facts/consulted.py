"""What answering about a file asked of its project: whatever of that is unchanged, so is the answer."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Basis:
    """What an answer rests on.

    files    that were parsed, root-relative.
    words    that were looked for in all files.
    modules  last parts of the module names that were looked up.
    effects  whose carriers were asked for.
    """

    files: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()
    modules: frozenset[str] = frozenset()
    effects: frozenset[str] = frozenset()


@dataclass
class Consulted:
    """A Basis in the making."""

    files: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)
    effects: set[str] = field(default_factory=set)

    def basis(self) -> Basis:
        """What has been asked until now."""
        return Basis(*map(frozenset, (self.files, self.words, self.modules, self.effects)))


def module_name(relative: str) -> str:
    """The dotted name of a root-relative path."""
    name = relative.removesuffix(".py").removesuffix(".pyi").replace("/", ".")
    return name.removesuffix(".__init__") if name.endswith(".__init__") else name
