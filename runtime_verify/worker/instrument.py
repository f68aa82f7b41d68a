"""Rewrites the user's code so that every step of it that can fail goes through the runtime. Pure: syntax to syntax.

Values of the user's keep their true meaning: the runtime tries the true operation first. Lines stay the file's.
"""

from __future__ import annotations
import __future__

import ast
from types import CodeType
from typing import Any

from runtime_verify.worker.sites import DEFS, Place, Sites, bodies, place_of, slice_lines
from runtime_verify.worker.steering import Steering, close_handlers, steer

RUNTIME = "__tml__"
RAW_CALLS = frozenset({"super", "locals", "globals", "vars", "dir", "eval", "exec", "__import__"})
OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "truediv",
    ast.FloorDiv: "floordiv",
    ast.Mod: "mod",
    ast.Pow: "pow",
    ast.MatMult: "matmul",
    ast.BitAnd: "and_",
    ast.BitOr: "or_",
    ast.BitXor: "xor",
    ast.Lt: "lt",
    ast.LtE: "le",
    ast.Gt: "gt",
    ast.GtE: "ge",
    ast.Eq: "eq",
    ast.NotEq: "ne",
}
EXPECTED = frozenset(
    {
        "StopIteration",
        "KeyError",
        "AttributeError",
        "ImportError",
        "ModuleNotFoundError",
        "IndexError",
        "Empty",
        "NameError",
    }
)
"""Errors that code catches because it expects them; behind a handler for one of these they are let through."""


def instrumented(
    text: str, path: str, function: str = "", mark: int = 0, kept: bool = True, exhausting: bool = False
) -> tuple[CodeType, Sites]:
    """Code for a module, and its sites. `mark` 0: the flagged line is not in it. Raises SyntaxError."""
    tree = ast.parse(text, path)
    sites = Sites(path)
    place = place_of(tree, mark) if mark else None
    attempt = _attempt(place) if place is not None and exhausting else None
    behind = place is not None and attempt is not None and not any(node is attempt for node in place.path)
    free = frozenset(_flags(place, attempt)) if behind and place and attempt else frozenset()
    steering = steer(place, free) if place is not None else Steering()
    if attempt is not None:
        steering.raising.clear()
        if behind:
            close_handlers(attempt, steering)
    marks = _marks(place, kept) if place is not None else {}
    target = _target(tree, function) if function else None
    _slice(tree, sites, place, target, kept)
    _Rewriter(sites, steering, marks, attempt, target, place).visit(tree)
    ast.fix_missing_locations(tree)
    flags = __future__.annotations.compiler_flag
    return compile(tree, path, "exec", flags=flags, dont_inherit=True), sites


def _attempt(place: Place) -> ast.Try | None:
    """The `try` whose failing the flagged code recovers from: around its handler, or the last one before it."""
    for at in range(len(place.path) - 1, 0, -1):
        node = place.path[at]
        if isinstance(node, ast.ExceptHandler):
            above = place.path[at - 1]
            return above if isinstance(above, ast.Try) else None
    onto: ast.AST | None = None
    for node in reversed(place.path):
        block = place.block if onto is None else getattr(node, "body", [])
        stop = place.index if onto is None else next((n for n, s in enumerate(block) if s is onto), len(block))
        for statement in reversed(block[:stop]):
            if isinstance(statement, ast.Try) and statement.handlers:
                return statement
        onto = node
    return None


