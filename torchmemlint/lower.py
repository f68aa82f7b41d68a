"""The libcst tree lowered to the vocabulary of the standard library's `ast`, with a place for every node.

One recursive pass over the fields that mean something: white space, commas and parentheses are never
visited, and positions are computed only when the first span is asked for. May not know rules or facts.
"""

from __future__ import annotations

import ast
import io
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, cast

import libcst as cst
from libcst.metadata import CodePosition, CodeRange, MetadataWrapper, PositionProvider

from torchmemlint.model import Position, Span
from torchmemlint.source import BadFile, Source, Tree

N = TypeVar("N", bound=ast.AST)
Context = ast.expr_context
LOAD, STORE, DEL = ast.Load(), ast.Store(), ast.Del()
HAS_TYPE_PARAMS = sys.version_info >= (3, 12)


def parse(source: Source) -> Tree:
    """Parse with libcst. Raises BadFile, where the running Python refuses the text too with its words and place."""
    try:
        module = cst.parse_module(source.text)
    except cst.ParserSyntaxError as error:
        if source.screen is None:  # says better what is wrong, and libcst's line is one too far
            raise BadFile(source.refused_for, *source.refused_at) from error
        raise BadFile("syntax error", error.raw_line, error.raw_column) from error
    except UnicodeError as error:
        raise BadFile("text that cannot be written as UTF-8") from error
    except RecursionError as error:
        raise BadFile("expression too long or too deeply nested") from error
    lowering = _Lowering()
    try:
        tree = ast.Module(body=lowering.statements(module.body), type_ignores=[])
    except RecursionError as error:
        raise BadFile("expression too long or too deeply nested") from error
    except (SyntaxError, ValueError) as error:  # a literal that looks like one and is none
        raise BadFile("syntax error", *source.refused_at) from error
    return Tree(tree, _CstPlaces(source, module, lowering.origin))


class _Positions(MetadataWrapper):
    """Metadata without the walk over the tree that libcst makes for batched visitors even where there are none."""

    def visit_batched(self, visitors: Iterable[Any], *rest: Any, **more: Any) -> cst.CSTNode:
        visitors = list(visitors)
        return super().visit_batched(visitors, *rest, **more) if visitors else self.module


class _CstPlaces:
    """Spans by libcst's position provider, resolved on first use."""

    def __init__(self, source: Source, module: cst.Module, origin: dict[ast.AST, cst.CSTNode]) -> None:
        self._source = source
        self._module = module
        self._origin = origin
        self._ranges: Any = None
        self._dropped: dict[int, int] = {}

    def span(self, node: ast.AST) -> Span:
        if self._ranges is None:
            self._ranges = _ranges(self._module)
            self._dropped = _dropped_form_feeds(self._source, self._module)
        origin = self._origin.get(node)
        if isinstance(node, ast.Tuple) and isinstance(origin, cst.SubscriptElement):
            return Span(self.span(node.elts[0]).start, self.span(node.elts[-1]).end)
        first: cst.CSTNode | None = origin
        last: cst.CSTNode | None = origin
        if isinstance(origin, (cst.Tuple, cst.GeneratorExp)) and origin.lpar:  # their parentheses belong to them
            first, last = origin.lpar[-1], origin.rpar[0]
        start = cast("CodeRange | None", self._ranges.get(first))
        end = cast("CodeRange | None", self._ranges.get(last))
        if start is None or end is None:
            return Span(Position(1, 0), Position(1, 0))
        return Span(self._position(start.start), self._position(end.end))

    def _position(self, found: CodePosition) -> Position:
        return Position(found.line, found.column + self._dropped.get(found.line, 0))


def _ranges(module: cst.Module) -> Any:
    """The places of a tree's nodes; what stops libcst, Ctrl-C above all, is hidden by a KeyError of its clean-up."""
    try:
        return _Positions(module, unsafe_skip_copy=True).resolve(PositionProvider)
    except KeyError as error:
        cause: BaseException = error
        while isinstance(cause, KeyError) and cause.__context__ is not None:
            cause = cause.__context__
        raise cause from None


