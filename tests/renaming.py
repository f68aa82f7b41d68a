"""Renames what a fixture made up to a1, b2, ... and leaves every line where it was.

Renamed: variables, parameters, functions, classes, methods and attributes that the files define, wherever
they are used, across the files of a project. Kept: what libraries and the language own, that is imported
names, attributes and keyword arguments of libraries, dunder names, `self` and `cls`, methods that a framework
calls by name, module names, and text in strings.

Decides on the syntax tree, one occurrence at a time, with as much resolution as it takes: the receiver of an
attribute is `self`, a class, an instance made in the same function, a module of the project, or unknown;
an attribute of an unknown receiver is renamed unless a library has one of that name.
"""

from __future__ import annotations

import builtins
import itertools
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider

KNOWLEDGE = Path(__file__).resolve().parent.parent / "torchmemlint" / "knowledge"

# Called by name: by torch, by Lightning, by transformers' Trainer, by the standard library.
FRAMEWORK = re.compile(
    r"forward|backward|setup_context|vjp|jvp|extra_repr|reset_parameters|setup|teardown|prepare_data|compute_loss|"
    r"compute_metrics|prediction_step|evaluation_loop|evaluate|predict|log|log_metrics|create_optimizer|training_step|"
    r"validation_step|test_step|predict_step|manual_backward|configure_\w+|\w+_dataloader|on_\w+|optimizer_step|"
    r"optimizer_zero_grad|lr_scheduler_step|(training|validation|test|predict)_\w*(step|epoch)_end|policy|step|run"
)
MORE_LIBRARY = """
    T H mT data grad grad_fn requires_grad is_leaf shape dtype device layout ndim name names weight bias training
    logits loss hidden_states last_hidden_state past_key_values attentions sequences label labels dataset batch_size
    args model optimizer train eval append clear extend pop remove add update submit result shutdown register_hook
    register_forward_hook register_forward_pre_hook register_full_backward_hook collect empty_cache handles utils
    reset sample step close write read open start end elapsed_time group param_groups state grads global_step config
    log_prob probs entropy numpy cpu cuda to item detach tolist save_for_backward saved_tensors needs_input_grad
    hidden_size input_size out_features in_features num_layers current_epoch trainer logger callbacks
    inference_mode no_grad enable_grad set_grad_enabled OutOfMemoryError
"""


def _library_names() -> frozenset[str]:
    found = set(MORE_LIBRARY.split())
    for stub in KNOWLEDGE.glob("*.pyi"):
        for one, other in re.findall(r"^\s*(?:def|class)\s+(\w+)|^\s*(\w+)\s*:", stub.read_text("utf-8"), re.MULTILINE):
            found.add(one or other)
    for kind in (list, dict, set, str, bytes, tuple, int, float, object, BaseException, type):
        found.update(dir(kind))
    return frozenset(found)


LIBRARY = _library_names()
BUILTINS = frozenset(dir(builtins))
KEPT = frozenset({"self", "cls", "_"})


@dataclass
class ClassFacts:
    """A class of the fixture: the names of its bases, what it defines, the parameters of its methods."""

    bases: list[str] = field(default_factory=list)
    library_base: bool = False
    defines: set[str] = field(default_factory=set)
    methods: dict[str, set[str]] = field(default_factory=dict)