def _flags(place: Place, attempt: ast.Try) -> list[int]:
    """Conditions on the way that ask for a name which the handlers set: they decide themselves."""
    bound = {
        node.id
        for handler in attempt.handlers
        for node in ast.walk(handler)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    conditions = [node for node in place.path if isinstance(node, ast.If)]
    return [
        id(node)
        for node in conditions
        if any(isinstance(part, ast.Name) and part.id in bound for part in ast.walk(node.test))
    ]


def _marks(place: Place, kept: bool) -> dict[int, str]:
    """What is put around which statement: "before", "both"; of an empty end of a block, behind its last one."""
    statement = place.statement
    if statement is None:
        return {id(place.block[-1]): "behind"}
    plain = isinstance(statement, (ast.Expr, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Delete))
    return {id(statement): "both" if kept and plain else "before"}


def _target(tree: ast.Module, function: str) -> ast.AST | None:
    """The definition of a dotted name: the last one of that name, as Python would have it."""
    node: ast.AST = tree
    for name in function.split("."):
        found = [
            inner
            for inner in ast.walk(node)
            if isinstance(inner, (*DEFS, ast.ClassDef)) and inner.name == name and inner is not node
        ]
        if not found:
            return None
        node = found[-1]
    return node


def _slice(tree: ast.Module, sites: Sites, place: Place | None, target: ast.AST | None, kept: bool) -> None:
    flagged: ast.AST | None = place.statement if place is not None else None
    if not kept and flagged is not None:  # what stands there now says nothing of what was flagged
        flagged = ast.copy_location(ast.Pass(), flagged)
    inside = [node for node in place.path if isinstance(node, DEFS)] if place is not None else []
    for node in ast.walk(tree):
        if isinstance(node, DEFS):
            marked = place is not None and any(node is outer for outer in inside)
            sites.slices[node.lineno] = slice_lines(node, flagged if marked else None)
    if place is not None:
        sites.slices[0] = slice_lines(tree, flagged)
    if target is not None:
        sites.target = (getattr(target, "lineno", 0), getattr(target, "end_lineno", 0))


class _Rewriter(ast.NodeTransformer):
    def __init__(
        self,
        sites: Sites,
        steering: Steering,
        marks: dict[int, str],
        attempt: ast.Try | None,
        target: ast.AST | None,
        place: Place | None,
    ) -> None:
        self.sites = sites
        self.steering = steering
        self.marks = marks
        self.attempt = attempt
        self.target = target
        self.marked = {id(node) for node in place.path} if place is not None else set()
        self.classes: list[str] = []
        self.functions = 0
        self.expected: list[frozenset[str]] = []

    # -- making nodes

    def site(self, node: ast.AST, hints: tuple[str, ...] = ()) -> ast.Constant:
        number = len(self.sites.lines)
        self.sites.lines[number] = getattr(node, "lineno", 0)
        if hints:
            self.sites.hints[number] = hints
        if any(self.expected):
            self.sites.expected[number] = frozenset().union(*self.expected)
        return ast.Constant(number)

    def ask(self, method: str, node: ast.AST, *arguments: ast.expr, hints: tuple[str, ...] = ()) -> ast.Call:
        """`__tml__.method(site, *arguments)`, standing where the node stands."""
        made = ast.Call(_runtime(method), [self.site(node, hints), *arguments], [])
        return ast.copy_location(made, node)

    # -- expressions

    def visit_Call(self, node: ast.Call) -> ast.expr:
        hints = getattr(node, "hints", ())
        if isinstance(node.func, ast.Name) and node.func.id in RAW_CALLS:
            node.args = [self.visit(argument) for argument in node.args]
            return node
        self.generic_visit(node)
        made = ast.Call(_runtime("call"), [self.site(node, hints), node.func, *node.args], node.keywords)
        return ast.copy_location(made, node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        self.generic_visit(node)
        if not isinstance(node.ctx, ast.Load):
            return node
        return self.ask("attr", node, node.value, ast.Constant(self._mangled(node.attr)))

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        self.generic_visit(node)
        if not isinstance(node.ctx, ast.Load):
            return node
        return self.ask("item", node, node.value, _index(node.slice))

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        name = OPERATORS.get(type(node.op))
        plain = isinstance(node.left, ast.Constant) and isinstance(node.right, ast.Constant)
        return node if name is None or plain else self.ask("op", node, ast.Constant(name), node.left, node.right)

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        self.generic_visit(node)
        if len(node.ops) != 1:
            return node
        if isinstance(node.ops[0], (ast.In, ast.NotIn)):
            absent = ast.Constant(isinstance(node.ops[0], ast.NotIn))
            return self.ask("among", node, node.left, node.comparators[0], absent)
        name = OPERATORS.get(type(node.ops[0]))
        return node if name is None else self.ask("op", node, ast.Constant(name), node.left, node.comparators[0])

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        self.generic_visit(node)
        node.test = self.ask("test", node.test, node.test)
        return node

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.expr:
        self.generic_visit(node)
        arguments: list[ast.expr] = [node.value, ast.Constant(node.conversion)]
        if node.format_spec is not None:
            arguments.append(node.format_spec)
        return ast.FormattedValue(self.ask("shown", node, *arguments), -1, None)

    def visit_comprehension(self, node: ast.comprehension) -> ast.comprehension:
        self.generic_visit(node)
        node.iter = self.ask("loop", node.iter, node.iter, _spec(node.target))
        return node

    def visit_Lambda(self, node: ast.Lambda) -> Any:
        return self._scope(node)

    # -- definitions

    def _scope(self, node: Any) -> Any:
        expected, self.expected = self.expected, []
        self.functions += 1
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            argument.annotation = None
        for rest in (node.args.vararg, node.args.kwarg):
            if rest is not None:
                rest.annotation = None
        if hasattr(node, "returns"):
            node.returns = None
        self.generic_visit(node)
        self.functions -= 1
        self.expected = expected
        return node

    def _definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Any:
        name, line = node.name, node.lineno
        watched = node is self.target or id(node) in self.marked
        decorators, node.decorator_list = node.decorator_list, []
        unsure = _unsure(node)
        self._scope(node)
        self._bind_first(node, unsure)
        node.decorator_list = [
            self.ask("decorator", decorator, self.visit(decorator)) for decorator in decorators if _runs(decorator)
        ]
        if watched:
            what = ast.Constant("target" if node is self.target else "nested")
            node.decorator_list.append(self.ask("defined", node, what, ast.Constant(f"{name}:{line}")))
        return self._marked(node, node)

    def _bind_first(self, node: ast.FunctionDef | ast.AsyncFunctionDef, names: list[str]) -> None:
        """Binds names at the head of a function that a branch not taken would leave unbound."""
        at = (
            1
            if node.body and isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant)
            else 0
        )
        declared = [n for n, s in enumerate(node.body) if isinstance(s, (ast.Global, ast.Nonlocal))]
        at = max([at, *(n + 1 for n in declared)])
        for name in names:
            lost = ast.Call(_runtime("lost"), [self.site(node), ast.Constant(name)], [])
            bind = ast.copy_location(ast.Assign([ast.Name(name, ast.Store())], lost), node.body[0])
            node.body.insert(at, bind)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        return self._definition(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> Any:
        return self._definition(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> Any:
        expected, self.expected = self.expected, []
        self.classes.append(node.name)
        body = [self.visit(statement) for statement in node.body]
        self.classes.pop()
        self.expected = expected
        node.bases = [self.ask("base", base, self.visit(base)) for base in node.bases]
        for keyword in node.keywords:
            keyword.value = self.ask("base", keyword.value, self.visit(keyword.value))
        node.decorator_list = [self.ask("decorator", deco, self.visit(deco)) for deco in node.decorator_list]
        node.decorator_list.append(self.ask("own_class", node))
        node.body = _flat(body)
        return self._marked(node, node)

    # -- statements

    def visit_Expr(self, node: ast.Expr) -> Any:
        if isinstance(node.value, ast.Constant):
            return self._marked(node, node)
        return self._shielded(node)

    def visit_Assign(self, node: ast.Assign) -> Any:
        names = _names(node.targets[0])
        if isinstance(node.value, (ast.Call, ast.Await)):
            call = node.value.value if isinstance(node.value, ast.Await) else node.value
            call.hints = names  # type: ignore[attr-defined]
        spec = _spec(node.targets[0])
        unpacked = isinstance(node.targets[0], (ast.Tuple, ast.List)) and not _is_none(spec)

        def finish(done: ast.stmt) -> None:
            if unpacked and isinstance(done, ast.Assign):
                done.value = self.ask("unpack", node, done.value, spec)

        return self._shielded(node, finish)

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        return self._shielded(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        if node.value is not None:
            node.value = self.visit(node.value)
        return self._marked(node, node)

    def visit_Delete(self, node: ast.Delete) -> Any:
        return self._shielded(node)

    def visit_Return(self, node: ast.Return) -> Any:
        return self._shielded(node)

    def visit_Import(self, node: ast.Import) -> Any:
        return self._import(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        if node.module == "__future__":
            return self._marked(node, node)
        return self._import(node)

    def _import(self, node: ast.Import | ast.ImportFrom) -> Any:
        if any("ImportError" in names or "ModuleNotFoundError" in names for names in self.expected):
            self.sites.optional.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        return self._shielded(node)

    def visit_Assert(self, node: ast.Assert) -> Any:
        return self._shielded(
            ast.copy_location(ast.Expr(self.ask("asserted", node, self.visit(node.test))), node), original=node
        )

    def visit_Raise(self, node: ast.Raise) -> Any:
        self.generic_visit(node)
        if node.exc is not None:
            node.exc = self.ask("error", node, node.exc)
        return self._marked(node, node)

    def visit_Pass(self, node: ast.Pass) -> Any:
        return self._marked(node, node)

    def visit_Break(self, node: ast.Break) -> Any:
        return self._marked(node, node)

    def visit_Continue(self, node: ast.Continue) -> Any:
        return self._marked(node, node)

    def visit_If(self, node: ast.If) -> Any:
        refuses = [_refuses(node.body), _refuses(node.orelse)]
        test = self.ask("test", node.test, self.visit(node.test))
        self._force(node, test)
        if refuses[0] is not refuses[1]:
            self.sites.refusing[_number(test)] = refuses[1]
        node.test = test
        node.body = self._block(node.body)
        node.orelse = self._block(node.orelse)
        return self._marked(node, node)

    def visit_While(self, node: ast.While) -> Any:
        test = self.ask("again", node.test, self.visit(node.test))
        if id(node) in self.steering.around:
            self.sites.around.add(_number(test))
        node.test = test
        node.body = self._block(node.body)
        node.orelse = self._block(node.orelse)
        return self._marked(node, node)

    def _for(self, node: ast.For | ast.AsyncFor) -> Any:
        turns = self.ask("loop", node.iter, self.visit(node.iter), _spec(node.target))
        if id(node) in self.steering.around:
            self.sites.around.add(_number(turns))
        node.iter = turns
        node.target = self.visit(node.target)
        node.body = self._block(node.body)
        node.orelse = self._block(node.orelse)
        return self._marked(node, node)

    def visit_For(self, node: ast.For) -> Any:
        return self._for(node)

    def visit_AsyncFor(self, node: ast.AsyncFor) -> Any:
        plain = ast.copy_location(ast.For(node.target, node.iter, node.body, node.orelse), node)
        if id(node) in self.steering.around:
            self.steering.around.add(id(plain))
        if id(node) in self.marks:
            self.marks[id(plain)] = self.marks[id(node)]
        return self._for(plain)

    def _with(self, node: ast.With | ast.AsyncWith) -> Any:
        for item in node.items:
            bound = _names(item.optional_vars) if item.optional_vars is not None else ()
            item.context_expr = self.ask("context", item.context_expr, self.visit(item.context_expr), hints=bound)
        plain = ast.copy_location(ast.With(node.items, self._block(node.body)), node)
        return self._marked(node, plain)

    def visit_With(self, node: ast.With) -> Any:
        return self._with(node)

    def visit_AsyncWith(self, node: ast.AsyncWith) -> Any:
        return self._with(node)

    def visit_Try(self, node: ast.Try) -> Any:
        self.expected.append(frozenset(_caught(node)) & EXPECTED)
        node.body = self._block(node.body)
        self.expected.pop()
        if id(node) in self.steering.raising:
            caught = [handler.type for handler in node.handlers if id(handler) in self.marked]
            kind = self.visit(caught[0]) if caught and caught[0] is not None else ast.Name("Exception", ast.Load())
            node.body.append(ast.copy_location(ast.Expr(self.ask("must_raise", node, kind)), node.body[-1]))
        if node is self.attempt:
            item = ast.withitem(self.ask("exhausting", node))
            node.body = [ast.copy_location(ast.With([item], node.body), node)]
        for handler in node.handlers:
            if handler.type is not None:
                handler.type = self.ask("caught", handler, self.visit(handler.type))
            handler.body = self._block(handler.body)
        node.orelse = self._block(node.orelse)
        node.finalbody = self._block(node.finalbody)
        return self._marked(node, node)

    def _block(self, block: list[ast.stmt]) -> list[ast.stmt]:
        return _flat([self.visit(statement) for statement in block])

    def _force(self, node: ast.If, test: ast.Call) -> None:
        for decided, table in ((self.steering.forced, self.sites.forced), (self.steering.onward, self.sites.onward)):
            if id(node) in decided:
                table[_number(test)] = decided[id(node)]

    def _shielded(self, node: Any, finish: Any = None, original: ast.stmt | None = None) -> Any:
        """The statement in a `try`; what it would have bound is stood in for where it fails."""
        key = original or node
        names = _bound(node)
        done: Any = node if original is not None else self.generic_visit(node)
        if finish is not None:
            finish(done)
        site = self.site(key)
        failed: list[ast.stmt] = [ast.Expr(ast.Call(_runtime("failed"), [site], []))]
        if isinstance(done, ast.Return):
            failed.append(ast.Return(ast.Call(_runtime("lost"), [site, ast.Constant("result")], [])))
        for name in names:
            lost = ast.Call(_runtime("lost"), [site, ast.Constant(name)], [])
            failed.append(ast.Assign([ast.Name(name, ast.Store())], lost))
        handler = ast.ExceptHandler(_runtime("Failure"), None, failed)
        return self._marked(key, ast.copy_location(ast.Try([done], [handler], [], []), key))

    def _marked(self, original: ast.stmt, done: ast.stmt) -> Any:
        where = self.marks.get(id(original))
        if where is None:
            return done
        before = ast.copy_location(ast.Expr(ast.Call(_runtime("mark"), [], [])), original)
        after = ast.copy_location(ast.Expr(ast.Call(_runtime("after"), [], [])), original)
        return {"before": [before, done], "both": [before, done, after], "behind": [done, before]}[where]

    def _mangled(self, name: str) -> str:
        if self.classes and name.startswith("__") and not name.endswith("__"):
            return f"_{self.classes[-1].lstrip('_')}{name}"
        return name


def _refuses(block: list[ast.stmt]) -> bool:
    """Whether a branch ends by raising an error."""
    return bool(block) and isinstance(block[-1], ast.Raise) and block[-1].exc is not None


def _unsure(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Names that a function binds only inside blocks: a branch that is not taken leaves them unbound."""
    parameters = {a.arg for a in ast.walk(function.args) if isinstance(a, ast.arg)}
    sure: set[str] = set()
    blocked: set[str] = set()
    outer: set[str] = set()
    for statement in function.body:
        simple = not any(True for _ in bodies(statement)) or isinstance(statement, (*DEFS, ast.ClassDef))
        if simple:
            sure |= {str(statement.name)} if hasattr(statement, "name") else set(_bound(statement))
        elif isinstance(statement, (ast.With, ast.AsyncWith)):
            sure |= {n for item in statement.items if item.optional_vars for n in _names(item.optional_vars)}
        if not isinstance(statement, (*DEFS, ast.ClassDef)):
            blocked |= _stored(statement, outer)
    return sorted(blocked - sure - parameters - outer)


def _stored(statement: ast.stmt, outer: set[str]) -> set[str]:
    """Names bound anywhere in a statement's own scope; what it declares global goes into `outer`."""
    found: set[str] = set()
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (*DEFS, ast.ClassDef)):
            found.add(node.name)
            continue
        if isinstance(node, (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            continue
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            outer.update(node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        waiting.extend(ast.iter_child_nodes(node))
    return found


def _runs(decorator: ast.expr) -> bool:
    """Decorators that register or wrap a program's entry are left off: the function itself is wanted."""
    return not ast.unparse(decorator).startswith(("hydra.", "click.", "app.", "cli."))


def _runtime(method: str) -> ast.Attribute:
    return ast.Attribute(ast.Name(RUNTIME, ast.Load()), method, ast.Load())


def _number(call: ast.Call) -> int:
    site = call.args[0]
    assert isinstance(site, ast.Constant) and isinstance(site.value, int)
    return site.value


def _flat(statements: list[Any]) -> list[ast.stmt]:
    found: list[ast.stmt] = []
    for statement in statements:
        found += statement if isinstance(statement, list) else [statement]
    return found


def _index(node: ast.expr) -> ast.expr:
    """A subscript as a value that can be handed over."""
    if isinstance(node, ast.Slice):
        parts = [part if part is not None else ast.Constant(None) for part in (node.lower, node.upper, node.step)]
        return ast.Call(_runtime("slice"), parts, [])
    if isinstance(node, ast.Tuple):
        return ast.Tuple([_index(part) for part in node.elts], ast.Load())
    return node


def _spec(target: ast.expr) -> ast.expr:
    """The shape of an assignment's target: a name, or a tuple of shapes; None where it stars."""
    if isinstance(target, (ast.Tuple, ast.List)):
        if any(isinstance(part, ast.Starred) for part in target.elts):
            return ast.Constant(None)
        return ast.Tuple([_spec(part) for part in target.elts], ast.Load())
    names = _names(target)
    return ast.Constant(names[0] if names else "")


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _names(target: ast.expr) -> tuple[str, ...]:
    if isinstance(target, ast.Name):
        return (target.id,)
    if isinstance(target, ast.Attribute):
        return (target.attr,)
    if isinstance(target, (ast.Tuple, ast.List)):
        return tuple(name for part in target.elts for name in (_names(part) or ("",)))
    return ()


def _bound(node: ast.stmt) -> list[str]:
    """Plain names that a simple statement binds."""
    if isinstance(node, ast.Assign):
        parts = [part for target in node.targets for part in ast.walk(target)]
        return [part.id for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [(alias.asname or alias.name).split(".")[0] for alias in node.names if alias.name != "*"]
    return []


def _caught(node: ast.Try) -> set[str]:
    names: set[str] = set()
    for handler in node.handlers:
        if handler.type is not None:
            parts = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
            names |= {ast.unparse(part).split(".")[-1] for part in parts}
    return names
