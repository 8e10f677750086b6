"""PromQL as text: a lexer and a parser for the part of the language that the sandbox evaluates.

What is understood: selectors with `= != =~ !~`, ranges, subqueries, `offset`, `@`, aggregations with `by` and `without`,
functions (promql_functions.py), arithmetic, comparisons with `bool`, `and or unless`, `on`, `ignoring`, `group_left`. Anything
else is a QueryError, which the server answers as 400 bad_data.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, replace


class QueryError(Exception):
    """The query cannot be understood; the text says where."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """One label matcher; regular expressions are anchored."""

    label: str
    op: str
    value: str


@dataclass(frozen=True, slots=True)
class Number:
    """A scalar literal."""

    value: float


@dataclass(frozen=True, slots=True)
class Text:
    """A string literal."""

    value: str


@dataclass(frozen=True, slots=True)
class Selector:
    """An instant selector, or with `window` (seconds) a range selector. `at` is a Unix time."""

    name: str
    matchers: tuple[Matcher, ...]
    window: float | None = None
    offset: float = 0.0
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Subquery:
    """`(expression)[window:step]`, seconds."""

    expression: Expression
    window: float
    step: float
    offset: float = 0.0
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A function call."""

    function: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Aggregation:
    """`sum by (labels) (expression)`; `parameter` is the first argument of topk and the like."""

    op: str
    expression: Expression
    labels: tuple[str, ...] = ()
    without: bool = False
    parameter: Expression | None = None


@dataclass(frozen=True, slots=True)
class Binary:
    """Two operands. `on` None: match on all labels but `ignoring`; `group` is `left`, `right` or empty."""

    op: str
    left: Expression
    right: Expression
    returns_bool: bool = False
    on: tuple[str, ...] | None = None
    ignoring: tuple[str, ...] = ()
    group: str = ""
    include: tuple[str, ...] = ()


Expression = Number | Text | Selector | Subquery | Call | Aggregation | Binary

AGGREGATIONS = frozenset({"sum", "avg", "min", "max", "count", "topk", "bottomk", "group", "stddev"})
COMPARISONS = frozenset({"==", "!=", ">", "<", ">=", "<="})
SETS = frozenset({"and", "or", "unless"})
_PRECEDENCE = (
    {"or": 1, "and": 2, "unless": 2} | dict.fromkeys(COMPARISONS, 3) | {"+": 4, "-": 4, "*": 5, "/": 5, "%": 5, "^": 6}
)  # fmt: skip
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w|y)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0, "y": 31_536_000.0}
_TOKEN = re.compile(
    r"""\s+|\#[^\n]*
    |(?P<duration>(?:\d+(?:ms|[smhdwy]))+(?![\w.]))
    |(?P<number>0x[0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<name>[a-zA-Z_][\w:]*)
    |(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)
    |(?P<op>=~|!~|==|!=|>=|<=|[-+*/%^=<>(){}\[\],:@])""",
    re.VERBOSE,
)


