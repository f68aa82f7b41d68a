"""Everything known of one file, computed on demand: names, classes, values of expressions, callees.

Rules do not see this; they ask the `FileModel`. May not know rules.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from torchmemlint.facts.bindings import LastValues
from torchmemlint.facts.heat import HeatMap
from torchmemlint.facts.infer import Environment, Evaluation
from torchmemlint.facts.library import TENSOR_ONLY_METHODS, Signature, library
from torchmemlint.facts.parsed import Parsed
from torchmemlint.facts.paths import path_of
from torchmemlint.facts.project import Project, TooManyCallers
from torchmemlint.facts.structure import Class, Function
from torchmemlint.facts.values import HOST, UNKNOWN, Kind, Value

Definition = tuple["FileFacts", Function | Class]
Base = tuple["FileFacts", Class] | str
MAX_BASES = 8


class FileFacts:
    """Lazy facts of one file. `relative` is its path from the project's root."""

    def __init__(self, parsed: Parsed, relative: str, project: Project) -> None:
        self.parsed = parsed
        self.source = parsed.source
        self.tree = parsed.tree
        self.structure = parsed.structure
        self.names = parsed.names
        self.relative = relative
        self.module = parsed.structure.name
        self.project = project
        self._evaluations: dict[Function, Evaluation] = {}
        self._evaluated: set[Function] = set()  # whose evaluation has come to its end
        self._callees: dict[ast.Call, Definition | None] = {}
        self._runs: dict[str, dict[Function | Class | None, list[ast.Call]]] = {}
        self._results: dict[tuple[object, ...], Value] = {}
        self._bases: dict[Class, list[Base]] = {}
        self._definitions: dict[str, Definition | None] = {}
        self._lineages: dict[Class, Sequence[Base]] = {}
        self._instances: dict[Class, Value] = {}
        self._attributes: dict[tuple[Class, str], Value] = {}
        self._last_values: dict[Function, LastValues] = {}
        self.heat = HeatMap(self)
        for owner in self.structure.classes:
            project.classes[owner.key] = (self, owner)

    def forget(self) -> None:
        """Let go of all that was worked out: the facts and their answers point at each other."""
        for held in (self._evaluations, self._evaluated, self._callees, self._runs, self._results, self._attributes):
            held.clear()
        for known in (self._bases, self._lineages, self._definitions, self._last_values):
            known.clear()
        self.heat.forget()

    # ---- definitions ------------------------------------------------------------------------------

    def own(self, qualname: str) -> Function | Class | None:
        """A function or class of this file by qualified name."""
        return self.parsed.own.get(qualname)

    def definition(self, dotted: str) -> Definition | None:
        """The function or class of the project that a dotted name means here."""
        if dotted not in self._definitions:
            self._definitions[dotted] = None
            prefix = f"{self.module}."
            if dotted.startswith(prefix) and (own := self.own(dotted[len(prefix) :])) is not None:
                self._definitions[dotted] = (self, own)
            elif not dotted.startswith(("builtins.", "torch.")):
                self._definitions[dotted] = self.project.definition(dotted, self.relative)
        return self._definitions[dotted]

    def function_named(self, node: ast.expr, function: Function) -> tuple[FileFacts, Function] | None:
        """The project's function that an expression names."""
        dotted = self.names.dotted(node, function)
        found = self.definition(dotted) if dotted is not None else None
        if found is not None and isinstance(found[1], Function):
            return found[0], found[1]
        return None

    # ---- classes ----------------------------------------------------------------------------------

    def bases(self, owner: Class) -> list[Base]:
        """The bases of a class: classes of the project, or dotted names of library classes."""
        if owner not in self._bases:
            self._bases[owner] = []
            found: list[Base] = []
            for node in owner.node.bases:
                node = node.value if isinstance(node, ast.Subscript) else node
                dotted = self.names.dotted(node, owner.function)
                if dotted is None:
                    continue
                definition = self.definition(dotted)
                if definition is not None and isinstance(definition[1], Class):
                    found.append((definition[0], definition[1]))
                else:
                    found.append(dotted)
            self._bases[owner] = found
        return self._bases[owner]

    def lineage(self, owner: Class) -> Sequence[Base]:
        """The class and its ancestors, nearest first, project classes and library names."""
        if owner not in self._lineages:
            self._lineages[owner] = list(self._ancestry(owner, 0))
        return self._lineages[owner]

    def _ancestry(self, owner: Class, depth: int) -> Iterator[Base]:
        yield (self, owner)
        if depth > MAX_BASES:
            return
        for base in self.bases(owner):
            if isinstance(base, str):
                yield base
            else:
                yield from base[0]._ancestry(base[1], depth + 1)

    def derives(self, owner: Class, library_base: str) -> bool:
        """Whether a class derives from a library class."""
        names = [base for base in self.lineage(owner) if isinstance(base, str)]
        return any(library().is_subclass(name, library_base) for name in names)

    def framework_effects(self, function: Function) -> frozenset[str]:
        """Effects that a library declares for the method a function overrides: `hot`, `grad_off`."""
        if function.owner is None or function.name not in library().overridable:
            return frozenset()
        for base in self.lineage(function.owner):
            if isinstance(base, str):
                signature = library().method(base, function.name)
                if signature is not None and signature.effects:
                    return signature.effects
        return frozenset()

    def instance(self, owner: Class) -> Value:
        """An instance of a class of the project."""
        if owner not in self._instances:
            roles = (role for base, role in ROLES_BY_BASE if self.derives(owner, base))
            self._instances[owner] = Value(next(roles, Kind.OBJECT), ref=owner.key)
        return self._instances[owner]

    def class_value(self, dotted: str, function: Function) -> Value | None:
        """An instance of a named class, of the project or of a library."""
        found = self.definition(dotted)
        if found is not None:
            return found[0].instance(found[1]) if isinstance(found[1], Class) else None
        if library().is_subclass(dotted, "torch.nn.Module"):
            return Value(Kind.MODULE, ref=dotted)
        if library().is_subclass(dotted, "torch.optim.Optimizer"):
            return Value(Kind.OPTIMIZER)
        return Value(Kind.OBJECT, ref=dotted) if library().klass(dotted) is not None else None

    def method(self, ref: str, name: str) -> tuple[FileFacts, Function] | Signature | None:
        """A method by the key of its class: the project's function, or the library's signature."""
        owned = self.project.classes.get(ref)
        if owned is None:
            return library().method(ref, name)
        for base in owned[0].lineage(owned[1]):
            if isinstance(base, str):
                signature = library().method(base, name)
                if signature is not None:
                    return signature
            elif name in base[1].methods:
                return base[0], base[1].methods[name]
        return None

    # ---- attributes -------------------------------------------------------------------------------

    def attribute(self, ref: str, name: str) -> Value | None:
        """The value of an attribute of an instance, from the method that sets it."""
        owned = self.project.classes.get(ref)
        if owned is None:
            stub = library().klass(ref)
            word = stub.attributes.get(name) if stub is not None else None
            return Value(Kind.MODULE) if word == "Module" else Value(Kind.HOST) if word == "Host" else None
        for base in owned[0].lineage(owned[1]):
            if isinstance(base, str):
                stub = library().klass(base)
                if stub is not None and name in stub.attributes:
                    return Value(Kind.MODULE) if stub.attributes[name] == "Module" else Value(Kind.HOST)
                continue
            value = base[0].own_attribute(base[1], name)
            if value is not None:
                return value
        return None

    def own_attribute(self, owner: Class, name: str) -> Value | None:
        methods = self.parsed.assigns.get(owner, {}).get(name)
        if methods is None:
            found = owner.methods.get(name)
            if found is not None and any(isinstance(d, ast.Name) and "property" in d.id for d in found.decorators):
                return self.result_of(found, {}, 1)
            return None
        key = (owner, name)
        if key not in self._attributes:
            self._attributes[key] = UNKNOWN
            first = next((m for m in methods if m.name == "__init__"), methods[0])
            end = self.evaluation(first).environment
            self._attributes[key] = end.get(f"{first.self_name()}.{name}", UNKNOWN)
        return self._attributes[key]

    # ---- values -----------------------------------------------------------------------------------

    def evaluation(self, function: Function) -> Evaluation:
        """The values of a function's expressions for unknown arguments; a circle sees what is known so far."""
        if function not in self._evaluations:
            self._evaluations[function] = evaluation = Evaluation(self, function, {}, 0)
            evaluation.run()
            self._evaluated.add(function)
        return self._evaluations[function]

    def result_of(self, function: Function, given: Environment, depth: int) -> Value:
        """What a function returns for these argument values."""
        if function.returns_no_object and not function.yields:
            return HOST if function.returns or not function.left_to_others else UNKNOWN
        key = (
            function,
            tuple(sorted((name, value.key) for name, value in given.items() if value.kind is not Kind.UNKNOWN)),
        )
        if key not in self._results:
            self._results[key] = UNKNOWN
            if function.yields:
                return UNKNOWN
            self._results[key] = Evaluation(self, function, dict(given), depth).run().result
        return self._results[key]

    def evaluate_with(self, function: Function, given: Environment) -> dict[ast.expr, Value]:
        """The values of a function's expressions for these argument values."""
        return Evaluation(self, function, dict(given), 1).run().values

    def arguments_of(self, function: Function, param: str) -> Iterator[tuple[FileFacts, ast.Call, ast.expr]]:
        """What callers hand in for a parameter: the caller's facts, the call, the argument."""
        names = [p.arg for p in function.params]
        if function.self_name() is not None:
            names = names[1:]
        index = names.index(param)
        try:
            for facts, call in self.project.callers(function, self):
                keyword = next((k.value for k in call.keywords if k.arg == param), None)
                if keyword is not None:
                    yield facts, call, keyword
                elif index < len(call.args) and not any(isinstance(a, ast.Starred) for a in call.args):
                    yield facts, call, call.args[index]
        except TooManyCallers:
            return

    def value(self, node: ast.expr) -> Value:
        """The value of an expression where it stands."""
        return self.evaluation(self.structure.function(node)).values.get(node, UNKNOWN)

    def value_before(self, target: ast.expr, statement: ast.stmt) -> Value:
        """The last value bound to a target's path in its function; what a `del` drops."""
        function = self.structure.function(statement)
        values = self.evaluation(function).values
        known = self._last_values.get(function)
        if known is None or known.size != len(values):
            known = self._last_values[function] = LastValues(values)
        return known.before(target)

    # ---- calls ------------------------------------------------------------------------------------

    def signature(self, call: ast.Call, function: Function, receiver: Value | None) -> Signature | None:
        """What the library says a call does; None for user code and for what is not known."""
        dotted = self.names.dotted(call.func, function)
        if dotted is not None and self.definition(dotted) is None:
            found = library().function(dotted)
            if found is not None:
                return found
        if receiver is None or not isinstance(call.func, ast.Attribute):
            return None
        name = call.func.attr
        if receiver.kind is Kind.TENSOR or (receiver.kind is Kind.UNKNOWN and name in TENSOR_ONLY_METHODS):
            tensor = library().modules["torch"].classes["Tensor"].methods
            return tensor.get(name, tensor["__getattr__"])
        if receiver.kind is Kind.HOST:
            return Signature("Host")
        if receiver.ref and receiver.kind in (Kind.OBJECT, Kind.MODULE, Kind.OPTIMIZER):
            method = self.method(receiver.ref, name)
            if method is not None:
                return method if isinstance(method, Signature) else None
        if receiver.kind is Kind.MODULE:
            return library().modules["torch.nn"].classes["Module"].methods.get(name)
        if receiver.kind in (Kind.OPTIMIZER, Kind.ENGINE) and name in ("step", "zero_grad"):
            return Signature("Host", (), frozenset({"steps"}))
        return None

    def callee(self, call: ast.Call, function: Function, receiver: Value | None, called: Value) -> Definition | None:
        """The function or class of the project that a call runs."""
        func = call.func
        if called.kind is Kind.MODULE and called.ref:
            return self._method_definition(called.ref, "forward")
        if called.kind in (Kind.FUNCTION, Kind.CLASS) and called.ref:
            return self.project.by_key(called.ref)
        dotted = self.names.dotted(func, function)
        if dotted is not None and (found := self.definition(dotted)) is not None:
            return found
        if isinstance(func, ast.Attribute):
            if isinstance(func.value, ast.Call) and path_of(func.value.func) == "super" and function.owner is not None:
                for base in self.bases(function.owner):
                    if (
                        not isinstance(base, str)
                        and (up := self._method_definition(base[1].key, func.attr)) is not None
                    ):
                        return up
                return None
            if receiver is not None and receiver.ref and receiver.kind is not Kind.FUNCTION:
                return self._method_definition(receiver.ref, func.attr)
        if called.kind is Kind.OBJECT and called.ref:
            return self._method_definition(called.ref, "__call__")
        return None

    def _method_definition(self, ref: str, name: str) -> Definition | None:
        found = self.method(ref, name)
        return found if isinstance(found, tuple) else None

    def resolve(self, call: ast.Call) -> Definition | None:
        """The project's function or class that a call runs, wherever the call stands."""
        if call not in self._callees:
            function = self.structure.function(call)
            found = self._plain_callee(call.func, function)
            if found is None:
                values = self.evaluation(function).values
                receiver = values.get(call.func.value) if isinstance(call.func, ast.Attribute) else None
                found = self.callee(call, function, receiver, values.get(call.func, UNKNOWN))
                if function not in self._evaluated:
                    return found  # as far as is known by now: we are in the middle of it
            self._callees[call] = found
        return self._callees[call]

    def _plain_callee(self, func: ast.expr, function: Function) -> Definition | None:
        """What `f()` and `self.f()` run, without evaluating anything: most calls are like that."""
        dotted = self.names.dotted(func, function)
        if dotted is not None:
            return self.definition(dotted)
        if isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name) and function.owner is not None:
            if func.value.id == function.self_name() and len(function.bound.get(func.value.id, ())) == 1:
                return self._method_definition(function.owner.key, func.attr)
        return None

    def has_effect(self, call: ast.Call, *effects: str) -> bool:
        """Whether the library declares one of some effects for a call; its name says whether it is worth asking."""
        if isinstance(call.func, ast.Attribute):
            name = call.func.attr
        else:
            dotted = self.names.dotted(call.func, self.structure.function(call))
            name = dotted.rpartition(".")[2] if dotted is not None else ""
        asked = [effect for effect in effects if name in library().names_with(effect)]
        return bool(asked) and not self.effects(call).isdisjoint(asked)

    def effects(self, call: ast.Call) -> frozenset[str]:
        """Effects the library declares for a call."""
        function = self.structure.function(call)
        dotted = self.names.dotted(call.func, function)
        if dotted is not None and self.definition(dotted) is None and (known := library().function(dotted)) is not None:
            return known.effects
        receiver = None
        if isinstance(call.func, ast.Attribute):
            receiver = self.evaluation(function).values.get(call.func.value, UNKNOWN)
        signature = self.signature(call, function, receiver)
        return signature.effects if signature is not None else frozenset()

    def calls_to(self, function: Function, name: str) -> Iterator[tuple[FileFacts, ast.Call]]:
        """The calls of this file that run a function; sorted by what they run once that is known of all of them."""
        if name in self._runs:
            yield from ((self, call) for call in self._runs[name].get(function, ()))
            return
        calls = self.calls_named.get(name, ())
        yield from ((self, call) for call in calls if self._run_by(call) is function)
        if all(call in self._callees for call in calls):
            self._runs[name] = {}
            for call in calls:
                self._runs[name].setdefault(self._run_by(call), []).append(call)

    def _run_by(self, call: ast.Call) -> Function | Class | None:
        found = self.resolve(call)
        target = found[1] if found is not None else None
        return target.methods.get("__init__", target) if isinstance(target, Class) else target

    @property
    def calls_named(self) -> dict[str, list[ast.Call]]:
        """Calls by the last part of what they call."""
        return self.parsed.calls_named


ROLES_BY_BASE = (
    ("torch.nn.Module", Kind.MODULE),
    ("torch.optim.Optimizer", Kind.OPTIMIZER),
    ("torch.utils.data.DataLoader", Kind.LOADER),
)
