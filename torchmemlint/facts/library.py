"""Reads `torchmemlint/knowledge/*.pyi`: what library functions, classes and methods do.

The stubs are parsed with `ast`, never imported. May not know about user code.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib import resources

# Methods that among the objects of common libraries only tensors have.
TENSOR_ONLY_METHODS = frozenset(
    {"detach", "detach_", "backward", "item", "requires_grad_", "unsqueeze", "squeeze", "view_as", "expand_as",
     "argmax", "argmin", "contiguous", "permute", "softmax", "log_softmax", "clamp", "masked_fill", "numel",
     "new_zeros", "data_ptr"}
)  # fmt: skip


@dataclass(frozen=True)
class Signature:
    """What a library callable gives back and does. `result` is a word of knowledge/README.md."""

    result: str = ""
    parts: tuple[str, ...] = ()
    effects: frozenset[str] = frozenset()


@dataclass
class ClassStub:
    """A library class: its attributes, methods, and bases by dotted name."""

    name: str
    bases: tuple[str, ...]
    attributes: dict[str, str] = field(default_factory=dict)
    methods: dict[str, Signature] = field(default_factory=dict)


@dataclass
class ModuleStub:
    """A library module."""

    name: str
    functions: dict[str, Signature] = field(default_factory=dict)
    classes: dict[str, ClassStub] = field(default_factory=dict)
    same_as: str = ""  # another module's name: `from X import *` is all that the stub says
    instances: str = ""  # role of the instances of any capitalised name not listed


class Library:
    """All stubs, by dotted name."""

    def __init__(self, modules: dict[str, ModuleStub]) -> None:
        self.modules = modules
        self._roots = frozenset(name.partition(".")[0] for name in modules)
        self._functions: dict[str, Signature | None] = {}
        self._classes: dict[str, ClassStub | None] = {}
        self._names_with: dict[str, frozenset[str]] = {}

    def function(self, dotted: str) -> Signature | None:
        """The signature of a function, or of a class called as a constructor; None where nothing is known."""
        if dotted.partition(".")[0] not in self._roots:
            return None
        if dotted not in self._functions:
            self._functions[dotted] = self._function(dotted)
        return self._functions[dotted]

    def names_with(self, effect: str) -> frozenset[str]:
        """The last parts of the names of all functions and methods that declare an effect."""
        if effect not in self._names_with:
            self._names_with[effect] = self._named_with(effect)
        return self._names_with[effect]

    @cached_property
    def overridable(self) -> frozenset[str]:
        """Names of the methods that some class of a library declares an effect for."""
        stubs = [stub for module in self.modules.values() for stub in module.classes.values()]
        return frozenset(name for stub in stubs for name, signature in stub.methods.items() if signature.effects)

    def _named_with(self, effect: str) -> frozenset[str]:
        named = [module.functions for module in self.modules.values()]
        named += [stub.methods for module in self.modules.values() for stub in module.classes.values()]
        return frozenset(n for table in named for n, signature in table.items() if effect in signature.effects)

    def _function(self, dotted: str) -> Signature | None:
        module, name = self._split(dotted)
        if module is None or not name or "." in name:
            return None
        if name in module.functions:
            return module.functions[name]
        if module.instances and name[:1].isupper():
            return Signature(module.instances)
        return module.functions.get("__getattr__")

    def klass(self, dotted: str) -> ClassStub | None:
        """A class stub by dotted name; re-exports such as `pytorch_lightning.core.LightningModule` resolve by name."""
        if dotted.partition(".")[0] not in self._roots:
            return None
        if dotted not in self._classes:
            module, name = self._split(dotted)
            self._classes[dotted] = module.classes.get(name.rsplit(".", 1)[-1]) if module is not None else None
        return self._classes[dotted]

    def is_subclass(self, dotted: str, base: str) -> bool:
        """Whether a library class is (or derives from) another."""
        if dotted == base:
            return True
        if base == "torch.nn.Module":
            module, name = self._split(dotted)
            if module is not None and module.instances == "Module" and name[:1].isupper():
                return True
        stub = self.klass(dotted)
        return stub is not None and any(self.is_subclass(self._absolute(stub, b), base) for b in stub.bases)

    def method(self, dotted: str, name: str) -> Signature | None:
        """A method of a library class or of its bases, without the class's `__getattr__`."""
        stub = self.klass(dotted)
        if stub is None:
            if self.is_subclass(dotted, "torch.nn.Module"):
                return self.method("torch.nn.Module", name)
            return None
        if name in stub.methods:
            return stub.methods[name]
        for base in stub.bases:
            found = self.method(self._absolute(stub, base), name)
            if found is not None:
                return found
        return None

    def _absolute(self, stub: ClassStub, base: str) -> str:
        return base if "." in base else f"{stub.name.rsplit('.', 1)[0]}.{base}"

    def _split(self, dotted: str) -> tuple[ModuleStub | None, str]:
        """The longest module prefix that has a stub, and the rest of the name."""
        parts = dotted.split(".")
        if parts[0] not in self._roots:
            return None, ""
        for size in range(len(parts) - 1, 0, -1):
            module = self.modules.get(".".join(parts[:size]))
            if module is not None:
                return module, ".".join(parts[size:])
        return None, ""


@lru_cache(maxsize=1)
def library() -> Library:
    """The shipped stubs."""
    modules = {}
    for entry in resources.files("torchmemlint.knowledge").iterdir():
        if entry.name.endswith(".pyi"):
            name = entry.name.removesuffix(".pyi")
            modules[name] = read_stub(name, entry.read_text(encoding="utf-8"))
    for name, module in modules.items():
        if module.same_as:
            modules[name] = modules[module.same_as]
    return Library(modules)


def read_stub(name: str, text: str) -> ModuleStub:
    """Parse one stub. Raises SyntaxError for text that is not Python."""
    module = ModuleStub(name)
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef):
            if node.name == "__getattr__" and isinstance(node.returns, ast.Subscript):
                module.instances = _word(node.returns.slice)
            else:
                module.functions[node.name] = _signature(node)
        elif isinstance(node, ast.ClassDef):
            module.classes[node.name] = _class(name, node)
        elif isinstance(node, ast.ImportFrom):
            module.same_as = node.module or ""
    return module


def _class(module: str, node: ast.ClassDef) -> ClassStub:
    stub = ClassStub(f"{module}.{node.name}", tuple(ast.unparse(base) for base in node.bases))
    for item in node.body:
        if isinstance(item, ast.FunctionDef):
            stub.methods[item.name] = _signature(item)
        elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            stub.attributes[item.target.id] = _word(item.annotation)
    return stub


def _signature(node: ast.FunctionDef) -> Signature:
    effects = frozenset(_word(decorator) for decorator in node.decorator_list)
    returns = node.returns
    if isinstance(returns, ast.Subscript) and isinstance(returns.slice, ast.Tuple):
        return Signature("tuple", tuple(_word(part) for part in returns.slice.elts), effects)
    return Signature(_word(returns) if returns is not None else "", (), effects)


def _word(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ast.unparse(node)