def _dropped_form_feeds(source: Source, module: cst.Module) -> dict[int, int]:
    """How many characters libcst forgot at the head of which lines: it drops a form feed in the first column."""
    if "\x0c" not in source.text:
        return {}
    kept = io.StringIO(module.code, newline="").readlines()
    pairs = enumerate(zip(source.lines, kept, strict=False), start=1)
    return {number: len(whole) - len(line) for number, (whole, line) in pairs if len(whole) != len(line)}


class _Lowering:
    """Turns libcst nodes into `ast` nodes and remembers which came from which."""

    def __init__(self) -> None:
        self.origin: dict[ast.AST, cst.CSTNode] = {}

    def made(self, node: N, origin: cst.CSTNode) -> N:
        self.origin[node] = origin
        return node

    # ---- statements -------------------------------------------------------------------------------

    def statements(self, body: Sequence[cst.BaseStatement | cst.BaseSmallStatement]) -> list[ast.stmt]:
        done: list[ast.stmt] = []
        for item in body:
            if isinstance(item, cst.SimpleStatementLine):
                done.extend(self.statement(small) for small in item.body)
            else:
                done.append(self.statement(item))
        return done

    def suite(self, body: cst.BaseSuite) -> list[ast.stmt]:
        return self.statements(cast("Sequence[cst.BaseStatement | cst.BaseSmallStatement]", body.body))

    def statement(self, node: cst.CSTNode) -> ast.stmt:
        return self.made(STATEMENTS[type(node)](self, node), node)

    def expr_statement(self, node: cst.Expr) -> ast.stmt:
        return ast.Expr(value=self.expr(node.value))

    def assign(self, node: cst.Assign) -> ast.stmt:
        targets = [self.expr(target.target, STORE) for target in node.targets]
        return ast.Assign(targets=targets, value=self.expr(node.value), type_comment=None)

    def aug_assign(self, node: cst.AugAssign) -> ast.stmt:
        target = cast("ast.Name | ast.Attribute | ast.Subscript", self.expr(node.target, STORE))
        return ast.AugAssign(target=target, op=AUGMENTED[type(node.operator)](), value=self.expr(node.value))

    def ann_assign(self, node: cst.AnnAssign) -> ast.stmt:
        target = cast("ast.Name | ast.Attribute | ast.Subscript", self.expr(node.target, STORE))
        simple = int(isinstance(node.target, cst.Name) and not node.target.lpar)
        annotation = self.expr(node.annotation.annotation)
        return ast.AnnAssign(target=target, annotation=annotation, value=self.optional(node.value), simple=simple)

    def delete(self, node: cst.Del) -> ast.stmt:
        target = node.target
        if isinstance(target, cst.Tuple) and not target.lpar:
            return ast.Delete(targets=[self.expr(element.value, DEL) for element in target.elements])
        return ast.Delete(targets=[self.expr(target, DEL)])

    def return_(self, node: cst.Return) -> ast.stmt:
        return ast.Return(value=self.optional(node.value))

    def raise_(self, node: cst.Raise) -> ast.stmt:
        cause = node.cause.item if node.cause is not None else None
        return ast.Raise(exc=self.optional(node.exc), cause=self.optional(cause))

    def assert_(self, node: cst.Assert) -> ast.stmt:
        return ast.Assert(test=self.expr(node.test), msg=self.optional(node.msg))

    def import_(self, node: cst.Import) -> ast.stmt:
        return ast.Import(names=[self.alias(name) for name in node.names])

    def import_from(self, node: cst.ImportFrom) -> ast.stmt:
        if isinstance(node.names, cst.ImportStar):
            names = [self.made(ast.alias(name="*", asname=None), node.names)]
        else:
            names = [self.alias(name) for name in node.names]
        module = _dotted(node.module) if node.module is not None else None
        return ast.ImportFrom(module=module, names=names, level=len(node.relative))

    def alias(self, node: cst.ImportAlias) -> ast.alias:
        asname = cast("cst.Name", node.asname.name).value if node.asname is not None else None
        return self.made(ast.alias(name=_dotted(node.name), asname=asname), node)

    def global_(self, node: cst.Global) -> ast.stmt:
        return ast.Global(names=[item.name.value for item in node.names])

    def nonlocal_(self, node: cst.Nonlocal) -> ast.stmt:
        return ast.Nonlocal(names=[item.name.value for item in node.names])

    def type_alias(self, node: cst.TypeAlias) -> ast.stmt:
        if not HAS_TYPE_PARAMS:  # the running Python has no name for it; keep what it binds
            return ast.Assign(targets=[self.expr(node.name, STORE)], value=self.expr(node.value), type_comment=None)
        make = cast("Callable[..., ast.stmt]", ast.TypeAlias)  # type: ignore[attr-defined]
        params = self.type_params(node.type_parameters)
        return make(name=self.expr(node.name, STORE), type_params=params, value=self.expr(node.value))

    def if_(self, node: cst.If) -> ast.stmt:
        return ast.If(test=self.expr(node.test), body=self.suite(node.body), orelse=self.otherwise(node.orelse))

    def otherwise(self, node: cst.If | cst.Else | None) -> list[ast.stmt]:
        if node is None:
            return []
        return [self.statement(node)] if isinstance(node, cst.If) else self.suite(node.body)

    def while_(self, node: cst.While) -> ast.stmt:
        return ast.While(test=self.expr(node.test), body=self.suite(node.body), orelse=self.otherwise(node.orelse))

    def for_(self, node: cst.For) -> ast.stmt:
        make = ast.AsyncFor if node.asynchronous else ast.For
        target, over = self.expr(node.target, STORE), self.expr(node.iter)
        body, orelse = self.suite(node.body), self.otherwise(node.orelse)
        return make(target=target, iter=over, body=body, orelse=orelse, type_comment=None)

    def with_(self, node: cst.With) -> ast.stmt:
        make = ast.AsyncWith if node.asynchronous else ast.With
        items = [self.with_item(item) for item in node.items]
        return make(items=items, body=self.suite(node.body), type_comment=None)

    def with_item(self, node: cst.WithItem) -> ast.withitem:
        target = self.expr(node.asname.name, STORE) if node.asname is not None else None
        return self.made(ast.withitem(context_expr=self.expr(node.item), optional_vars=target), node)

    def try_(self, node: cst.Try | cst.TryStar) -> ast.stmt:
        handlers = [self.handler(handler) for handler in node.handlers]
        final = self.suite(node.finalbody.body) if node.finalbody is not None else []
        body, orelse = self.suite(node.body), self.otherwise(node.orelse)
        make: Callable[..., ast.stmt] = ast.Try
        if isinstance(node, cst.TryStar):
            make = cast("Callable[..., ast.stmt]", getattr(ast, "TryStar", ast.Try))
        return make(body=body, handlers=handlers, orelse=orelse, finalbody=final)

    def handler(self, node: cst.ExceptHandler | cst.ExceptStarHandler) -> ast.ExceptHandler:
        name = cast("cst.Name", node.name.name).value if node.name is not None else None
        made = ast.ExceptHandler(type=self.optional(node.type), name=name, body=self.suite(node.body))
        return self.made(made, node)

    def function(self, node: cst.FunctionDef) -> ast.stmt:
        make = cast("Callable[..., ast.stmt]", ast.AsyncFunctionDef if node.asynchronous else ast.FunctionDef)
        return make(
            name=node.name.value,
            args=self.arguments(node.params),
            body=self.suite(node.body),
            decorator_list=[self.expr(decorator.decorator) for decorator in node.decorators],
            returns=self.expr(node.returns.annotation) if node.returns is not None else None,
            type_comment=None,
            **self.parametrised(node.type_parameters),
        )

    def class_(self, node: cst.ClassDef) -> ast.stmt:
        make = cast("Callable[..., ast.stmt]", ast.ClassDef)
        return make(
            name=node.name.value,
            bases=[self.argument(base) for base in node.bases],
            keywords=[self.keyword(keyword) for keyword in node.keywords],
            body=self.suite(node.body),
            decorator_list=[self.expr(decorator.decorator) for decorator in node.decorators],
            **self.parametrised(node.type_parameters),
        )

    def parametrised(self, node: cst.TypeParameters | None) -> dict[str, list[ast.AST]]:
        return {"type_params": self.type_params(node)} if HAS_TYPE_PARAMS else {}

    def type_params(self, node: cst.TypeParameters | None) -> list[ast.AST]:
        made: list[ast.AST] = []
        for item in node.params if node is not None else ():
            param = item.param
            kind = {cst.TypeVar: "TypeVar", cst.TypeVarTuple: "TypeVarTuple", cst.ParamSpec: "ParamSpec"}[type(param)]
            fields: dict[str, object] = {"name": param.name.value}
            if isinstance(param, cst.TypeVar):
                fields["bound"] = self.optional(param.bound)
            made.append(self.made(cast("Callable[..., ast.AST]", getattr(ast, kind))(**fields), param))
        return made

    # ---- match ------------------------------------------------------------------------------------

    def match(self, node: cst.Match) -> ast.stmt:
        cases = []
        for case in node.cases:
            made = ast.match_case(
                pattern=self.pattern(case.pattern), guard=self.optional(case.guard), body=self.suite(case.body)
            )
            cases.append(self.made(made, case))
        return ast.Match(subject=self.expr(node.subject), cases=cases)

    def pattern(self, node: cst.CSTNode) -> ast.pattern:
        return self.made(self.bare_pattern(node), node)

    def bare_pattern(self, node: cst.CSTNode) -> ast.pattern:
        if isinstance(node, cst.MatchValue):
            value = self.expr(node.value)
            if isinstance(value, ast.Constant) and (value.value is None or isinstance(value.value, bool)):
                return ast.MatchSingleton(value=value.value)
            return ast.MatchValue(value=value)
        if isinstance(node, cst.MatchSingleton):
            return ast.MatchSingleton(value={"None": None, "True": True, "False": False}[node.value.value])
        if isinstance(node, cst.MatchAs):
            name = node.name.value if node.name is not None else None
            return ast.MatchAs(pattern=self.pattern(node.pattern) if node.pattern is not None else None, name=name)
        if isinstance(node, cst.MatchOr):
            return ast.MatchOr(patterns=[self.pattern(element.pattern) for element in node.patterns])
        if isinstance(node, cst.MatchSequence):
            return ast.MatchSequence(patterns=[self.sequence_element(element) for element in node.patterns])
        if isinstance(node, cst.MatchMapping):
            return ast.MatchMapping(
                keys=[self.expr(element.key) for element in node.elements],
                patterns=[self.pattern(element.pattern) for element in node.elements],
                rest=node.rest.value if node.rest is not None else None,
            )
        assert isinstance(node, cst.MatchClass)
        return ast.MatchClass(
            cls=self.expr(node.cls),
            patterns=[self.pattern(element.value) for element in node.patterns],
            kwd_attrs=[element.key.value for element in node.kwds],
            kwd_patterns=[self.pattern(element.pattern) for element in node.kwds],
        )

    def sequence_element(self, node: cst.CSTNode) -> ast.pattern:
        if isinstance(node, cst.MatchStar):
            return self.made(ast.MatchStar(name=node.name.value if node.name is not None else None), node)
        return self.pattern(cast("cst.MatchSequenceElement", node).value)

    # ---- expressions ------------------------------------------------------------------------------

    def optional(self, node: cst.BaseExpression | None) -> ast.expr | None:
        return self.expr(node) if node is not None else None

    def expr(self, node: cst.CSTNode, ctx: Context = LOAD) -> ast.expr:
        return self.made(EXPRESSIONS[type(node)](self, node, ctx), node)

    def name(self, node: cst.Name, ctx: Context) -> ast.expr:
        if isinstance(ctx, ast.Load) and node.value in SINGLETONS:
            return ast.Constant(value=SINGLETONS[node.value])
        return ast.Name(id=node.value, ctx=ctx)

    def attribute(self, node: cst.Attribute, ctx: Context) -> ast.expr:
        return ast.Attribute(value=self.expr(node.value), attr=node.attr.value, ctx=ctx)

    def subscript(self, node: cst.Subscript, ctx: Context) -> ast.expr:
        elements = [self.slice(element.slice) for element in node.slice]
        comma = not isinstance(node.slice[-1].comma, cst.MaybeSentinel)
        index = elements[0]
        if len(elements) > 1 or comma or isinstance(index, ast.Starred):
            index = self.made(ast.Tuple(elts=elements, ctx=LOAD), node.slice[0])
        return ast.Subscript(value=self.expr(node.value), slice=index, ctx=ctx)

    def slice(self, node: cst.BaseSlice) -> ast.expr:
        if isinstance(node, cst.Index):
            value = self.expr(node.value)
            return self.made(ast.Starred(value=value, ctx=LOAD), node) if node.star else value
        assert isinstance(node, cst.Slice)
        made = ast.Slice(
            lower=self.optional(node.lower), upper=self.optional(node.upper), step=self.optional(node.step)
        )
        return self.made(made, node)

    def call(self, node: cst.Call, ctx: Context) -> ast.expr:
        func = self.expr(node.func)
        args, keywords = [], []
        for arg in node.args:
            if arg.keyword is not None or arg.star == "**":
                keywords.append(self.keyword(arg))
            else:
                args.append(self.argument(arg))
        return ast.Call(func=func, args=args, keywords=keywords)

    def argument(self, node: cst.Arg) -> ast.expr:
        value = self.expr(node.value)
        return self.made(ast.Starred(value=value, ctx=LOAD), node) if node.star == "*" else value

    def keyword(self, node: cst.Arg) -> ast.keyword:
        name = node.keyword.value if node.keyword is not None else None
        return self.made(ast.keyword(arg=name, value=self.expr(node.value)), node)

    def arguments(self, node: cst.Parameters) -> ast.arguments:
        plain = [*node.posonly_params, *node.params]
        star = node.star_arg if isinstance(node.star_arg, cst.Param) else None
        return ast.arguments(
            posonlyargs=[self.arg(param) for param in node.posonly_params],
            args=[self.arg(param) for param in node.params],
            vararg=self.arg(star) if star is not None else None,
            kwonlyargs=[self.arg(param) for param in node.kwonly_params],
            kw_defaults=[self.optional(param.default) for param in node.kwonly_params],
            kwarg=self.arg(node.star_kwarg) if node.star_kwarg is not None else None,
            defaults=[self.expr(param.default) for param in plain if param.default is not None],
        )

    def arg(self, node: cst.Param) -> ast.arg:
        annotation = self.expr(node.annotation.annotation) if node.annotation is not None else None
        return self.made(ast.arg(arg=node.name.value, annotation=annotation, type_comment=None), node)

    def lambda_(self, node: cst.Lambda, ctx: Context) -> ast.expr:
        return ast.Lambda(args=self.arguments(node.params), body=self.expr(node.body))

    def conditional(self, node: cst.IfExp, ctx: Context) -> ast.expr:
        return ast.IfExp(test=self.expr(node.test), body=self.expr(node.body), orelse=self.expr(node.orelse))

    def boolean(self, node: cst.BooleanOperation, ctx: Context) -> ast.expr:
        kind = type(node.operator)
        spine: list[cst.BaseExpression] = [node.right]
        left = node.left
        while isinstance(left, cst.BooleanOperation) and type(left.operator) is kind and not left.lpar:
            spine.append(left.right)
            left = left.left
        spine.append(left)
        right: list[ast.expr] = []
        for operand in reversed(spine):
            right.append(self.expr(operand))
        return ast.BoolOp(op=ast.And() if kind is cst.And else ast.Or(), values=right)

    def binary(self, node: cst.BinaryOperation, ctx: Context) -> ast.expr:
        spine = [node]  # left-leaning chains are long in real code: no recursion along them
        while isinstance(spine[-1].left, cst.BinaryOperation):
            spine.append(spine[-1].left)
        made = self.expr(spine[-1].left)
        for item in reversed(spine):
            made = ast.BinOp(left=made, op=BINARY[type(item.operator)](), right=self.expr(item.right))
            self.made(made, item)
        return made

    def unary(self, node: cst.UnaryOperation, ctx: Context) -> ast.expr:
        return ast.UnaryOp(op=UNARY[type(node.operator)](), operand=self.expr(node.expression))

    def comparison(self, node: cst.Comparison, ctx: Context) -> ast.expr:
        ops = [COMPARISONS[type(target.operator)]() for target in node.comparisons]
        comparators = [self.expr(target.comparator) for target in node.comparisons]
        return ast.Compare(left=self.expr(node.left), ops=ops, comparators=comparators)

    def number(self, node: cst.Integer | cst.Float | cst.Imaginary, ctx: Context) -> ast.expr:
        return ast.Constant(value=ast.literal_eval(node.value))

    def string(self, node: cst.SimpleString, ctx: Context) -> ast.expr:
        return ast.Constant(value=ast.literal_eval(node.value), kind="u" if node.value[0] in "u" else None)

    def concatenated(self, node: cst.ConcatenatedString, ctx: Context) -> ast.expr:
        parts: list[ast.expr] = []
        item: cst.BaseExpression = node
        while isinstance(item, cst.ConcatenatedString):
            parts.append(self.expr(item.left))
            item = item.right
        parts.append(self.expr(item))
        if all(isinstance(part, ast.Constant) for part in parts):
            values: list[Any] = [cast("ast.Constant", part).value for part in parts]
            whole = b"".join(values) if isinstance(values[0], bytes) else "".join(values)
            return ast.Constant(value=whole, kind=cast("ast.Constant", parts[0]).kind)
        return ast.JoinedStr(values=_merged(parts))

    def formatted(self, node: Any, ctx: Context) -> ast.expr:
        return ast.JoinedStr(values=_merged(self.format_parts(node.parts, "r" in node.start.lower())))

    def format_parts(self, parts: Sequence[Any], raw: bool) -> list[ast.expr]:
        made: list[ast.expr] = []
        for part in parts:
            if hasattr(part, "value"):
                made.append(self.made(ast.Constant(value=_format_text(part.value, raw)), part))
                continue
            conversion = {None: -1, "s": 115, "r": 114, "a": 97}[part.conversion]
            if part.equal is not None:
                code = cst.Module([]).code_for_node
                text = code(part.whitespace_before_expression) + code(part.expression) + code(part.equal)
                made.append(self.made(ast.Constant(value=text), part))
                if conversion == -1 and part.format_spec is None:
                    conversion = 114
            spec = None
            if part.format_spec is not None:
                spec = ast.JoinedStr(values=_merged(self.format_parts(part.format_spec, raw)))
            value = ast.FormattedValue(value=self.expr(part.expression), conversion=conversion, format_spec=spec)
            made.append(self.made(value, part))
        return made

    def sequence(self, node: cst.Tuple | cst.List, ctx: Context) -> ast.expr:
        elements = [self.element(element, ctx) for element in node.elements]
        return ast.Tuple(elts=elements, ctx=ctx) if isinstance(node, cst.Tuple) else ast.List(elts=elements, ctx=ctx)

    def set_(self, node: cst.Set, ctx: Context) -> ast.expr:
        return ast.Set(elts=[self.element(element, LOAD) for element in node.elements])

    def element(self, node: cst.BaseElement, ctx: Context) -> ast.expr:
        value = self.expr(node.value, ctx)
        return self.made(ast.Starred(value=value, ctx=ctx), node) if isinstance(node, cst.StarredElement) else value

    def starred(self, node: cst.StarredElement, ctx: Context) -> ast.expr:
        return ast.Starred(value=self.expr(node.value, ctx), ctx=ctx)

    def dict_(self, node: cst.Dict, ctx: Context) -> ast.expr:
        keys = [self.expr(e.key) if isinstance(e, cst.DictElement) else None for e in node.elements]
        return ast.Dict(keys=keys, values=[self.expr(element.value) for element in node.elements])

    def comprehension(self, node: cst.ListComp | cst.SetComp | cst.GeneratorExp, ctx: Context) -> ast.expr:
        made = {cst.ListComp: ast.ListComp, cst.SetComp: ast.SetComp, cst.GeneratorExp: ast.GeneratorExp}[type(node)]
        make = cast("Callable[..., ast.expr]", made)
        return make(elt=self.expr(node.elt), generators=self.generators(node.for_in))

    def dict_comprehension(self, node: cst.DictComp, ctx: Context) -> ast.expr:
        key, value = self.expr(node.key), self.expr(node.value)
        return ast.DictComp(key=key, value=value, generators=self.generators(node.for_in))

    def generators(self, node: cst.CompFor | None) -> list[ast.comprehension]:
        made: list[ast.comprehension] = []
        while node is not None:
            item = ast.comprehension(
                target=self.expr(node.target, STORE),
                iter=self.expr(node.iter),
                ifs=[self.expr(condition.test) for condition in node.ifs],
                is_async=int(node.asynchronous is not None),
            )
            made.append(self.made(item, node))
            node = node.inner_for_in
        return made

    def named(self, node: cst.NamedExpr, ctx: Context) -> ast.expr:
        return ast.NamedExpr(target=cast("ast.Name", self.expr(node.target, STORE)), value=self.expr(node.value))

    def await_(self, node: cst.Await, ctx: Context) -> ast.expr:
        return ast.Await(value=self.expr(node.expression))

    def yield_(self, node: cst.Yield, ctx: Context) -> ast.expr:
        if isinstance(node.value, cst.From):
            return ast.YieldFrom(value=self.expr(node.value.item))
        return ast.Yield(value=self.optional(node.value))