def seconds(text: str) -> float:
    """Read a duration (`5m`, `1h30m`, or a plain number of seconds). Raises QueryError."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not re.fullmatch(f"(?:{_DURATION.pattern})+", text):
        raise QueryError(f'not a valid duration string: "{text}"')
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))


def parse(text: str) -> Expression:
    """Parse a whole query. Raises QueryError."""
    parser = _Parser(_tokens(text))
    expression = parser.expression(0)
    parser.expect_end()
    return expression


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, at = [], 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise QueryError(f"1:{at + 1}: parse error: unexpected character: {text[at]!r}")
        if found.lastgroup:
            tokens.append((found.lastgroup, found[0]))
        at = found.end()
    return [*tokens, ("end", "end of input")]


class _Parser:
    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._at = 0

    def _peek(self) -> str:
        return self._tokens[self._at][1]

    def _kind(self) -> str:
        return self._tokens[self._at][0]

    def _next(self) -> str:
        if self._kind() == "end":
            raise QueryError("1:1: parse error: unexpected end of input")
        self._at += 1
        return self._tokens[self._at - 1][1]

    def _accept(self, text: str) -> bool:
        if self._peek() == text and self._kind() in {"op", "name"}:
            self._at += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            raise QueryError(f'1:1: parse error: unexpected "{self._peek()}", expected "{text}"')

    def expect_end(self) -> None:
        if self._kind() != "end":
            raise QueryError(f'1:1: parse error: unexpected "{self._peek()}"')

    def expression(self, least: int) -> Expression:
        left = self._unary()
        while (rank := _PRECEDENCE.get(self._peek(), 0)) > least and self._kind() in {"op", "name"}:
            op = self._next()
            binary = self._modifiers(Binary(op, left, left))
            left = replace(binary, right=self.expression(rank - 1 if op == "^" else rank))
        return left

    def _modifiers(self, binary: Binary) -> Binary:
        if self._accept("bool"):
            binary = replace(binary, returns_bool=True)
        if self._accept("on"):
            binary = replace(binary, on=self._labels())
        elif self._accept("ignoring"):
            binary = replace(binary, ignoring=self._labels())
        for side in ("left", "right"):
            if self._accept(f"group_{side}"):
                include = self._labels() if self._peek() == "(" else ()
                binary = replace(binary, group=side, include=include)
        return binary

    def _unary(self) -> Expression:
        if self._accept("-"):
            return Binary("*", Number(-1.0), self.expression(5))
        if self._accept("+"):
            return self.expression(5)
        return self._postfix(self._primary())

    def _primary(self) -> Expression:
        kind, text = self._tokens[self._at]
        match kind:
            case "number":
                self._next()
                return Number(float(int(text, 16)) if text.startswith("0x") else float(text))
            case "text":
                self._next()
                return Text(_unquoted(text))
            case "op" if text == "(":
                self._next()
                inner = self.expression(0)
                self._expect(")")
                return inner
            case "op" if text == "{":
                return Selector("", self._matchers())
            case "name":
                return self._named()
            case _:
                raise QueryError(f'1:1: parse error: unexpected "{text}"')

    def _named(self) -> Expression:
        name = self._next()
        if name in AGGREGATIONS and self._peek() in {"(", "by", "without"}:
            return self._aggregation(name)
        if self._peek() == "(":
            return Call(name, self._arguments())
        if name.lower() in {"inf", "nan"}:
            return Number(float(name))
        return Selector(name, self._matchers() if self._peek() == "{" else ())

    def _aggregation(self, op: str) -> Expression:
        labels: tuple[str, ...] = ()
        without = grouped = False
        if self._peek() in {"by", "without"}:
            grouped, without, labels = True, self._next() == "without", self._labels()
        arguments = self._arguments()
        if not grouped and self._peek() in {"by", "without"}:
            without, labels = self._next() == "without", self._labels()
        wanted = 2 if op in {"topk", "bottomk"} else 1
        if len(arguments) != wanted:
            raise QueryError(f"wrong number of arguments for aggregate expression {op}, expected {wanted}, got {len(arguments)}")
        return Aggregation(op, arguments[-1], labels, without, arguments[0] if wanted > 1 else None)

    def _arguments(self) -> tuple[Expression, ...]:
        self._expect("(")
        arguments: list[Expression] = []
        while not self._accept(")"):
            arguments.append(self.expression(0))
            if self._peek() != ")":
                self._expect(",")
        return tuple(arguments)

    def _labels(self) -> tuple[str, ...]:
        self._expect("(")
        labels: list[str] = []
        while not self._accept(")"):
            labels.append(self._next())
            if self._peek() != ")":
                self._expect(",")
        return tuple(labels)

    def _matchers(self) -> tuple[Matcher, ...]:
        self._expect("{")
        matchers: list[Matcher] = []
        while not self._accept("}"):
            label, op = self._next(), self._next()
            if op not in {"=", "!=", "=~", "!~"} or self._kind() != "text":
                raise QueryError(f'1:1: parse error: unexpected "{self._peek()}" in label matching, expected string')
            matchers.append(Matcher(label, op, _unquoted(self._next())))
            if self._peek() != "}":
                self._expect(",")
        return tuple(matchers)

    def _postfix(self, inner: Expression) -> Expression:
        while True:
            if self._accept("["):
                inner = self._ranged(inner)
            elif self._accept("offset"):
                sign = -1.0 if self._accept("-") else 1.0
                if not isinstance(inner, Selector | Subquery):
                    raise QueryError("1:1: parse error: offset modifier must be preceded by an instant or range selector")
                inner = replace(inner, offset=sign * seconds(self._next()))
            elif self._accept("@"):
                if not isinstance(inner, Selector | Subquery):
                    raise QueryError("1:1: parse error: @ modifier must be preceded by an instant or range selector")
                inner = replace(inner, at=float(self._next()))
            else:
                return inner

    def _ranged(self, inner: Expression) -> Expression:
        window = seconds(self._next())
        if self._accept(":"):
            step = 60.0 if self._peek() == "]" else seconds(self._next())
            self._expect("]")
            return Subquery(inner, window, step)
        self._expect("]")
        if not isinstance(inner, Selector) or inner.window is not None:
            raise QueryError("1:1: parse error: ranges only allowed for vector selectors")
        return replace(inner, window=window)


def _unquoted(text: str) -> str:
    if text.startswith("`"):
        return text[1:-1]
    try:
        return str(ast.literal_eval(text))
    except (ValueError, SyntaxError):
        raise QueryError(f"1:1: parse error: invalid string {text}") from None