@dataclass
class Facts:
    """What the files of a project define, all files together."""

    modules: set[str]
    variables: set[str] = field(default_factory=set)
    imported: set[str] = field(default_factory=set)
    functions: dict[str, set[str]] = field(default_factory=dict)
    classes: dict[str, ClassFacts] = field(default_factory=dict)
    loose: set[str] = field(default_factory=set)
    everything: set[str] = field(default_factory=set)

    def family(self, name: str) -> list[ClassFacts]:
        """A class and those of its bases that the fixture defines."""
        found: dict[str, ClassFacts] = {}
        todo = [name]
        while todo:
            here = todo.pop()
            if here in self.classes and here not in found:
                found[here] = self.classes[here]
                todo += self.classes[here].bases
        return list(found.values())

    def owns(self, name: str, attribute: str) -> bool:
        """Whether an attribute of a class of ours is ours to rename."""
        family = self.family(name)
        if not any(attribute in facts.defines for facts in family):
            return False
        if any(facts.library_base for facts in family):
            return not FRAMEWORK.fullmatch(attribute) and attribute not in LIBRARY
        return True

    def owns_loosely(self, attribute: str) -> bool:
        """Whether an attribute of an unknown object is ours to rename."""
        defined = attribute in self.loose or any(attribute in facts.defines for facts in self.classes.values())
        if not defined or attribute in LIBRARY:
            return False
        owners = [name for name, facts in self.classes.items() if attribute in facts.defines]
        return all(self.owns(name, attribute) for name in owners)