def _dotted(node: cst.BaseExpression) -> str:
    parts: list[str] = []
    while isinstance(node, cst.Attribute):
        parts.append(node.attr.value)
        node = node.value
    parts.append(cast("cst.Name", node).value)
    return ".".join(reversed(parts))


def _merged(parts: Sequence[ast.expr]) -> list[ast.expr]:
    """Neighbouring text parts of a formatted string become one constant, as `ast.parse` has them."""
    done: list[ast.expr] = []
    flat: list[ast.expr] = []
    for part in parts:
        flat.extend(part.values if isinstance(part, ast.JoinedStr) else [part])
    for part in flat:
        if isinstance(part, ast.Constant):
            if part.value == "":
                continue
            if done and isinstance(done[-1], ast.Constant):
                done[-1] = ast.Constant(value=cast("str", done[-1].value) + cast("str", part.value))
                continue
        done.append(part)
    return done


def _format_text(text: str, raw: bool) -> str:
    text = text.replace("{{", "{").replace("}}", "}")
    if raw or "\\" not in text:
        return text
    quoted = re.sub(r'(\\.)|"', lambda found: found[1] or '\\"', text, flags=re.DOTALL)
    try:
        return cast("str", ast.literal_eval(f'"""{quoted}"""'))
    except (SyntaxError, ValueError):
        return text


