"""The one-line faults of a source: what would be written where, and in place of what."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

OPERATORS = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.Pow: ("**", "*"),
    ast.FloorDiv: ("//", "/"),
    ast.Mod: ("%", "//"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
}
COMPARISONS = {
    ast.Lt: ("<", "<=", ">="),
    ast.LtE: ("<=", "<", ">"),
    ast.Gt: (">", ">=", "<="),
    ast.GtE: (">=", ">", "<"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
SAID = {"print", "warn", "debug", "info", "warning", "error", "exception", "log"}  # calls whose arguments are words
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Fault:
    """Bytes `start:end` of a source become `after`; lines from 1, those of the innermost statement that holds it."""

    file: str
    line: int
    kind: str
    before: str
    after: str
    start: int
    end: int
    lines: tuple[int, int]

    def put_into(self, source: bytes) -> bytes:
        return source[: self.start] + self.after.encode() + source[self.end :]

    def __str__(self) -> str:
        before, after = (" ".join(text.split()) for text in (self.before, self.after))
        return f"{self.file}:{self.line}: {self.kind}: {before[:90]}  ->  {after[:90]}"


class _Reader:
    def __init__(self, file: str, source: bytes) -> None:
        self.file, self.source, self.found = file, source, list[Fault]()
        self.begins = [0]
        for line in source.splitlines(keepends=True):
            self.begins.append(self.begins[-1] + len(line))
        self.lines = (1, 1)

    def span(self, node: ast.AST) -> tuple[int, int]:
        return self.begins[node.lineno - 1] + node.col_offset, self.begins[node.end_lineno - 1] + node.end_col_offset

    def text(self, node: ast.AST) -> str:
        return self.source[slice(*self.span(node))].decode()

    def add(self, kind: str, span: tuple[int, int], *after: str) -> None:
        line = self.source.count(b"\n", 0, span[0]) + 1
        before = self.source[slice(*span)].decode()
        self.found += [Fault(self.file, line, kind, before, text, *span, self.lines) for text in after]

    def between(self, kind: str, left: ast.AST, right: ast.AST, sign: str, *after: str) -> None:
        """A sign between two nodes, comments aside."""
        begin, end = self.span(left)[1], self.span(right)[0]
        words = re.escape(sign).replace(r"\ ", r"\s+")
        gap = re.sub(r"#.*", lambda m: " " * len(m[0].encode()), self.source[begin:end].decode())
        if at := re.search(rf"\b{words}\b" if sign[0].isalpha() else words, gap):
            self.add(kind, (begin + at.start(), begin + at.end()), *after)

    def read(self, node: ast.AST) -> None:
        if isinstance(node, ast.stmt):
            body = [case.pattern for case in getattr(node, "cases", [])] or getattr(node, "body", None)
            last = (body[0].lineno - 1) if body else node.end_lineno
            self.lines = (node.lineno, max(node.lineno, last))
        self.here(node)
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns", "decorator_list", "format_spec", "type_params", "exc", "cause"):
                continue  # types; how a function is kept or compiled; words
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not skipped(child):
                    held = self.lines
                    self.read(child)
                    self.lines = held

    def here(self, node: ast.AST) -> None:
        match node:
            case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
                self.between("operator", left, right, *OPERATORS[type(op)])
            case ast.AugAssign(target=left, op=op, value=right) if type(op) in OPERATORS:
                sign, other = OPERATORS[type(op)]
                self.between("operator", left, right, f"{sign}=", f"{other}=")
            case ast.BoolOp(op=op, values=values):
                for left, right in pairwise(values):
                    self.between("operator", left, right, *OPERATORS[type(op)])
            case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
                self.add("operator", self.span(node), f"({self.text(operand)})")
            case ast.Compare(left=left, ops=ops, comparators=others):
                for a, op, b in zip([left, *others[:-1]], ops, others, strict=True):
                    self.between("comparison", a, b, *COMPARISONS[type(op)])
            case ast.Constant(value=bool() as value):
                self.add("constant", self.span(node), str(not value))
            case ast.Constant(value=int() as value):
                self.add("constant", self.span(node), str(value + 1))
            case ast.Constant(value=float() as value):
                self.add("constant", self.span(node), *([f"{value * 2!r}", "0.0"] if value else ["1.0"]))
            case ast.Call(args=args) if not any(isinstance(a, ast.Starred) for a in args):
                for a, b in pairwise(args):
                    if self.text(a) != self.text(b):
                        span = self.span(a)[0], self.span(b)[1]
                        gap = self.source[self.span(a)[1] : self.span(b)[0]].decode()
                        self.add("swapped arguments", span, self.text(b) + gap + self.text(a))
        if isinstance(node, ast.If | ast.While | ast.IfExp) and not isinstance(node.test, ast.Compare | ast.UnaryOp):
            self.add("comparison", self.span(node.test), f"(not ({self.text(node.test)}))")
        if droppable(node):
            self.add("dropped statement", self.span(node), "pass")


def droppable(node: ast.AST) -> bool:
    """Statements whose loss leaves a program that still runs: not those that first give a name its value."""
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(value))
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) | ast.Expr(value=ast.Call() | ast.Await()):
            return True
    return isinstance(node, ast.AugAssign | ast.Raise | ast.Continue | ast.Break | ast.Delete)


def skipped(node: ast.AST) -> bool:
    """Words, what runs for a type checker or behind a banner alone, and a zip's guard against what never is."""
    match node:
        case ast.JoinedStr() | ast.keyword(arg="strict"):
            return True
        case ast.Expr(value=ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name))):
            return name in SAID
        case ast.If(test=test):
            return ast.unparse(test).split(" ")[0] in ("TYPE_CHECKING", "typing.TYPE_CHECKING", "__name__")
    return False


def faults(file: str, source: bytes) -> Iterator[Fault]:
    """Every fault of a source that still parses, in the order of its lines."""
    reader = _Reader(file, source)
    reader.read(ast.parse(source))
    for fault in sorted(reader.found, key=lambda f: (f.start, f.end, f.after)):
        try:
            ast.parse(fault.put_into(source))
        except SyntaxError:
            continue
        yield fault