def rename(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files with neutral names. Same lines, same layout, other columns."""
    parsed = {path: MetadataWrapper(cst.parse_module(data)) for path, data in files.items()}
    facts = Facts(modules=_module_names(files))
    for path, wrapper in parsed.items():
        _Collect(facts, path).walk(wrapper.module)
    for known in facts.classes.values():
        known.library_base = any(base not in facts.classes and base != "object" for base in known.bases)
    fresh = _neutral(facts.everything | LIBRARY | BUILTINS)
    names: dict[str, str] = {}
    wanted = {name for name in facts.everything if not _reserved(name)}
    for name in sorted(wanted):
        names[name] = next(fresh)
    return {
        path: _edited(files[path], _Rewrite(facts, names, wrapper, path).edits()) for path, wrapper in parsed.items()
    }


def _reserved(name: str) -> bool:
    return name in KEPT or name in BUILTINS or (name.startswith("__") and name.endswith("__"))


def _neutral(taken: set[str] | frozenset[str]) -> Iterator[str]:
    for number in itertools.count(1):
        name = f"{string.ascii_lowercase[(number - 1) % 26]}{number}"
        if name not in taken:
            yield name


def _module_names(files: dict[str, bytes]) -> set[str]:
    """Every dotted prefix of the files' modules."""
    found: set[str] = set()
    for path in files:
        parts = path.removesuffix(".py").removesuffix("/__init__").split("/")
        found.update(".".join(parts[: end + 1]) for end in range(len(parts)))
    return found


def _edited(data: bytes, edits: list[tuple[int, int, str, str]]) -> bytes:
    lines = data.decode().split("\n")
    for line, column, old, new in sorted(edits, reverse=True):
        text = lines[line - 1]
        assert text[column : column + len(old)] == old, (line, column, old)
        lines[line - 1] = text[:column] + new + text[column + len(old) :]
    return "\n".join(lines).encode()


def dotted(node: cst.CSTNode | None) -> str:
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        return f"{dotted(node.value)}.{node.attr.value}"
    return ""


def parameters(node: cst.Parameters) -> list[cst.Param]:
    found = [*node.posonly_params, *node.params, *node.kwonly_params]
    return found + [star for star in (node.star_arg, node.star_kwarg) if isinstance(star, cst.Param)]


def own_module(facts: Facts, path: str, node: cst.ImportFrom) -> str | None:
    """The project's module that a `from` import names, "" for the root of the project; None for a library."""
    module = dotted(node.module) if node.module is not None else ""
    if node.relative:
        parts = path.split("/")[: -len(node.relative)]
        return ".".join([*parts, module] if module else parts)
    return module if module in facts.modules else None


class _Collect:
    """First pass: who defines what."""

    def __init__(self, facts: Facts, path: str) -> None:
        self.facts = facts
        self.path = path
        self.classes: list[str | None] = []

    def walk(self, node: cst.CSTNode) -> None:
        if isinstance(node, cst.Name):
            self.facts.everything.add(node.value)
        handler = getattr(self, f"on_{type(node).__name__}", None)
        if handler is not None:
            handler(node)
        if isinstance(node, (cst.ClassDef, cst.FunctionDef, cst.Lambda)):
            self.classes.append(node.name.value if isinstance(node, cst.ClassDef) else None)
        for child in node.children:
            self.walk(child)
        if isinstance(node, (cst.ClassDef, cst.FunctionDef, cst.Lambda)):
            self.classes.pop()

    def here(self) -> str | None:
        """The class whose body this is directly."""
        return self.classes[-1] if self.classes else None

    def inside(self) -> str | None:
        """The class whose method this is in."""
        return next((name for name in reversed(self.classes) if name is not None), None)

    def bind(self, name: str) -> None:
        if (owner := self.here()) is not None:
            self.facts.classes[owner].defines.add(name)
        self.facts.variables.add(name)

    def on_ClassDef(self, node: cst.ClassDef) -> None:
        facts = self.facts.classes.setdefault(node.name.value, ClassFacts())
        facts.bases += [dotted(base.value) for base in node.bases]
        self.facts.variables.add(node.name.value)

    def on_FunctionDef(self, node: cst.FunctionDef) -> None:
        names = {param.name.value for param in parameters(node.params)}
        if (owner := self.here()) is not None:
            facts = self.facts.classes[owner]
            facts.defines.add(node.name.value)
            facts.methods.setdefault(node.name.value, set()).update(names)
        else:
            self.facts.functions.setdefault(node.name.value, set()).update(names)
            self.facts.variables.add(node.name.value)

    def on_Param(self, node: cst.Param) -> None:
        self.facts.variables.add(node.name.value)

    def on_AsName(self, node: cst.AsName) -> None:
        self.target(node.name)

    def on_AssignTarget(self, node: cst.AssignTarget) -> None:
        self.target(node.target)

    def on_AnnAssign(self, node: cst.AnnAssign) -> None:
        self.target(node.target)

    def on_AugAssign(self, node: cst.AugAssign) -> None:
        self.target(node.target)

    def on_NamedExpr(self, node: cst.NamedExpr) -> None:
        self.target(node.target)

    def on_For(self, node: cst.For) -> None:
        self.target(node.target)

    def on_CompFor(self, node: cst.CompFor) -> None:
        self.target(node.target)

    def on_MatchAs(self, node: cst.MatchAs) -> None:
        if node.name is not None:
            self.bind(node.name.value)

    def on_MatchStar(self, node: cst.MatchStar) -> None:
        if node.name is not None:
            self.bind(node.name.value)

    def target(self, node: cst.CSTNode) -> None:
        if isinstance(node, cst.Name):
            self.bind(node.value)
        elif isinstance(node, cst.Attribute):
            owner = self.inside()
            if dotted(node.value) in KEPT and owner is not None:
                self.facts.classes[owner].defines.add(node.attr.value)
            else:
                self.facts.loose.add(node.attr.value)
        elif isinstance(node, (cst.Tuple, cst.List)):
            for element in node.elements:
                self.target(element.value)

    def on_Import(self, node: cst.Import) -> None:
        for alias in node.names:
            if alias.asname is None:
                self.facts.imported.add(dotted(alias.name).split(".")[0])

    def on_ImportFrom(self, node: cst.ImportFrom) -> None:
        module = own_module(self.facts, self.path, node)
        if isinstance(node.names, cst.ImportStar):
            return
        for alias in node.names:
            name = dotted(alias.name)
            is_module = module is not None and f"{module}.{name}".lstrip(".") in self.facts.modules
            if alias.asname is None and (module is None or is_module):
                self.facts.imported.add(name)


class _Rewrite:
    """Second pass: which occurrences become which name."""

    def __init__(self, facts: Facts, names: dict[str, str], wrapper: MetadataWrapper, path: str) -> None:
        self.facts = facts
        self.names = names
        self.module = wrapper.module
        self.positions = wrapper.resolve(PositionProvider)
        self.path = path
        self.found: list[tuple[int, int, str, str]] = []
        self.classes: list[str | None] = []
        self.instances: list[dict[str, str]] = []
        self.libraries: set[str] = set()
        self.own_modules: set[str] = set()

    def edits(self) -> list[tuple[int, int, str, str]]:
        self.instances.append(self.made_here(self.module))
        self.walk(self.module)
        return self.found

    # ---- decisions --------------------------------------------------------------------------------

    def replace(self, node: cst.Name) -> None:
        if node.value in self.names:
            start = self.positions[node].start
            self.found.append((start.line, start.column, node.value, self.names[node.value]))

    def is_variable(self, name: str) -> bool:
        if name in self.facts.imported or name not in self.facts.variables:
            return False
        owner = self.classes[-1] if self.classes else None
        return owner is None or name not in self.facts.classes[owner].defines or self.facts.owns(owner, name)

    def is_own_attribute(self, node: cst.Attribute) -> bool:
        """Whether `receiver.attribute` is something that the fixture made up."""
        attribute, receiver = node.attr.value, node.value
        path = dotted(receiver)
        root = path.split(".")[0]
        if path in KEPT or (isinstance(receiver, cst.Call) and dotted(receiver.func) == "super"):
            owner = next((name for name in reversed(self.classes) if name is not None), None)
            return owner is not None and self.facts.owns(owner, attribute)
        if path in self.own_modules:
            return self.is_plain_variable(attribute)
        if root in self.libraries:
            return False
        owner = path if path in self.facts.classes else self.instance_of(receiver)
        if owner is not None and any(attribute in facts.defines for facts in self.facts.family(owner)):
            return self.facts.owns(owner, attribute)
        return self.facts.owns_loosely(attribute)

    def is_plain_variable(self, name: str) -> bool:
        return name in self.facts.variables and name not in self.facts.imported

    def instance_of(self, node: cst.CSTNode) -> str | None:
        """The class of ours that an expression is an instance of, where that is plain to see."""
        if isinstance(node, cst.Call) and dotted(node.func) in self.facts.classes:
            return dotted(node.func)
        if isinstance(node, cst.Name):
            return next((scope[node.value] for scope in reversed(self.instances) if node.value in scope), None)
        return None

    def made_here(self, scope: cst.CSTNode) -> dict[str, str]:
        """Names that a function (or the module) binds to instances of our classes, and to nothing else."""
        found: dict[str, set[str | None]] = {}

        def look(node: cst.CSTNode) -> None:
            for child in node.children:
                if isinstance(child, (cst.FunctionDef, cst.ClassDef, cst.Lambda)):
                    continue
                if isinstance(child, cst.Assign) and isinstance(child.targets[0].target, cst.Name):
                    value = child.value
                    kind = dotted(value.func) if isinstance(value, cst.Call) else ""
                    nothing = isinstance(value, cst.Name) and value.value == "None"
                    if not nothing:
                        name = child.targets[0].target.value
                        found.setdefault(name, set()).add(kind if kind in self.facts.classes else None)
                if isinstance(child, cst.WithItem) and isinstance(child.item, cst.Call) and child.asname is not None:
                    kind = dotted(child.item.func)
                    found.setdefault(dotted(child.asname.name), set()).add(kind if kind in self.facts.classes else None)
                look(child)

        look(scope)
        return {name: kind for name, kinds in found.items() if len(kinds) == 1 for kind in kinds if kind is not None}

    def keyword_is_own(self, call: cst.Call, keyword: str) -> bool:
        """Whether a keyword argument names a parameter of a function of ours."""
        callee: cst.BaseExpression = call.func
        if dotted(callee).rsplit(".", 1)[-1] == "partial" and call.args:
            callee = call.args[0].value
        name = dotted(callee)
        if isinstance(callee, cst.Name) and name not in self.facts.imported:
            if name in self.facts.classes:
                return any(keyword in facts.methods.get("__init__", ()) for facts in self.facts.family(name))
            return keyword in self.facts.functions.get(name, ())
        if isinstance(callee, cst.Attribute):
            attribute = callee.attr.value
            if dotted(callee.value) in self.own_modules:
                return keyword in self.facts.functions.get(attribute, ())
            if self.is_own_attribute(callee):
                return any(keyword in facts.methods.get(attribute, ()) for facts in self.facts.classes.values())
        return False

    # ---- the walk ---------------------------------------------------------------------------------

    def walk(self, node: cst.CSTNode) -> None:
        handler = getattr(self, f"on_{type(node).__name__}", None)
        if handler is not None:
            handler(node)
        else:
            self.children(node)

    def children(self, node: cst.CSTNode) -> None:
        for child in node.children:
            self.walk(child)

    def on_Name(self, node: cst.Name) -> None:
        if self.is_variable(node.value):
            self.replace(node)

    def on_Attribute(self, node: cst.Attribute) -> None:
        self.walk(node.value)
        if self.is_own_attribute(node):
            self.replace(node.attr)

    def on_Call(self, node: cst.Call) -> None:
        self.walk(node.func)
        for arg in node.args:
            if arg.keyword is not None and self.keyword_is_own(node, arg.keyword.value):
                self.replace(arg.keyword)
            self.walk(arg.value)

    def on_FunctionDef(self, node: cst.FunctionDef) -> None:
        owner = self.classes[-1] if self.classes else None
        if self.facts.owns(owner, node.name.value) if owner is not None else self.is_plain_variable(node.name.value):
            self.replace(node.name)
        for decorator in node.decorators:
            self.walk(decorator)
        if node.returns is not None:
            self.walk(node.returns)
        framework = owner is not None and any(facts.library_base for facts in self.facts.family(owner))
        self.function(node, framework and bool(FRAMEWORK.fullmatch(node.name.value)))

    def on_Lambda(self, node: cst.Lambda) -> None:
        self.function(node, False)

    def function(self, node: cst.FunctionDef | cst.Lambda, called_by_name: bool) -> None:
        for param in parameters(node.params):
            if param.default is not None:
                self.walk(param.default)
            if param.annotation is not None:
                self.walk(param.annotation)
        self.classes.append(None)
        self.instances.append(self.made_here(node))
        for param in parameters(node.params):
            # a framework may pass what has a default by its name
            if self.is_plain_variable(param.name.value) and not (called_by_name and param.default is not None):
                self.replace(param.name)
        self.walk(node.body)
        self.classes.pop()
        self.instances.pop()

    def on_ClassDef(self, node: cst.ClassDef) -> None:
        if self.is_plain_variable(node.name.value):
            self.replace(node.name)
        for part in (*node.decorators, *node.bases):
            self.walk(part)
        for keyword in node.keywords:
            self.walk(keyword.value)
        self.classes.append(node.name.value)
        self.walk(node.body)
        self.classes.pop()

    def on_MatchKeywordElement(self, node: cst.MatchKeywordElement) -> None:
        self.walk(node.pattern)

    def on_Import(self, node: cst.Import) -> None:
        for alias in node.names:
            name = dotted(alias.name)
            bound = self.alias(alias) or name.split(".")[0]
            own = name in self.facts.modules
            (self.own_modules if own else self.libraries).add(name if own and alias.asname is None else bound)

    def on_ImportFrom(self, node: cst.ImportFrom) -> None:
        module = own_module(self.facts, self.path, node)
        if isinstance(node.names, cst.ImportStar):
            return
        for alias in node.names:
            name = dotted(alias.name)
            bound = self.alias(alias) or name
            if module is None:
                self.libraries.add(bound)
            elif f"{module}.{name}".lstrip(".") in self.facts.modules:
                self.own_modules.add(bound)
            elif isinstance(alias.name, cst.Name) and self.is_plain_variable(name):
                self.replace(alias.name)

    def alias(self, node: cst.ImportAlias) -> str | None:
        """The name after `as`, as it was; renames it in passing."""
        if node.asname is None:
            return None
        assert isinstance(node.asname.name, cst.Name)
        if self.is_plain_variable(node.asname.name.value):
            self.replace(node.asname.name)
        return node.asname.name.value