def _pass(lowering: _Lowering, node: cst.CSTNode) -> ast.stmt:
    return {cst.Pass: ast.Pass, cst.Break: ast.Break, cst.Continue: ast.Continue}[type(node)]()  # type: ignore[index]


def _ellipsis(lowering: _Lowering, node: cst.CSTNode, ctx: Context) -> ast.expr:
    return ast.Constant(value=...)


SINGLETONS: dict[str, bool | None] = {"None": None, "True": True, "False": False}

L = _Lowering
STATEMENTS: dict[type[cst.CSTNode], Callable[..., ast.stmt]] = {
    cst.Expr: L.expr_statement, cst.Assign: L.assign, cst.AugAssign: L.aug_assign, cst.AnnAssign: L.ann_assign,
    cst.Del: L.delete, cst.Return: L.return_, cst.Raise: L.raise_, cst.Assert: L.assert_, cst.Import: L.import_,
    cst.ImportFrom: L.import_from, cst.Global: L.global_, cst.Nonlocal: L.nonlocal_, cst.TypeAlias: L.type_alias,
    cst.If: L.if_, cst.While: L.while_, cst.For: L.for_, cst.With: L.with_, cst.Try: L.try_, cst.TryStar: L.try_,
    cst.FunctionDef: L.function, cst.ClassDef: L.class_, cst.Match: L.match,
    cst.Pass: _pass, cst.Break: _pass, cst.Continue: _pass,
}  # fmt: skip
EXPRESSIONS: dict[type[cst.CSTNode], Callable[..., ast.expr]] = {
    cst.Name: L.name, cst.Attribute: L.attribute, cst.Subscript: L.subscript, cst.Call: L.call, cst.Lambda: L.lambda_,
    cst.IfExp: L.conditional, cst.BooleanOperation: L.boolean, cst.BinaryOperation: L.binary,
    cst.UnaryOperation: L.unary, cst.Comparison: L.comparison, cst.Integer: L.number, cst.Float: L.number,
    cst.Imaginary: L.number, cst.SimpleString: L.string, cst.ConcatenatedString: L.concatenated,
    cst.FormattedString: L.formatted, cst.Tuple: L.sequence, cst.List: L.sequence, cst.Set: L.set_,
    cst.StarredElement: L.starred, cst.Dict: L.dict_, cst.ListComp: L.comprehension, cst.SetComp: L.comprehension,
    cst.GeneratorExp: L.comprehension, cst.DictComp: L.dict_comprehension, cst.NamedExpr: L.named,
    cst.Await: L.await_, cst.Yield: L.yield_, cst.Ellipsis: _ellipsis,
}  # fmt: skip
if hasattr(cst, "TemplatedString"):  # libcst that knows Python 3.14
    EXPRESSIONS[cst.TemplatedString] = L.formatted
BINARY: dict[type[cst.CSTNode], Callable[[], ast.operator]] = {
    cst.Add: ast.Add, cst.Subtract: ast.Sub, cst.Multiply: ast.Mult, cst.Divide: ast.Div, cst.FloorDivide: ast.FloorDiv,
    cst.Modulo: ast.Mod, cst.Power: ast.Pow, cst.MatrixMultiply: ast.MatMult, cst.LeftShift: ast.LShift,
    cst.RightShift: ast.RShift, cst.BitOr: ast.BitOr, cst.BitAnd: ast.BitAnd, cst.BitXor: ast.BitXor,
}  # fmt: skip
AUGMENTED: dict[type[cst.CSTNode], Callable[[], ast.operator]] = {
    cst.AddAssign: ast.Add, cst.SubtractAssign: ast.Sub, cst.MultiplyAssign: ast.Mult, cst.DivideAssign: ast.Div,
    cst.FloorDivideAssign: ast.FloorDiv, cst.ModuloAssign: ast.Mod, cst.PowerAssign: ast.Pow,
    cst.MatrixMultiplyAssign: ast.MatMult, cst.LeftShiftAssign: ast.LShift, cst.RightShiftAssign: ast.RShift,
    cst.BitOrAssign: ast.BitOr, cst.BitAndAssign: ast.BitAnd, cst.BitXorAssign: ast.BitXor,
}  # fmt: skip
UNARY: dict[type[cst.CSTNode], Callable[[], ast.unaryop]] = {
    cst.Not: ast.Not, cst.Minus: ast.USub, cst.Plus: ast.UAdd, cst.BitInvert: ast.Invert
}  # fmt: skip
COMPARISONS: dict[type[cst.CSTNode], Callable[[], ast.cmpop]] = {
    cst.Equal: ast.Eq, cst.NotEqual: ast.NotEq, cst.LessThan: ast.Lt, cst.LessThanEqual: ast.LtE,
    cst.GreaterThan: ast.Gt, cst.GreaterThanEqual: ast.GtE, cst.Is: ast.Is, cst.IsNot: ast.IsNot,
    cst.In: ast.In, cst.NotIn: ast.NotIn,
}  # fmt: skip
